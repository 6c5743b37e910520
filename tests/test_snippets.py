"""What README and docs show works: every Python snippet as a script of its own, and the quick console lines, on the embedded model."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from eesd_core.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "hosting" / "README.md"]
QUICK = ("race", "generate", "doctor", "record", "replay", "export", "same-law")  # the others take minutes, or files of the reader's own


def blocks() -> list[str]:
    """Code of all pages: lines indented by four spaces, or between fences."""
    found = [""]
    for page in PAGES:
        fenced = False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            if line.startswith("    ") or (fenced and not line.startswith("```")):
                found[-1] += line.removeprefix("    ") + "\n"
            elif found[-1]:
                found.append("")
    return found


SCRIPTS = [block for block in blocks() if re.search(r"^(from|import) ", block, re.M)]
LINES = [line for block in blocks() for line in block.splitlines() if re.match(rf"python -m eesd_core ({'|'.join(QUICK)}) ", line + " ")]
LINES = [line for line in LINES if not {"PATH_OR_ID", "ID", "--model", "..."} & set(line.replace('"', "").split())]


def run(command: list[str], where: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_there_is_something_to_run():
    assert len(SCRIPTS) >= 1 and len(LINES) >= 5


@pytest.mark.parametrize("script", SCRIPTS)
def test_python_snippets(embedded, tmp_path, script):
    (tmp_path / "snippet.py").write_text(script)
    run([sys.executable, "snippet.py"], tmp_path)


def test_names_are_the_same_where_submodules_are_loaded(tmp_path):
    """A submodule must not take the place of a function that the package offers."""
    lines = [line for script in SCRIPTS for line in script.splitlines() if line.startswith("from eesd_core import")]
    names = ", ".join({name.strip() for line in lines for name in line.removeprefix("from eesd_core import").split("#")[0].split(",")})
    imported = f"import eesd_core.racing, eesd_core.loading\nfrom types import ModuleType\nfrom eesd_core import {names}\n"
    (tmp_path / "names.py").write_text(imported + f"assert not any(isinstance(name, ModuleType) for name in ({names},))\n")
    run([sys.executable, "names.py"], tmp_path)


def test_console_lines(embedded, tmp_path, monkeypatch, capsys):
    """One after the other in one folder and with few tokens: later lines read what earlier ones wrote.

    In this process, since seven that import torch take most of a minute; test_cli.py starts one.
    """
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        words = shlex.split(line.split("#")[0])
        few = {"same-law": ["--draws", "20"], "race": ["--max-new-tokens", "8"], "generate": ["--max-new-tokens", "8"]}
        few |= {"record": ["--max-new-tokens", "8"], "replay": ["--speed", "0"]}
        assert main([*words[3:], *few.get(words[3], [])]) == 0, capsys.readouterr().err[-2000:]

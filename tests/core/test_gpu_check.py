"""The frame of tools/gpu_check, with trivial checks: each has its limit, none stops the others. The checks themselves need a GPU."""

import json
import sys
import time

import pytest
import torch

from tools.gpu_check.__main__ import SKIPPED, Check, main, only, report
from tools.gpu_check.checks import CHECKS, Entry, Skip

PARENT = "import subprocess, sys; print('began', flush=True); subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def python(name: str, code: str, limit: float = 20.0) -> Check:
    return Check(name, limit, [sys.executable, "-c", code])


def test_every_check_is_reported_and_a_failure_is_the_exit_status(tmp_path, capsys):
    checks = [
        python("fine", "print('12 tokens/s')"),
        python("wrong", "print('before'); assert 1 == 2, 'not the same'"),
        python("late", PARENT, 1.0),
        python("left out", f"print('no such package'); raise SystemExit({SKIPPED})"),
        python("fine too", "import sys; [print(i) for i in range(99)]; print('\\u20ac', file=sys.stderr)"),
    ]
    began = time.monotonic()
    assert report(checks, tmp_path / "found.json", "a GPU") == 1
    assert time.monotonic() - began < 30  # the child of the late one is gone too, and did not hold its output open
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["device"] == "a GPU" and found["versions"]
    states = {one["name"]: one["state"] for one in found["checks"]}
    assert states == {"fine": "passed", "wrong": "failed", "late": "failed", "left out": "skipped", "fine too": "passed"}
    lines = {one["name"]: one["lines"] for one in found["checks"]}
    assert lines["fine"] == ["12 tokens/s"] and "not the same" in lines["wrong"][-1] and lines["left out"] == ["no such package"]
    assert lines["late"] == ["began", "not done after 1 s"] and len(lines["fine too"]) == 15
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(states.values())
    assert report(checks[:1], tmp_path / "found.json", "a GPU") == 0


def test_all_of_them_fit_into_eight_minutes():
    assert sum(entry.limit for entry in CHECKS.values()) <= 480


def test_one_check_alone(monkeypatch, capsys):
    def without() -> None:
        raise Skip("no such package")

    monkeypatch.setitem(CHECKS, "tests", Entry(1, without))
    assert only("tests") == SKIPPED and capsys.readouterr().out == "no such package\n"
    monkeypatch.setitem(CHECKS, "tests", Entry(1, lambda: None))
    assert only("tests") == 0


def test_a_report_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main(["--out", str(tmp_path / "nowhere" / "x.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "x.json")]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "no GPU" in err and not out and not list(tmp_path.iterdir())

"""Spaces as `hosting/space.py` puts them together: whatever their README names is there."""

import re
import runpy
from pathlib import Path

import pytest

from eesd_core.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "hosting" / "space.py"


@pytest.mark.parametrize("kind", ["cpu", "zerogpu", "static"])
def test_no_link_in_its_readme_is_dead(tmp_path, kind):
    out = tmp_path / kind
    runpy.run_path(str(SCRIPT))["build"](kind, out)
    readme = (out / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert readme.startswith("---\n") and [name for name in names if not (out / name).exists()] == []
    assert (out / ("index.html" if kind == "static" else "app.py")).exists()


def test_a_trace_that_cannot_be_shown_leaves_no_folder_behind(tmp_path):
    (tmp_path / "bad.ndjson").write_text("no trace\n")
    with pytest.raises(UserError):
        runpy.run_path(str(SCRIPT))["build"]("static", tmp_path / "out", tmp_path / "bad.ndjson")
    assert not (tmp_path / "out").exists()

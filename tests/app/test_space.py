"""Spaces as `hosting/space.py` puts them together: whatever their README names is there."""

import re
import runpy
from pathlib import Path

import pytest

from eesd_core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "hosting" / "space.py"


@pytest.mark.parametrize("kind", ["cpu", "zerogpu", "static"])
def test_no_link_in_its_readme_is_dead(tmp_path, kind):
    out = tmp_path / kind
    runpy.run_path(str(SCRIPT))["build"](kind, out)
    readme = (out / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert readme.startswith("---\n") and [name for name in names if not (out / name).exists()] == []
    assert (out / ("index.html" if kind == "static" else "app.py")).exists()
    for module in re.findall(r"python -m ([\w.]+)", readme):  # what it tells one to run is there too; pytest's tests are the repository's
        path = out / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir() or module == "pytest", module


def test_a_trace_that_cannot_be_shown_leaves_no_folder_behind(tmp_path):
    (tmp_path / "bad.ndjson").write_text("no trace\n")
    with pytest.raises(UserError):
        runpy.run_path(str(SCRIPT))["build"]("static", tmp_path / "out", tmp_path / "bad.ndjson")
    assert not (tmp_path / "out").exists()


PAGES = ["README.md", "hosting/README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_the_words_name_are_there(page):
    """Scripts by their path: from the root, from one of the packages, or as a name that the sentence explains."""
    names = re.findall(r"`([\w./-]+/[\w-]+\.(?:py|js|css|md))`", (ROOT / page).read_text(encoding="utf-8"))
    roots = [ROOT, ROOT / "eesd_core", ROOT / "assets" / "web", ROOT / "hosting"]
    assert [name for name in names if "NAME" not in name and not any((root / name).exists() for root in roots)] == []


def test_the_readme_is_short_and_its_links_lead_somewhere():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110 and max(map(len, lines)) <= 120
    links = re.findall(r"\]\(([^)#]+)", "\n".join(lines))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []

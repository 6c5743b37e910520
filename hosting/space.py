"""Puts a Hugging Face Space together in a folder: `python hosting/space.py cpu|gpu|zerogpu|static --out DIR [--trace FILE]`."""

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPACES = ROOT / "hosting" / "spaces"
# What runs, and what the README names.
NEEDED = ("app.py", "app", "eesd_core", "assets", "requirements.txt", "LICENSE", "docs", "hosting", "tools")
OPENING = ROOT / "assets" / "traces" / "opening.ndjson"


def build(kind: str, out: Path, trace: Path = OPENING) -> None:
    """Raises UserError, FileExistsError."""
    front = (SPACES / f"{kind}.md").read_text(encoding="utf-8")
    if kind == "static":
        from eesd_core.export import export, write_export
        from eesd_core.trace import open_trace

        page = export(open_trace(trace), "html")  # first: a trace that cannot be shown leaves no folder behind
        out.mkdir(parents=True)
        (out / "README.md").write_text(front, encoding="utf-8")
        return write_export(out / "index.html", page)
    out.mkdir(parents=True)
    (out / "README.md").write_text(front + "\n" + (ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    for name in NEEDED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, out / name, **({"ignore": shutil.ignore_patterns("__pycache__")} if source.is_dir() else {}))
    if kind == "zerogpu":
        shutil.copy2(ROOT / "hosting" / "requirements-zerogpu.txt", out / "requirements.txt")


def main() -> int:
    sys.path.insert(0, str(ROOT))
    from eesd_core.errors import UserError

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(path.stem for path in SPACES.glob("*.md")))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet")
    parser.add_argument("--trace", type=Path, default=OPENING, metavar="FILE", help="the run that a static Space shows")
    flags = parser.parse_args()
    try:
        build(flags.kind, flags.out, flags.trace)
    except (UserError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(f"{flags.out}: push it with `hf upload USER/SPACE {flags.out} . --repo-type space`")
    return 0


if __name__ == "__main__":
    sys.exit(main())

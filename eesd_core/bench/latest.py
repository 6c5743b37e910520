"""The most recent report."""

import json
from pathlib import Path
from typing import NamedTuple

from ..model.catalog import EMBEDDED

FORMAT = "eesd-bench/3"
OUT = Path("runs/bench")
SHIPPED = EMBEDDED.parent / "bench"  # a recorded report, always shown as recorded


class Report(NamedTuple):
    data: dict  # report.json
    recorded: bool  # shipped with the project, not measured here


def latest_report(out: Path = OUT, shipped: Path = SHIPPED) -> Report | None:
    """The last report in `out`, else the shipped one. Broken and foreign files are skipped."""
    for folder in [*sorted(out.glob("*-*/report.json"), reverse=True), shipped / "report.json"]:
        try:
            data = json.loads(folder.read_text(encoding="utf-8"))
            if data["format"] == FORMAT:
                return Report(data, folder.parent == shipped)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None

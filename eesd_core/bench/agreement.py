"""Two reports side by side: does the same benchmark, run twice, say the same?"""

import json
from pathlib import Path

from ..cli.terminal import printable
from ..errors import UserError
from .latest import FORMAT

SAME = ("suite", "model", "machine")  # what two reports must share for their difference to be chance alone


def compare(first: Path, second: Path) -> dict:
    """Print for every method both speedups over vanilla and their ratio, and the largest difference; return that as plain values.

    `first` and `second`: folders of reports, or their report.json. Raises UserError for other files, and for no method in common.
    """
    reports = [_read(path) for path in (first, second)]
    differ = [name for name in SAME if _stable(reports[0][name]) != _stable(reports[1][name])]
    if differ:
        print(f"note: the two differ in more than chance: {', '.join(differ)}")
    theirs = {group["name"]: group["methods"] for group in reports[1]["groups"]}
    rows = []
    for group in reports[0]["groups"]:
        for name, row in group["methods"].items():
            if name != "vanilla" and (other := theirs.get(group["name"], {}).get(name)):
                speedups = row["speedup"]["overall"], other["speedup"]["overall"]
                rows.append({"group": group["name"], "method": name, "speedups": speedups, "ratio": round(speedups[1] / speedups[0], 4)})
    if not rows:
        raise UserError("the two reports have no method in common")
    width = max(len(f"{row['group']} {row['method']}") for row in rows)
    print(f"{'speedup over vanilla':>{width}}   first  second  second / first")
    for row in rows:
        of_one, of_other = row["speedups"]
        print(f"{printable(row['group'] + ' ' + row['method']):>{width}}  {of_one:5.2f}x  {of_other:5.2f}x  {row['ratio']:14.3f}")
    most = max(rows, key=lambda row: abs(row["ratio"] - 1))
    print(f"largest difference: {abs(most['ratio'] - 1):.1%}, {printable(most['method'])}")
    return {"differ": differ, "methods": rows, "largest_difference": round(abs(most["ratio"] - 1), 4)}


def _read(path: Path) -> dict:
    file = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        if report["format"] == FORMAT:
            return report
    except OSError as problem:
        raise UserError(f"no report can be read from {file}: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{file} is no report of this benchmark ({FORMAT}): give the folder that `bench` wrote, or its report.json")


def _stable(facts):
    return {name: value for name, value in facts.items() if name != "load_at_start"} if isinstance(facts, dict) else facts

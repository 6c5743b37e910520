"""`python -m tools.gpu_check --out FILE.json`: every check of checks.py in a process of its own, with a time limit, and a report as JSON.

A check that fails or hangs does not stop the others. The report gives the state of each (passed, failed or skipped), its seconds, and the
last lines that it printed; for a skipped one they say why. Exit status 1 if a check failed, 2 without a GPU.
`--only NAME` runs one check in this process, to look into a failure.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

from eesd_core.cli.flags import check_writable
from eesd_core.environment import versions
from eesd_core.errors import UserError
from eesd_core.replacing import replaced

from .checks import CHECKS, Skip

ROOT = Path(__file__).resolve().parents[2]
LINES = 15  # of a check's output that the report keeps
SKIPPED = 77  # exit status of a check that was skipped


class Check(NamedTuple):
    name: str
    limit: float  # seconds
    command: list[str]


class Result(NamedTuple):
    name: str
    state: str  # passed, failed or skipped
    seconds: float
    lines: list[str]  # the last ones that it printed


def run(check: Check) -> Result:
    """Run a check. At its limit, it and all processes that it started are killed."""
    began, late = time.monotonic(), False
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(check.command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            process.wait(check.limit)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            end_group(process)
        out.seek(0)
        lines = out.read().decode(errors="replace").splitlines()[-LINES:]
    if late:
        lines.append(f"not done after {check.limit:g} s")
    state = {0: "passed", SKIPPED: "skipped"}.get(process.returncode, "failed")
    return Result(check.name, "failed" if late else state, round(time.monotonic() - began, 1), lines)


def end_group(process: subprocess.Popen) -> None:
    """Kill what is left of the process and of those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(checks: list[Check], out: Path, device: str) -> int:
    """Run the checks, and write what is known after each of them. Returns the exit status."""
    found: list[Result] = []
    for check in checks:
        found.append(run(check))
        print(f"{found[-1].state:>8}  {found[-1].seconds:6.1f} s  {check.name}", flush=True)
        facts = {"date": date.today().isoformat(), "device": device, "versions": versions(), "checks": [one._asdict() for one in found]}
        with replaced(out) as part:
            part.write_text(json.dumps(facts, indent=1) + "\n", encoding="ascii")
    return int(any(one.state == "failed" for one in found))


def only(name: str) -> int:
    """One check in this process."""
    try:
        CHECKS[name].run()
    except Skip as why:
        print(why)
        return SKIPPED
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE", help="the report")
    what.add_argument("--only", choices=CHECKS, metavar="NAME", help=f"one of {', '.join(CHECKS)}")
    flags = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("error: no GPU is here, so there is nothing to check", file=sys.stderr)
        return 2
    if flags.only:
        return only(flags.only)
    try:
        check_writable(flags.out, "the report")
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "tools.gpu_check", "--only"]
    checks = [Check(name, entry.limit, [*command, name]) for name, entry in CHECKS.items()]
    return report(checks, flags.out, torch.cuda.get_device_name())


if __name__ == "__main__":
    sys.exit(main())

"""Replays a trace in the terminal, at the speed of the recording."""

import time
from typing import TextIO

from ..cli.terminal import Painter, printable
from ..events import RaceFinished
from ..metrics import Metrics
from ..trace import Trace

LONGEST_PAUSE = 2.0  # seconds


def play(trace: Trace, out: TextIO, speed: float) -> dict:
    """`speed`: recorded seconds per second; 0: at once. Returns the fields of `race --json` that the trace has."""
    painter, clock, verdict = Painter(out), 0.0, None
    if trace.head:
        out.write(printable("recorded on {date}, {machine}, {cores} cores\n".format(**trace.head)))
    for record in trace.records:
        if speed and record.t > clock:
            time.sleep(min((record.t - clock) / speed, LONGEST_PAUSE))
            clock = record.t
        painter.show(record)
        if isinstance(record.event, RaceFinished):
            verdict = record.event
    lanes = {name: Metrics.of(lane).to_json() for name, lane in painter.lanes.items() if lane.started}
    if verdict:
        painter.summary(lanes, verdict)
        head = {"identical": verdict.identical, "level": verdict.level, "first_difference": verdict.first_difference}
        return head | {"speedup": verdict.speedup, "cache_difference": verdict.cache_difference} | lanes
    out.write("\n\n")
    for lane, m in lanes.items():
        name = printable(painter.lanes[lane].started.method)  # eesd, vanilla, or another program
        taken = "" if m["seconds"] is None else f" in {m['seconds']:.2f} s"
        out.write(f"{name:>8}  {m['new_tokens']} tokens{taken}, {m['finish'] or 'not finished'}\n")
    if others := max(record.row for record in trace.records):
        out.write(f"This was the first of {others + 1} texts: `export --format csv` has them all.\n")
    return lanes

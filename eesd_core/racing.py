"""The race: two runs of one request on one device, a fair clock, and the verdict.

The lane whose own compute clock is behind takes the next step, so both stream side by side while each clock counts its own work
only. Prefill is shown apart and is on neither clock.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from .candidates import Candidates
from .engine import Engine, Request
from .events import RaceFinished, Record, RoundVerified, RunFinished, TokensCommitted
from .row_invariance import Level, promise

LANES = ("vanilla", "eesd")


def race(engine: Engine, request: Request, run: str = "run", cancelled: Callable[[], bool] = bool) -> Iterator[Record]:
    """Yields the records of both lanes and, if both finished, the verdict. Raises UserError before the first record."""
    kept = {lane: Candidates() for lane in LANES}
    lanes = {lane: engine.run(replace(request, method=lane), lane, run, cancelled, candidates=kept[lane]) for lane in LANES}
    clocks = dict.fromkeys(LANES, 0.0)
    outcome = {lane: Outcome() for lane in LANES}
    while lanes:
        lane = min(lanes, key=lambda name: clocks[name])  # a tie goes to vanilla
        record = next(lanes[lane], None)
        if record is None:
            del lanes[lane]
            continue
        clocks[lane] = record.t
        outcome[lane].observe(record)
        yield record
    if all(o.finished for o in outcome.values()):
        promised = promise(engine.level, request.sampling)
        result = verdict(outcome["vanilla"], outcome["eesd"], promised)
        if fork := result.first_difference:
            best = {lane: kept[lane].at(fork["position"], request.sampling.temperature, engine.target.piece) for lane in LANES}
            result = replace(result, first_difference=fork | {"candidates": best})
        yield Record(run, "race", 0, max(clocks.values()), result)


class Outcome:
    """What the verdict needs of a lane: its tokens, the margin of each, the time."""

    def __init__(self):
        self.ids: list[int] = []
        self.margins: list[float] = []
        self.seconds, self.finished = 0.0, False

    def observe(self, record: Record) -> None:
        match record.event:
            case RoundVerified() as e:
                self.margins += e.margins[: e.written]
            case TokensCommitted() as e:
                self.ids += e.ids
            case RunFinished():
                self.seconds, self.finished = record.t, True


def verdict(vanilla: Outcome, eesd: Outcome, promised: Level) -> RaceFinished:
    """Compare the two outputs token by token. The margin is vanilla's lead of its choice where they part.

    Where only the distribution is the same there is nothing to compare: that rule is tested by law (tests), not by a single text.
    """
    speedup = (len(eesd.ids) / eesd.seconds) / (len(vanilla.ids) / vanilla.seconds)
    if promised == "same-distribution":
        return RaceFinished(None, promised, None, speedup)
    first = first_difference(vanilla.ids, eesd.ids)
    difference = None
    if first is not None:
        difference = {
            "position": first,
            "margin": vanilla.margins[first] if first < len(vanilla.margins) else None,
            "vanilla_id": vanilla.ids[first] if first < len(vanilla.ids) else None,
            "eesd_id": eesd.ids[first] if first < len(eesd.ids) else None,
        }
    return RaceFinished(first is None, promised if first is None else "fork", difference, speedup)


def first_difference(a: list[int], b: list[int]) -> int | None:
    """0-based index of the first token in which two outputs differ, the end of the shorter one included; None if identical."""
    return next((i for i in range(max(len(a), len(b))) if a[i : i + 1] != b[i : i + 1]), None)

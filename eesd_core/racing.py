"""Races: two or more runs of one request on one device, with fair clocks and a verdict.

The lane whose own compute clock is behind takes the next step. So all lanes stream side by side, while each clock counts only its own work.
Prefill is reported separately and is on no clock.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from .backends import backend
from .candidates import Candidates
from .engine import Engine
from .events import RaceFinished, Record
from .metrics import Metrics
from .model.cache import largest_difference
from .request import Request
from .rounds import Lane
from .row_invariance import Level

LANES = ("vanilla", "eesd")
PRICED = (1, 2, 4, 8)  # pass sizes, in rows, whose times `race_precisions` reports


def race(engine: Engine, request: Request, run: str = "run", cancelled: Callable[[], bool] = bool) -> Iterator[Record]:
    """Yields the records of both lanes and, if both finished, the verdict. Raises UserError before the first record."""
    kept, runs = {name: Candidates() for name in LANES}, []
    asked = {name: replace(request, method=name) for name in LANES}
    same = backend(engine, *asked.values())
    steps = {}
    for name in LANES:
        steps[name] = engine.run(asked[name], name, run, cancelled, runs.append, same, candidates=kept[name])
    lanes = {name: Lane(name) for name in LANES}
    for record in in_turn(steps):
        lanes[record.lane].add(record)
        yield record
    if all(lane.finished for lane in lanes.values()):
        result = verdict(lanes["vanilla"], lanes["eesd"], lanes["eesd"].started.level)
        if fork := result.first_difference:
            best = {name: kept[name].at(fork["position"], request.sampling.temperature, engine.target.codec.piece) for name in LANES}
            result = replace(result, first_difference=fork | {"candidates": best})
        if result.identical and len(runs) == len(LANES):
            result = replace(result, cache_difference=largest_difference(*(run.text.cache for run in runs)))
        yield Record(run, "race", 0, max(lane.clock for lane in lanes.values()), result)


def in_turn(steps: dict[str, Iterator[Record]]) -> Iterator[Record]:
    """Interleaves the records of lanes that share a device. The lane whose clock is behind is next; of equal ones, the first."""
    steps, clocks = dict(steps), dict.fromkeys(steps, 0.0)
    while steps:
        behind = min(steps, key=clocks.__getitem__)
        record = next(steps[behind], None)
        if record is None:
            del steps[behind]
            continue
        clocks[behind] = record.t
        yield record


def race_methods(engine: Engine, requests: dict[str, Request], cancelled: Callable[[], bool] = bool) -> Iterator[Record | dict]:
    """Runs vanilla and up to four methods on one text. Yields their records with the method as lane, and {"rows": [...]} with one row per
    lane, in the order of `requests`, when all are done. Raises UserError before the first record."""
    lanes, same = {name: Lane(name) for name in requests}, backend(engine, *requests.values())
    steps = {name: engine.run(request, name, "methods", cancelled, backend=same) for name, request in requests.items()}
    for record in in_turn(steps):
        lanes[record.lane].add(record)
        yield record
    if all(lane.finished for lane in lanes.values()):
        plain = lanes["vanilla"]
        yield {"rows": [row(lane, plain) for lane in lanes.values()]}


def race_precisions(engines: dict[str, Engine], request: Request, cancelled: Callable[[], bool] = bool) -> Iterator[Record | dict]:
    """Runs one request in several precisions of a model's weights, in each without and with drafts. Yields the records in lanes such as
    "q8 vanilla" and "q8 eesd", and {"rows": [...]} with one row per precision when all are done. A row's `prices`: time of a pass per
    number of rows, in plain steps of the same precision, as measured at load. Texts of two precisions may differ, as they are different
    models. Raises UserError before the first record."""
    lanes = {f"{name} {method}": Lane(f"{name} {method}") for name in engines for method in LANES}
    steps = {}
    for name, engine in engines.items():
        for method in LANES:
            steps[f"{name} {method}"] = engine.run(replace(request, method=method), f"{name} {method}", "precisions", cancelled)
    for record in in_turn(steps):
        lanes[record.lane].add(record)
        yield record
    if all(lane.finished for lane in lanes.values()):
        yield {"rows": [precision_row(name, engine, *(lanes[f"{name} {method}"] for method in LANES)) for name, engine in engines.items()]}


def precision_row(name: str, engine: Engine, plain: Lane, ours: Lane) -> dict:
    told, rates = row(ours, plain), {method: Metrics.of(lane).tokens_per_second for method, lane in zip(LANES, (plain, ours))}
    step, passes = engine.measured.plain, engine.measured.full
    kept = {field: told[field] for field in ("speedup", "acceptance_rate", "identical", "level")}
    return {"name": name} | rates | kept | {"prices": {rows: passes[rows] / step for rows in PRICED}}


def row(lane: Lane, plain: Lane) -> dict:
    """A lane's result compared with vanilla. `identical` is None if only the distribution is the same."""
    found, result = Metrics.of(lane), verdict(plain, lane, lane.started.level)
    told = {"name": lane.name, "tokens": len(lane.token_ids), "seconds": lane.clock, "speedup": result.speedup}
    told |= {"tokens_per_second": found.tokens_per_second, "tokens_per_round": found.mean_accepted_length}
    return told | {"acceptance_rate": found.acceptance_rate, "identical": result.identical, "level": result.level}


def verdict(vanilla: Lane, eesd: Lane, promised: Level) -> RaceFinished:
    """Compare the texts of two finished lanes token by token. `margin`: the lead of vanilla's choice at the first difference.

    If only the distribution is the same, single texts cannot be compared; tests compare the distributions.
    """
    plain, ours = vanilla.token_ids, eesd.token_ids
    speedup = (len(ours) / eesd.clock) / (len(plain) / vanilla.clock)
    if promised == "same-distribution":
        return RaceFinished(None, promised, None, speedup)
    first = first_difference(plain, ours)
    if first is None:
        return RaceFinished(True, promised, None, speedup)
    named = {"margin": vanilla.margins, "vanilla_id": plain, "eesd_id": ours}
    difference = {"position": first} | {name: values[first] if first < len(values) else None for name, values in named.items()}
    return RaceFinished(False, "fork", difference, speedup)


def first_difference(a: list[int], b: list[int]) -> int | None:
    """0-based index of the first token that differs, or the length of the shorter output if it is a prefix; None if identical."""
    return next((i for i in range(max(len(a), len(b))) if a[i : i + 1] != b[i : i + 1]), None)

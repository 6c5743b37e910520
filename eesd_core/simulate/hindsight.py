"""What a finished run would have cost with other draft lengths and controllers, as one more record for its trace.

Drafts come from one pass over the run's text (courses.py). Costs are those measured when the run began, scaled so that its own rounds add
up to the time that they took. The run's own row is measured; all others are simulated. Speedups are over the run's vanilla lane.
"""

from collections.abc import Callable, Sequence

from ..control import CONTROLLERS, Controller, Costs, make_controller
from ..control.base import Seeded
from ..engine import Engine
from ..events import Record, WhatIf
from ..metrics import Metrics
from ..request import Request
from ..rounds import Lane, fold
from .courses import drafts_of, what_if
from .trees import replay_trees

FIXED = range(1, 9)
TREE, ROWS = "throughput", 8  # the controller and the rows of the simulated trees
OWN = "this run"


def hindsight(engine: Engine, request: Request, records: Sequence[Record], stopped: Callable[[], bool] = bool) -> Record | None:
    """`records`: those of a finished race, its verdict last. Returns None if it cannot be simulated: under rejection sampling, because
    acceptance is random, and for drafters other than the exit layer, with or without siblings. Also None as soon as `stopped`, called
    every few places, returns True."""
    if request.sampling.rejects or request.drafter.name != "early-exit":
        return None
    lane = fold(records, "eesd")
    prompt_ids, eesd, vanilla = list(lane.started.prompt_ids), Metrics.of(lane), Metrics.fold(records, "vanilla")
    course = drafts_of(engine, prompt_ids + eesd.token_ids, len(prompt_ids), request.sampling, stopped)
    if course is None:
        return None
    controllers = {f"fixed: {length}": make_controller("fixed", length=length) for length in FIXED}
    controllers |= {name: made(name, request.sampling.seed) for name in CONTROLLERS if name != "fixed"}
    depth, reuses = engine.target.depth, engine.exit_layer_at(request.sampling).exit_after
    again = depth / (depth - reuses)
    costs = costs_of(lane, again)
    tree = replay_trees(made(TREE, request.sampling.seed), course, costs, ROWS, again)
    rows = what_if([course], costs, controllers, {f"siblings: {TREE}": tree})
    rows = [row for row in rows if f"best {row['name']}" != rows[-2]["name"]]  # list the best fixed length only once
    rows = [row | {"speedup": row["tokens_per_second"] * vanilla.seconds / len(vanilla.token_ids)} for row in rows]
    last = records[-1]
    return Record(last.run, "race", last.seq + 1, last.t, WhatIf((own_row(eesd, vanilla, *rows[-2:]), *rows)))


def made(name: str, seed: int) -> Controller:
    return make_controller(name, **({"seed": seed} if issubclass(CONTROLLERS[name], Seeded) else {}))


def costs_of(lane: Lane, again: float = 1.0) -> Costs:
    """The costs measured before the run, scaled per stage so that the run's own rounds add up to the seconds that they took. `again`: see
    trees.py; siblings pass the first layers while the tree is drafted."""
    before = Costs(lane.costs.draft, lane.costs.verify, lane.costs.fixed)
    seconds = sum(round.verdict.verify_seconds for round in lane.judged)
    verify = seconds / sum(before.verify[round.drafted] for round in lane.judged)
    drafting = 0.0
    for round in lane.judged:
        spine = len(round.spine)
        drafting += before.draft * spine + before.fixed + (again - 1) * before.verify[round.drafted] * (round.drafted > spine)
    draft = (lane.clock - seconds) / drafting
    return Costs(draft * before.draft, tuple(verify * seconds for seconds in before.verify), draft * before.fixed)


def own_row(eesd: Metrics, vanilla: Metrics, fixed: dict, oracle: dict) -> dict:
    """The run's own row, with the fields of `what_if`'s rows."""
    tokens = len(eesd.token_ids)
    speed = tokens / eesd.seconds
    row = {"name": OWN, "tokens_per_second": speed, "speedup": speed * vanilla.seconds / len(vanilla.token_ids)}
    for name, other in (("fixed", fixed), ("oracle", oracle)):
        row[f"regret_{name}"] = 1e3 * (eesd.seconds - tokens / other["tokens_per_second"])
    return row | {"rounds": eesd.rounds, "accepted": eesd.accepted, "draft_lengths": eesd.draft_lengths}

"""The result of one run of one method: the common measure of this engine and of its peers."""

from dataclasses import dataclass, field

from ..control import Controller
from ..costs import CostTracker
from ..engine import Engine
from ..metrics import Metrics
from ..request import Request
from ..rounds import fold


@dataclass(slots=True)
class Written:
    ids: list[int]
    rounds: list[list[int]]  # [drafted, accepted] of every pass of the target
    seconds: float  # decoding: without prefill, and without what a consumer does with a token
    counted: int  # tokens written in these seconds
    prefill_seconds: float
    draft_passes: int  # passes of a model for drafting
    draft_layers: float  # decoder layers that one of them runs
    draft_seconds: float | None = None
    verify_seconds: float | None = None
    margins: list[float] = field(default_factory=list)  # vanilla's margin at every token, to explain forks
    by_round: bool = True  # False: only the sums over `rounds` are known


def write(engine: Engine, request: Request, controller: Controller | None, costs: CostTracker, draft_layers: float) -> Written:
    """A run of this engine. `draft_layers`: 0 where no model drafts."""
    lane = fold(engine.run(request, controller=controller, costs=costs), request.method)
    metrics, rounds = Metrics.of(lane), [[round.drafted, round.accepted] for round in lane.judged]
    return Written(
        metrics.token_ids, rounds, metrics.seconds, len(metrics.token_ids), metrics.prefill_seconds,
        metrics.drafted if draft_layers else 0, draft_layers, metrics.draft_seconds, metrics.verify_seconds, lane.margins,
    )  # fmt: skip

"""The engine: it starts runs and says what happens in them as events. Without drafts a run is vanilla decoding.

The rounds themselves are in run.py. The engine knows no tokenizer beyond turning ids into text for display, no user interface and no
clock but the lane's own.
"""

from collections.abc import Callable, Iterable, Iterator

from .candidates import Candidates
from .clock import Clock
from .control import Controller, FixedController, make_controller
from .control.agreed import agreed
from .control.base import check_whole
from .costs import CostTracker, measure_costs
from .draft.base import Drafter, Parts
from .draft.none import NoDrafter
from .draft.registry import make_drafter
from .errors import UserError
from .events import Event, PrefillDone, Record
from .heads.base import Head
from .heads.trained import TrainedHead
from .limits import MAX_ROWS
from .model.target import Target
from .narration import Narration
from .padded import PaddedBatch
from .request import Request
from .row_invariance import Level
from .run import Run
from .sampling import Sampling
from .together import Batch, Refused


class Engine:
    """`heads`: trained heads other than the exit layer, by kind (heads/kinds.py)."""

    def __init__(self, target: Target, exit_layer: Head | None, level: Level, heads: dict[str, TrainedHead] | None = None):
        self.target, self.exit_layer, self.level, self.heads = target, exit_layer, level, heads or {}
        self.measured = measure_costs(target, exit_layer)

    def exit_layer_at(self, sampling: Sampling) -> Head | None:
        return self.exit_layer and self.exit_layer.at(sampling.temperature)

    def encode(self, request: Request) -> list[int]:
        """Prompt ids. Raises UserError if prompt and new tokens together exceed the model's context."""
        context, codec = self.target.context, self.target.codec
        count = sum(len(message["content"]) for message in request.messages)
        if count > 16 * context:  # no tokenizer packs 16 characters a token on average: refuse before spending time
            raise UserError(f"the prompt has {count:,} characters: this model reads {context} tokens, about {4 * context:,} characters")
        ids = codec.encode_chat(request.messages) if request.chat else codec.encode(request.prompt)
        if not ids:
            raise UserError(f"the tokenizer of {self.target.name} makes no token of this prompt: write it in letters that the model knows")
        if len(ids) + request.max_new_tokens > context:
            room = context - request.max_new_tokens
            ask = f"shorten it to {room} tokens" if room > 0 else f"ask for at most {context - 1} new tokens"
            ask += ", or begin a new conversation" if request.history else ""
            both = f"the prompt ({len(ids)} tokens) and {request.max_new_tokens} new tokens"
            raise UserError(f"{both} exceed the context of {context}: {ask}")
        return ids

    def costs(self, drafter: Drafter) -> CostTracker:
        """What rounds with this drafter cost, as far as loading the model told: to be tracked by one run, or by several in turn."""
        return CostTracker(self.measured, drafter.reuses, drafter.cost_guess, drafter.at_once)

    def drafter(self, request: Request, capacity: int) -> Drafter:
        """`capacity`: positions that prompt and text need. Raises UserError."""
        if request.method == "vanilla":
            return NoDrafter()
        return make_drafter(request.drafter, Parts(self.target, self.exit_layer_at(request.sampling), capacity, self.heads))

    def start(
        self, request: Request, ids: list[int] | None = None, drafter: Drafter | None = None, controller: Controller | None = None,
        costs: CostTracker | None = None, candidates: Candidates | None = None,
    ) -> Run:  # fmt: skip
        """A run before its prefill; what is not given is made as requested. Controller and costs may be an earlier run's, with all that
        they have learned. Raises UserError."""
        if self.target.broken:
            raise self.target.no_numbers()
        ids = ids or self.encode(request)
        drafter = drafter or self.drafter(request, len(ids) + request.max_new_tokens)
        if request.method == "vanilla":
            controller = FixedController(0)
        controller = agreed(controller or make_controller(request.controller, **request.settings), self.target.shards)
        costs = costs or self.costs(drafter)
        return Run(self.target, ids, request.max_new_tokens, request.sampling, drafter, controller, costs, candidates, request.stop)

    def run(
        self, request: Request, lane: str | None = None, run: str = "run", cancelled: Callable[[], bool] = bool,
        begun: Callable[[Run], object] = bool, **parts,
    ) -> Iterator[Record]:  # fmt: skip
        """Write the text, saying every step. Raises UserError before the first record. `cancelled` is asked once a round; `begun` is given
        the run; `parts` are those of `start`."""
        started = self.start(request, **parts)
        begun(started)
        return stamped(run, lane or request.method, started.clock, self.events(started, request, cancelled))

    def events(self, run: Run, request: Request, cancelled: Callable[[], bool] = bool) -> Iterator[Event]:
        """What happens in a run, to its end."""
        told = Narration(run, request, self.level)
        yield from told.begin()
        while not run.ended:
            if cancelled():
                yield told.cancel()
                return
            yield told.plan()
            yield from told.draft()
            run.verify()
            yield from told.commit()
        yield told.finish()

    def run_together(
        self, requests: Iterable[Request | None], batch: int = 8, run: str = "run", cancelled: Callable[[int], bool] = lambda row: False,
        clock: Clock | None = None, padded: bool = False, refused: Refused | None = None,
    ) -> Iterator[Record]:  # fmt: skip
        """Write up to `batch` texts at a time, 1 to 16, in the same passes (together.py): the `row` of a record is its request's number.

        `requests` are taken as there is room, between two rounds. A None among them: nobody waits at the moment; with no text under way
        either, that is the end. `cancelled` is asked once a round for every text. `clock` counts decoding and stands still during every
        prefill. A record's time is what that clock has counted since the text's own prefill: device time is shared, so the clock of each
        text counts the passes of all. `padded`: by the slower form that others have (padded.py). A request that cannot be run, such as one
        with too long a prompt, has no records and changes no other: `refused` is told; without it the first such error is raised in the
        end, when all others are written. Raises UserError."""
        most = check_whole("the number of texts in a pass", batch, 1, MAX_ROWS)
        kind = PaddedBatch if padded else Batch
        return kind(self, requests, most, cancelled, clock or Clock(), refused).records(run)


def stamped(run: str, lane: str, clock: Clock, events: Iterator[Event]) -> Iterator[Record]:
    """Number the events and give them the lane's time."""
    seq, decoding = 0, False
    while True:
        clock.start()
        event = next(events, None)
        clock.stop()
        if event is None:
            return
        if not decoding:
            clock.seconds = 0.0
        decoding = decoding or isinstance(event, PrefillDone)
        yield Record(run, lane, seq, clock.seconds, event)
        seq += 1

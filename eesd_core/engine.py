"""The engine starts runs and reports what happens in them as events. A run without drafts is vanilla decoding.

The rounds themselves are in run.py. The engine knows no user interface, and no clock except the lane's own.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from .backends import Backend
from .candidates import Candidates
from .clock import Clock
from .control import Controller, FixedController, make_controller
from .control.agreed import agreed
from .control.base import check_whole
from .costs import CostTracker, Measured, measure_costs
from .device_run import DeviceRun, Trial, try_steps
from .draft.base import Drafter, Parts
from .draft.none import NoDrafter
from .draft.registry import make_drafter
from .errors import UserError
from .events import Event, PrefillDone, Record
from .heads.base import Head
from .heads.trained import TrainedHead
from .limits import MAX_ROWS
from .model.cpu.heap import give_back
from .model.cuda.graph_steps import DeviceSteps
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

    @cached_property
    def measured(self) -> Measured:
        """The time of every step of a round, measured when it is first asked for, with the threads that there are then."""
        found = measure_costs(self.target, self.exit_layer)
        give_back()  # logits of wide passes, 17 MB with SmolLM2-135M
        return found

    @cached_property
    def on_device(self) -> Trial:
        """The costs of steps that stay on the device, measured when it is first asked for, and whether CUDA graphs work."""
        return try_steps(self.target, self.exit_layer)

    def exit_layer_at(self, sampling: Sampling) -> Head | None:
        return self.exit_layer and self.exit_layer.at(sampling.temperature)

    def encode(self, request: Request) -> list[int]:
        """Prompt ids. Raises UserError if prompt and new tokens exceed the model's context, or if the prompt gives no tokens."""
        context, codec = self.target.context, self.target.codec
        count = sum(len(message["content"]) for message in request.messages)
        if count > 16 * context:  # no tokenizer averages 16 characters per token: refuse before spending time on it
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
        """A cost tracker for this drafter, starting from the costs measured at load. One run or several consecutive runs may use it."""
        return CostTracker(self.measured, drafter.reuses, drafter.cost_guess, drafter.at_once)

    def drafter(self, request: Request, capacity: int) -> Drafter:
        """The requested drafter. `capacity`: positions that prompt and text need. Raises UserError as `make_drafter` does."""
        if request.method == "vanilla":
            return NoDrafter()
        return make_drafter(request.drafter, Parts(self.target, self.exit_layer_at(request.sampling), capacity, self.heads))

    def start(
        self, request: Request, ids: list[int] | None = None, drafter: Drafter | None = None, controller: Controller | None = None,
        costs: CostTracker | None = None, candidates: Candidates | None = None,
    ) -> Run:  # fmt: skip
        """A run before its prefill. Parts that are not given are made as requested. Controller and costs may come from an earlier run and
        keep what they have learned. Raises UserError for a request that cannot be run, or if the weights hold NaN or infinity."""
        if self.target.broken:
            raise self.target.no_numbers()
        ids = ids or self.encode(request)
        drafter = drafter or self.drafter(request, len(ids) + request.max_new_tokens)
        if request.method == "vanilla":
            controller = FixedController(0)
        controller = agreed(controller or make_controller(request.controller, **request.settings), self.target.shards)
        costs = costs or self.costs(drafter)
        return Run(self.target, ids, request.max_new_tokens, request.sampling, drafter, controller, costs, candidates, request.stop)

    def start_on_device(self, request: Request, candidates: Candidates | None = None, steps: DeviceSteps | None = None) -> DeviceRun:
        """As `start`, a run whose rounds stay on the device, for requests that need no host (backends.py). `steps` may come from an earlier
        run with the same sampling and keep their recorded graphs. They must have room for this run."""
        if self.target.broken:
            raise self.target.no_numbers()
        ids, drafts = self.encode(request), request.method == "eesd"
        layer = self.exit_layer_at(request.sampling) if drafts else None
        steps = steps or DeviceSteps(self.target, layer, len(ids) + request.max_new_tokens, request.sampling)
        controller = make_controller(request.controller, **request.settings) if drafts else FixedController(0)
        costs = CostTracker(self.on_device.measured, steps.split)
        return DeviceRun(steps, ids, request.max_new_tokens, controller, costs, candidates, request.stop)

    def run(
        self, request: Request, lane: str | None = None, run: str = "run", cancelled: Callable[[], bool] = bool,
        begun: Callable[[Run], object] = bool, backend: Backend = "host", **parts,
    ) -> Iterator[Record]:  # fmt: skip
        """Write the text and yield a record for every step. Raises UserError before the first record. `cancelled` is called once per round,
        `begun` once with the run. `backend`: as backends.py decides. `parts`: arguments of `start`, or of `start_on_device`."""
        started = (self.start_on_device if backend == "device" else self.start)(request, **parts)
        begun(started)
        return stamped(run, lane or request.method, started.clock, self.events(started, request, cancelled))

    def events(self, run: Run, request: Request, cancelled: Callable[[], bool] = bool) -> Iterator[Event]:
        """Run to the end and yield the events."""
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
        """Write up to `batch` texts at a time, 1 to 16, in the same passes (together.py). The `row` of a record is its request's number.

        `requests` are taken between two rounds, as soon as there is room. A None among them means that none is waiting now; if no text is
        being written either, the iterator ends. `cancelled` is called once per round for every text. `clock` counts decoding and pauses
        during each prefill. A record's time is the clock's since the text's own prefill: device time is shared, so every text's time
        includes the passes of all. `padded`: use the slower padded form (padded.py). A request that cannot be run, such as one with too
        long a prompt, has no records and does not affect the others. It is reported to `refused`; without `refused` the first such error is
        raised after all other texts are written. Raises UserError for a wrong `batch`."""
        most = check_whole("the number of texts in a pass", batch, 1, MAX_ROWS)
        kind = PaddedBatch if padded else Batch
        return kind(self, requests, most, cancelled, clock or Clock(), refused).records(run)


def stamped(run: str, lane: str, clock: Clock, events: Iterator[Event]) -> Iterator[Record]:
    """Wrap events in records with numbers and the lane's time, which starts at 0 when prefill is done."""
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

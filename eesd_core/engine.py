"""The engine: one loop of draft-verify rounds that says what happens as events. Without drafts it is vanilla decoding.

It owns the cache lengths and asserts at every round boundary that every layer has cached exactly the positions before the pending
token. It knows no tokenizer beyond turning ids into text for display, no user interface and no clock but the lane's own.
"""

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite

import torch
import transformers

from .candidates import MOST, Candidates
from .control import Controller, FixedController, Outcome, make_controller
from .costs import CostTracker, measure_costs
from .draft import Context, Draft, Drafter, NoDrafter, make_drafter, parse_drafter
from .errors import UserError
from .events import (
    CostMeasured,
    DraftStopped,
    Event,
    PosteriorUpdated,
    PrefillDone,
    Record,
    RoundStarted,
    RoundVerified,
    RunCancelled,
    RunFinished,
    RunStarted,
    TokensCommitted,
)
from .heads.exit_layer import ExitLayer
from .model.parallel import agreed
from .model.target import Target
from .row_invariance import Level, promise
from .sampling import NEXT, Sampler, Sampling
from .text.detokenizer import Detokenizer
from .verify import by_matching, by_rejection

MOST_MARGIN = 1e4  # stands for "no other token was left" after top-p, since JSON has no infinity


@dataclass(frozen=True, slots=True)
class Request:
    """What to write and how. `settings` are the controller's; `drafter` is spelled as on the command line (draft/__init__.py)."""

    prompt: str
    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    method: str = "eesd"
    controller: str = "beta"
    settings: dict = field(default_factory=dict)
    chat: bool = False  # the prompt is a request, to be replied to, instead of an opening to be continued
    drafter: str = "early-exit"
    system: str = ""  # what a chat model is told in front of the conversation; "": what its template says
    history: tuple[tuple[str, str], ...] = ()  # a conversation's earlier requests and their replies

    def __post_init__(self):
        if not self.prompt.strip():
            raise UserError("the prompt is empty: write a few words, for example: Once upon a time")
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise UserError(f"the number of new tokens must be a whole number of at least 1, not {self.max_new_tokens!r}")
        if self.method not in ("eesd", "vanilla"):
            raise UserError(f"unknown method {self.method!r}: choose eesd or vanilla")
        if (self.system or self.history) and not self.chat:
            raise UserError("a system prompt and earlier turns are for chat: ask for chat too, or leave them out")
        parse_drafter(self.drafter)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as chat templates read it; the last message is the prompt."""
        told = [("system", self.system)] if self.system else []
        for request, reply in self.history:
            told += [("user", request), ("assistant", reply)]
        return [{"role": role, "content": text} for role, text in [*told, ("user", self.prompt)]]


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


class Engine:
    def __init__(self, target: Target, exit_layer: ExitLayer | None, level: Level):
        self.target, self.exit_layer, self.level = target, exit_layer, level
        self.measured = measure_costs(target, exit_layer)
        self._costs: dict[str, CostTracker] = {}

    def costs(self, drafter: Drafter) -> CostTracker:
        """What rounds with this kind of drafter cost, tracked from run to run; its settings, behind a colon, do not count."""
        kind = drafter.name.partition(":")[0]
        return self._costs.setdefault(kind, CostTracker(self.measured, drafter.shares_layers, drafter.draft_share))

    def exit_layer_at(self, sampling: Sampling) -> ExitLayer | None:
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
            both = f"the prompt ({len(ids)} tokens) and {request.max_new_tokens} new tokens"
            raise UserError(f"{both} exceed the context of {context}: {ask}")
        return ids

    def run(
        self,
        request: Request,
        lane: str | None = None,
        run: str = "run",
        cancelled: Callable[[], bool] = bool,
        controller: Controller | None = None,
        candidates: Candidates | None = None,
    ) -> Iterator[Record]:
        """Write the text, saying every step. Raises UserError before the first record. `cancelled` is asked once a round.

        `controller` is one to go on with, such as an earlier run's with what it has learned (default: a new one, as requested).
        `candidates`, if given, keeps the target's best ones for every token written.
        """
        ids = self.encode(request)
        drafting = request.method == "eesd"
        controller = (controller or make_controller(request.controller, **request.settings)) if drafting else FixedController(0)
        controller = agreed(controller, self.target.shards)
        capacity = len(ids) + request.max_new_tokens
        layer = self.exit_layer_at(request.sampling)
        drafter = make_drafter(request.drafter, self.target, layer, capacity) if drafting else NoDrafter()
        clock = Clock()
        return _stamped(run, lane or request.method, clock, self._events(request, ids, drafter, controller, cancelled, clock, candidates))

    def _events(
        self, request: Request, ids: list[int], drafter: Drafter, controller: Controller, cancelled, clock: "Clock", candidates=None
    ) -> Iterator[Event]:
        target, costs = self.target, self.costs(drafter)
        sampler = Sampler(request.sampling, target.vocab, target.device)
        context = Context(list(ids), target.new_cache(len(ids) + request.max_new_tokens), sampler, candidates)
        detokenizer = Detokenizer(target.codec, ids)
        settings = {"max_new_tokens": request.max_new_tokens, "drafter": drafter.name, "exit_after": drafter.shares_layers}
        settings |= asdict(request.sampling) | {"controller": controller.snapshot()}
        settings["controller_settings"] = request.settings if request.method == "eesd" else {}
        yield RunStarted(
            request.method, target.name, str(target.device), target.precision,
            promise(self.level, request.sampling), request.prompt, tuple(ids), settings, versions(),
        )  # fmt: skip
        began = time.perf_counter()
        self._prefill(context, drafter)
        yield PrefillDone(len(ids) - 1, time.perf_counter() - began)
        if request.method == "eesd":
            yield CostMeasured(**asdict(costs.costs()))

        left, reason = request.max_new_tokens, None
        while reason is None:
            if cancelled():
                yield RunCancelled(request.max_new_tokens - left)
                return
            # 1. Draft. A round writes at most one token more than it drafts.
            budget = min(controller.start_round(costs.costs()), left - 1)
            with clock.standing():
                belief = controller.snapshot()
            yield RoundStarted(context.round, context.start + 1, budget, belief)
            if target.broken:
                raise target.no_numbers()
            draft: Draft = yield from drafter.propose(context, controller, budget)
            if draft.reason == "limit" and len(draft.ids) == left - 1:
                draft.reason = "length"
            if draft.ids:
                yield DraftStopped(context.round, len(draft.ids), draft.reason)
            # 2. Verify every draft in one pass, 3. accept the longest prefix that the target confirms.
            verdict = self._verify(context, drafter, draft)
            began = time.perf_counter()
            # 4. Roll back what was not accepted: the pending token of the next round is the last one committed.
            written = [*draft.ids[: verdict.accepted], *([] if verdict.next_id is None else [verdict.next_id])]
            context.ids += written
            context.cache.truncate(context.start)
            drafter.commit(context.start)
            assert all(n == context.start for n in context.cache.lengths), "caches out of step"
            controller.observe(Outcome(verdict.drafted, verdict.accepted))
            left -= len(written)
            if written[-1] in target.end_ids:
                reason = "eos"
            elif left == 0:
                reason = "length"
            context.sampler.forget(context.start)
            costs.observe(verdict.drafted, verdict.draft_seconds, verdict.verify_seconds, time.perf_counter() - began)
            yield verdict
            with clock.standing():
                belief = controller.snapshot()
                text = detokenizer.push(written) + (detokenizer.flush() if reason else "")
            if draft.ids:
                yield PosteriorUpdated(context.round, belief)
            yield TokensCommitted(context.round, tuple(written), text)
            context.round += 1
        yield RunFinished(reason, request.max_new_tokens - left)

    @torch.inference_mode()
    def _prefill(self, context: Context, drafter: Drafter) -> None:
        """Run all prompt tokens but the last through the target, and the drafter's part on them. It ends with a number on the host: a GPU
        would still be at it when the clock of decoding starts."""
        target, shared = self.target, drafter.shares_layers
        context.cache.prompt = len(context.ids)
        hidden = target.embed(context.ids[:-1], 0)
        if len(context.ids) > 1:
            hidden = target.run_range(0, shared, hidden, context.cache, 0)
        drafter.begin(context, hidden)
        if len(context.ids) > 1:
            target.run_range(shared, target.depth, hidden, context.cache, 0)[0, -1, 0].item()

    @torch.inference_mode()
    def _verify(self, context: Context, drafter: Drafter, draft: Draft) -> RoundVerified:
        """One pass of the remaining layers over the pending token and all drafts; the acceptance rule judges them."""
        began = time.perf_counter()
        target, sampler, start, drafted = self.target, context.sampler, context.start, len(draft.ids)
        hidden = target.embed(context.ids[-1:] + draft.ids, start) if draft.states is None else draft.states  # (1, k + 1, D)
        hidden = target.run_range(drafter.shares_layers, target.depth, hidden, context.cache, start)
        logits = target.logits(hidden)  # (k + 1, V)
        log_probs = sampler.log_probs(logits)
        if sampler.sampling.rejects:
            uniforms, noise = sampler.uniforms(start + 1, drafted), sampler.noise(start + 1, NEXT)
            scores, verdict = log_probs, by_rejection(draft.ids, log_probs.exp(), draft.q, uniforms, noise)
        else:
            scores = sampler.scores(logits, log_probs, start + 1)
            verdict = by_matching(draft.ids, scores.argmax(-1).tolist())
        best, best_ids = scores.topk(MOST)  # (k + 1, MOST)
        margins = ((best[:, 0] - best[:, 1]) * (sampler.sampling.temperature or 1.0)).clamp(max=MOST_MARGIN).tolist()
        accepted = verdict.accepted
        next_id = verdict.target_ids[accepted]
        *draft_chances, next_chance = log_probs[[*range(drafted), accepted], [*draft.ids, next_id]].exp().tolist()
        if not isfinite(next_chance + sum(draft_chances)):
            raise target.no_numbers()
        ended = accepted > 0 and draft.ids[accepted - 1] in target.end_ids  # nothing follows the end of the text
        if context.candidates is not None:
            written = slice(accepted + (not ended))
            context.candidates.keep(best[written], best_ids[written], log_probs.gather(-1, best_ids)[written])
        kind = "none" if ended else "correction" if accepted < drafted else "bonus"
        return RoundVerified(
            context.round, drafted, accepted, verdict.target_ids, tuple(draft_chances), tuple(margins),
            None if ended else next_id, "" if ended else target.codec.piece(next_id), next_chance, kind,
            draft.seconds, time.perf_counter() - began, verdict.accept_probabilities, verdict.uniforms,
        )  # fmt: skip


class Clock:
    """A lane's clock: the seconds that the engine worked on it, nobody else's, from the end of prefill on. It stands still for what is
    only made for whoever looks on, text and pictures of beliefs: transformers' `generate()` has neither."""

    def __init__(self):
        self.seconds, self.began = 0.0, 0.0

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def standing(self) -> "Clock":
        return self

    def __enter__(self) -> None:
        self.stop()

    def __exit__(self, *_) -> None:
        self.start()


def _stamped(run: str, lane: str, clock: Clock, events: Iterator[Event]) -> Iterator[Record]:
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

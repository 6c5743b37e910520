"""Runs the phases of a run (run.py) and yields their events. The caller decides when each phase happens, for one text alone or for several
in the same passes.
"""

from collections.abc import Iterator
from dataclasses import asdict

from .environment import versions
from .events import (
    CostMeasured,
    DrafterLearned,
    DraftStopped,
    DraftToken,
    Event,
    PosteriorUpdated,
    PrefillDone,
    RoundStarted,
    RoundVerified,
    RunCancelled,
    RunFinished,
    RunStarted,
    TokensCommitted,
)
from .metrics import Acceptance
from .request import Request
from .row_invariance import Level, promise
from .run import Run
from .text.detokenizer import Detokenizer
from .text.stop_strings import StoppedText


class Narration:
    """Call `begin`; for every round `plan`, `draft`, the verify pass (by the caller) and `commit`; then `finish` or `cancel`."""

    def __init__(self, run: Run, request: Request, level: Level, together: dict | None = None):
        """`level`: the self-check's result, for passes that the host starts. `together`: facts about passes shared with other texts, for
        the trace (together.py)."""
        self.together = together
        self.run, self.request, self.target, self.drafts = run, request, run.target, request.method == "eesd"
        self.level = level if run.backend == "host" else "exact-as-observed"
        self.words = StoppedText(Detokenizer(run.target.codec, run.text.ids), request.stop)
        self.counts, self.told = Acceptance(), {}
        self.number = self.position = 0  # the round's number; position of the first token that it writes

    def begin(self) -> Iterator[Event]:
        """The run's first events, including the prefill."""
        run, request, target, ids = self.run, self.request, self.target, tuple(self.run.text.ids)
        settings = {"max_new_tokens": request.max_new_tokens, "drafter": run.drafter.name, "exit_after": run.drafter.reuses}
        settings |= asdict(request.sampling) | {"controller": run.controller.snapshot()}
        settings["controller_settings"] = request.settings if self.drafts else {}
        settings |= {"stop": request.stop} if request.stop else {}
        settings |= {"together": self.together} if self.together else {}
        settings |= {"backend": run.backend} if run.backend != "host" else {}
        settings |= {"chat": True, "system": request.system, "history": request.history} if request.chat else {}
        yield RunStarted(
            request.method, target.name, str(target.device), target.precision,
            promise(self.level, request.sampling, target, run.drafter.rows > 1), request.prompt, ids, settings, versions(),
            tuple(sorted(target.codec.special_ids)), tuple(sorted(target.end_ids)),
        )  # fmt: skip
        yield PrefillDone(len(ids) - 1, run.prefill())
        if self.drafts:
            costs = run.costs.costs()
            yield CostMeasured(costs.draft, costs.verify, costs.fixed + costs.first)  # for rounds with drafts

    def plan(self) -> RoundStarted:
        run = self.run
        self.number, self.position, limit = run.text.round, run.text.start + 1, run.plan()
        with run.clock.standing():
            belief = run.controller.snapshot()
        return RoundStarted(self.number, self.position, limit, belief)

    def draft(self) -> Iterator[Event]:
        run, target = self.run, self.target
        for i, (node, decision) in enumerate(run.draft()):
            yield DraftToken(
                self.number, i, self.position + node.facts.depth, node.id, target.codec.piece(node.id), node.probability,
                node.facts.confidence, node.facts.entropy, *decision, node.facts.lead, node.parent,
            )  # fmt: skip
        if run.drafted.nodes:
            yield DraftStopped(self.number, len(run.drafted.nodes), run.drafted.stop)

    def commit(self) -> Iterator[Event]:
        run, drafted = self.run, len(self.run.drafted.nodes)
        new = run.commit()
        yield self._verified()
        with run.clock.standing():
            self.counts.add(drafted, run.judged.verdict.accepted)
            belief = run.controller.snapshot()
            news = run.drafter.snapshot()
            text = self.words.push(new)[1] + (self.words.flush() if run.ended else "")
        if drafted:
            yield PosteriorUpdated(self.number, belief)
        if news != self.told:
            self.told = news
            yield DrafterLearned(self.number, news)
        yield TokensCommitted(self.number, tuple(new), text)

    def finish(self) -> RunFinished:
        run = self.run
        with run.clock.standing():
            figures = self.counts.as_vllm() if self.drafts else None
        return RunFinished(run.ended, len(run.written), figures)

    def cancel(self) -> RunCancelled:
        return RunCancelled(len(self.run.written))

    def _verified(self) -> RoundVerified:
        drafted, judged = self.run.drafted, self.run.judged
        verdict, count = judged.verdict, len(drafted.nodes)
        kind = "none" if judged.ends else "correction" if verdict.rejected else "bonus"
        next_id, piece = (None, "") if judged.ends else (verdict.next_id, self.target.codec.piece(verdict.next_id))
        return RoundVerified(
            self.number, count, verdict.accepted, verdict.choices, judged.probabilities, judged.margins,
            next_id, piece, judged.next_probability, kind,
            drafted.seconds, judged.seconds, verdict.accept_probabilities, verdict.uniforms, verdict.path,
        )  # fmt: skip

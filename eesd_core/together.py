"""Several texts in the same passes, without padding: EMS-SD (arXiv 2405.07542), with our controllers and drafters.

A pass has the rows of all texts one after another, a different number for each text. Linear layers, norms and the head process all rows at
once, so the weights are read once for all texts. Attention runs for each text on its own cache, so nothing is padded, masked or moved when
one text accepts more than another. Every text has its own controller, drafter, noise and length; what it takes to draft and, with the
controller `throughput`, what drafts have taught is known to all. When a text ends, a waiting one takes its place.

Each text is the one that its run alone would write: if passes of up to MAX_ROWS rows are row-invariant (row_invariance.py), the tokens in
other rows have no influence. A round with more rows is verified in several passes.

Some drafters share draft steps (Drafter.shared): chains of the exit layer one pass through the first N layers with one row per text, then
one of the exit layer; chains of the feature, the chimera and the glide head, where possible, one pass of the head. Any other drafter
(trees, skipped layers, pools) drafts one text after another and shares only the verify pass.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .clock import Clock
from .control import Controller
from .costs import SharedCosts
from .draft.base import Step
from .events import Event, PrefillDone, Record
from .heads.base import Head
from .model.span import Segment, packed
from .narration import Narration
from .request import Request
from .run import Run

if TYPE_CHECKING:
    from .engine import Engine


Refused = Callable[[int, Exception], None]  # called with the row of a request that cannot be run, and the reason


@dataclass(slots=True, eq=False)
class Member:
    """A text of the batch."""

    row: int
    lane: str
    run: Run
    told: Narration
    seq: int = 0
    began: float | None = None  # the batch's clock when its prefill was done


class Batch:
    """Writes at most `most` texts at a time. See Engine.run_together for the arguments."""

    padded = False

    def __init__(
        self, engine: "Engine", requests: Iterable[Request | None], most: int, cancelled: Callable[[int], bool], clock: Clock,
        refused: Refused | None = None,
    ):  # fmt: skip
        self.engine, self.waiting, self.most, self.cancelled, self.clock = engine, iter(requests), most, cancelled, clock
        self.refused = refused or self._keep
        self.members: list[Member] = []
        self.begun = self.passes = 0  # number of texts and of rounds so far
        self.costs: dict[Head, SharedCosts] = {}  # by the head whose draft steps texts share
        self.steps: dict[Head, list[tuple[int, float]]] = {}  # of this round's shared draft steps: number of texts that drafted, seconds
        self.teachers: dict[str, Controller] = {}  # the first of the controllers that share what they learn
        self.whole = False  # no text drafts in this round's shared steps: Run.whole
        self.rows = 0  # of this round's verify passes
        self.problem: Exception | None = None  # the first problem, if there is no `refused`

    def records(self, run: str) -> Iterator[Record]:
        events, clock = self.events(), self.clock
        while True:
            clock.start()
            member, event = next(events, (None, None))
            clock.stop()
            if member is None:
                break
            if isinstance(event, PrefillDone):
                member.began = clock.seconds
            t = 0.0 if member.began is None else clock.seconds - member.began
            yield Record(run, member.lane, member.seq, t, event, member.row)
            member.seq += 1
        if self.problem:
            raise self.problem

    def events(self) -> Iterator[tuple[Member, Event]]:
        while True:
            yield from self._admit()
            if not self.members:
                return
            for member in [member for member in self.members if self.cancelled(member.row)]:
                self._leave(member)
                yield member, member.told.cancel()
            if not self.members:
                continue  # a request may be waiting
            began = self.clock.now
            for member in self.members:
                member.run.costs.texts = len(self.members)
                yield member, member.told.plan()
            yield from self._draft()
            drafted = sum(seconds for steps in self.steps.values() for _, seconds in steps)
            drafted += sum(member.run.drafted.seconds for member in self.members if not head_of(member.run))
            verified = self._verify()
            self.passes += 1
            for member in list(self.members):
                yield from ((member, event) for event in member.told.commit())
                if member.run.ended:
                    self._leave(member)
                    yield member, member.told.finish()
            rest = self.clock.now - began - drafted - verified
            for head, costs in self.costs.items():
                costs.learn(self.steps.get(head, ()), self.rows, verified, rest)

    def _leave(self, member: Member) -> None:
        self.members.remove(member)

    def _admit(self) -> Iterator[tuple[Member, Event]]:
        while len(self.members) < self.most and (request := next(self.waiting, None)) is not None:
            row, self.begun = self.begun, self.begun + 1
            try:
                with self.clock.standing():
                    run = self.engine.start(request)
                    run.clock = self.clock
                    if head := head_of(run):
                        drafter, measured = run.drafter, self.engine.measured
                        run.costs = self.costs.setdefault(head, SharedCosts(measured, drafter.reuses, self.padded, drafter.cost_guess))
                    self._share(run, request)
                    member = Member(row, request.method, run, Narration(run, request, self.engine.level, self._place()))
                    events = list(member.told.begin())
            except Exception as problem:  # a request that fails must not affect the others
                self.refused(row, problem)
                continue
            self.members.append(member)
            yield from ((member, event) for event in events)

    def _share(self, run: Run, request: Request) -> None:
        """What controllers learn about drafts serves all texts with the same drafter, controller and sampling."""
        if hasattr(run.controller, "learn_with"):
            settings = sorted((name, value) for name, value in request.settings.items() if name != "seed")
            how = repr((request.drafter, request.controller, settings, replace(request.sampling, seed=0)))
            run.controller.learn_with(self.teachers.setdefault(how, run.controller))

    def _place(self) -> dict:
        """Facts for the trace about the passes that a text shares: most texts at a time, their form, and the rounds and seconds before its
        first."""
        return {"texts": self.most, "padded": self.padded, "first_pass": self.passes, "since": self.clock.seconds}

    def _keep(self, row: int, problem: Exception) -> None:
        self.problem = self.problem or problem

    def _draft(self) -> Iterator[tuple[Member, Event]]:
        """Texts that draft together alternate between a shared step and each text's own choice. A text that stops takes part in one more
        step if its last draft has to pass the target's first layers too."""
        drafts = {member: member.told.draft() for member in self.members}
        together = [member for member in self.members if head_of(member.run)]
        for member in self.members:
            if member not in together:
                yield from ((member, event) for event in drafts[member])
        self.whole, self.steps = not any(member.run.budget for member in together), defaultdict(list)
        for member in together:
            member.run.whole = self.whole
            if self.whole:
                yield from ((member, event) for event in drafts[member])
        steps = {} if self.whole else {member: first_step(member.run) for member in together}
        seconds: dict[Member, float] = defaultdict(float)
        while steps:
            stepping = [member for member, step in steps.items() if step.goes or member.run.drafter.reuses]
            for head, group in _groups(stepping, lambda member: head_of(member.run)).items():
                began = time.perf_counter()
                with torch.inference_mode():
                    self._step([steps[member] for member in group])
                took = time.perf_counter() - began
                for member in group:
                    seconds[member] += took
                self.steps[head].append((sum(steps[member].goes for member in group), took))
            for member, step in list(steps.items()):
                if not step.goes:
                    yield from ((member, event) for event in drafts[member])
                    member.run.drafted.seconds += seconds[member]
                    del steps[member]
                    continue
                token = next(drafts[member])
                steps[member] = step._replace(id=token.id, position=step.position + 1, goes=token.go)
                yield member, token

    def _step(self, steps: list[Step]) -> None:
        steps[0].drafter.step_together(steps)

    def _verify(self) -> float:
        """Returns the seconds that it took."""
        runs = [member.run for member in self.members]
        return self._in_passes(runs, [1 + len(run.drafted.nodes) for run in runs])

    def _in_passes(self, runs: Sequence[Run], rows: Sequence[int]) -> float:
        self.rows = sum(rows)
        return verify_in_passes(runs, rows)


@torch.inference_mode()
def verify_in_passes(runs: Sequence[Run], rows: Sequence[int]) -> float:
    """Verify all runs in as few passes as possible; `rows`: number of rows of each run. Each run is charged the time of all passes, because
    every text waits for all of them. Returns this time."""
    began = time.perf_counter()
    for group in _groups(range(len(runs)), lambda number: runs[number].low).values():
        for chosen in packed([rows[number] for number in group]):
            verify_together([runs[group[i]] for i in chosen])
    seconds = time.perf_counter() - began
    for run in runs:
        run.judged.seconds, run.costs.rows = seconds, sum(rows)
    return seconds


def verify_together(runs: Sequence[Run]) -> None:
    """One verify pass over the rows of all these runs, which must begin with the same layer. Each run then judges its own rows."""
    target, low, rows = runs[0].target, runs[0].low, [run.rows() for run in runs]
    sizes = [part.shape[1] for part in rows]
    segments = [Segment(run.text.cache, run.span, size) for run, size in zip(runs, sizes)]
    depths = sorted({tap for run in runs for tap in run.drafter.taps})
    logits, seen = target.verify(low, depths, torch.cat(rows, 1), segments)
    seen = {depth: seen[depth].split(sizes, 1) for depth in depths}
    for number, (run, own) in enumerate(zip(runs, logits.split(sizes))):
        run.judge(own, {depth: parts[number] for depth, parts in seen.items()})


def head_of(run: Run) -> Head | None:
    """The head whose draft steps the run shares with other texts, if it shares any."""
    return run.drafter.shared(run.text)


def first_step(run: Run) -> Step:
    return Step(run.drafter, run.text, run.text.ids[-1], run.text.start, run.budget > 0)


def _groups(items: Iterable, key: Callable) -> dict[object, list]:
    found = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found

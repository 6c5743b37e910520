"""Several texts in the same passes, without padding: EMS-SD (arXiv 2405.07542), with our controllers and drafters.

A pass has the rows of all texts one after another, a different number for each text. Linear layers, norms and the head process all rows at
once, so the weights are read once for all texts. Attention runs for each text on its own cache, so nothing is padded, masked or moved when
one text accepts more than another. Every text has its own controller, drafter, noise and length. When a text ends, a waiting one takes its
place.

Each text is the one that its run alone would write: if passes of up to MAX_ROWS rows are row-invariant (row_invariance.py), the tokens in
other rows have no influence. A round with more rows is verified in several passes.

Chains of the exit layer share draft steps: one pass through the first N layers with one row per text, then one of the exit layer. Any
other drafter (trees, skipped layers, pools) drafts one text after another and shares only the verify pass.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .clock import Clock
from .draft.early_exit import EarlyExitDrafter, Step, step_together
from .events import Event, PrefillDone, Record
from .model.span import Segment, packed
from .narration import Narration
from .request import Request
from .run import Run

if TYPE_CHECKING:
    from .engine import Engine


WEIGHT = 0.1  # weight of the newest round in the running mean `drafting`
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
        self.drafting = 1.0  # running mean of the share of texts that draft in the exit layer's draft steps
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
            for member in self.members:
                costs = member.run.costs
                costs.texts, costs.drafting = len(self.members), self.drafting if steps_together(member.run) else 0.0
                yield member, member.told.plan()
            yield from self._draft()
            self._verify()
            self.passes += 1
            for member in list(self.members):
                yield from ((member, event) for event in member.told.commit())
                if member.run.ended:
                    self._leave(member)
                    yield member, member.told.finish()

    def _leave(self, member: Member) -> None:
        self.members.remove(member)

    def _admit(self) -> Iterator[tuple[Member, Event]]:
        while len(self.members) < self.most and (request := next(self.waiting, None)) is not None:
            row, self.begun = self.begun, self.begun + 1
            try:
                with self.clock.standing():
                    run = self.engine.start(request)
                    run.clock = self.clock
                    member = Member(row, request.method, run, Narration(run, request, self.engine.level, self._place()))
                    events = list(member.told.begin())
            except Exception as problem:  # a request that fails must not affect the others
                self.refused(row, problem)
                continue
            self.members.append(member)
            yield from ((member, event) for event in events)

    def _place(self) -> dict:
        """Facts for the trace about the passes that a text shares: most texts at a time, their form, and the rounds and seconds before its
        first."""
        return {"texts": self.most, "padded": self.padded, "first_pass": self.passes, "since": self.clock.seconds}

    def _keep(self, row: int, problem: Exception) -> None:
        self.problem = self.problem or problem

    def _draft(self) -> Iterator[tuple[Member, Event]]:
        """Texts that draft together alternate between a shared step and each text's own choice. A text that stops takes part in one more
        step, because its last draft passes the first layers too."""
        drafts = {member: member.told.draft() for member in self.members}
        together = [member for member in self.members if steps_together(member.run)]
        for member in self.members:
            if member not in together:
                yield from ((member, event) for event in drafts[member])
        steps = {member: first_step(member.run) for member in together}
        seconds: dict[Member, float] = defaultdict(float)
        drafting: list[int] = []  # number of texts that draft, for every step
        while steps:
            for group in _groups(steps, lambda member: member.run.drafter.exit_layer):
                began = time.perf_counter()
                with torch.inference_mode():
                    self._step([steps[member] for member in group])
                took = time.perf_counter() - began
                for member in group:
                    seconds[member] += took
                drafting.append(sum(steps[member].goes for member in group))
            for member, step in list(steps.items()):
                if not step.goes:
                    yield from ((member, event) for event in drafts[member])
                    member.run.drafted.seconds += seconds[member]
                    del steps[member]
                    continue
                token = next(drafts[member])
                steps[member] = step._replace(id=token.id, position=step.position + 1, goes=token.go)
                yield member, token
        if drafting := [texts for texts in drafting if texts]:
            self.drafting += WEIGHT * (sum(drafting) / len(drafting) / len(self.members) - self.drafting)

    def _step(self, steps: list[Step]) -> None:
        step_together(steps)

    def _verify(self) -> None:
        runs = [member.run for member in self.members]
        verify_in_passes(runs, [1 + len(run.drafted.nodes) for run in runs])


@torch.inference_mode()
def verify_in_passes(runs: Sequence[Run], rows: Sequence[int]) -> None:
    """Verify all runs in as few passes as possible; `rows`: number of rows of each run. Each run is charged the time of all passes, because
    every text waits for all of them."""
    began = time.perf_counter()
    for group in _groups(range(len(runs)), lambda number: runs[number].drafter.reuses):
        for chosen in packed([rows[number] for number in group]):
            verify_together([runs[group[i]] for i in chosen])
    seconds = time.perf_counter() - began
    for run in runs:
        run.judged.seconds, run.costs.rows = seconds, sum(rows)


def verify_together(runs: Sequence[Run]) -> None:
    """One verify pass over the rows of all these runs, whose drafters must have equal `reuses`. Each run then judges its own rows."""
    target, low, rows = runs[0].target, runs[0].drafter.reuses, [run.rows() for run in runs]
    sizes = [part.shape[1] for part in rows]
    segments = [Segment(run.text.cache, run.span, size) for run, size in zip(runs, sizes)]
    depths = sorted({tap for run in runs for tap in run.drafter.taps})
    logits, seen = target.verify(low, depths, torch.cat(rows, 1), segments)
    seen = {depth: states.split(sizes, 1) for depth, states in seen.items()}
    for number, (run, own) in enumerate(zip(runs, logits.split(sizes))):
        run.judge(own, {depth: parts[number] for depth, parts in seen.items()})


def steps_together(run: Run) -> bool:
    """Whether the run's draft steps can be shared with other texts."""
    return type(run.drafter) is EarlyExitDrafter and run.drafter.rows == 1


def first_step(run: Run) -> Step:
    return Step(run.drafter, run.text, run.text.ids[-1], run.text.start, run.budget > 0)


def _groups(items: Iterable, key: Callable) -> list[list]:
    found = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.values())

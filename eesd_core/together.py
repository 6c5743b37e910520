"""Several texts in the same passes, without padding: EMS-SD (arXiv 2405.07542), with our controllers and drafters.

A pass has the rows of all texts behind each other, as many of each as that text has. Products, norms, MLPs and the head take them all at
once, so the weights are read once for all texts; attention is each text's own, on its own cache, so nothing is padded, masked or moved when
one text accepts more than another. Every text has its own controller, drafter, noise and length. A finished text has no rows, and a waiting
one takes its place.

Each text is what its run alone would write. Where passes of up to MAX_ROWS rows treat rows alike (row_invariance.py), which token stands in
the other rows does not count, and a round with more rows is verified in several passes.

Draft steps are shared by chains of the exit layer: one pass over the first N layers with one row a text, then one of the exit layer. Any
other drafter (trees, skipped layers, pools) drafts alone, text after text, and shares the verify pass.
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


WEIGHT = 0.1  # of the newest round in a running mean
Refused = Callable[[int, Exception], None]  # is told of a request that cannot be run, by its row


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
    """At most `most` texts at a time; the rest as Engine.run_together says."""

    padded = False

    def __init__(
        self, engine: "Engine", requests: Iterable[Request | None], most: int, cancelled: Callable[[int], bool], clock: Clock,
        refused: Refused | None = None,
    ):  # fmt: skip
        self.engine, self.waiting, self.most, self.cancelled, self.clock = engine, iter(requests), most, cancelled, clock
        self.refused = refused or self._keep
        self.members: list[Member] = []
        self.begun = self.passes = 0  # texts and rounds so far
        self.drafting = 1.0  # the share of texts that draft in a draft step of the exit layer, a running mean
        self.problem: Exception | None = None  # the first one, where nobody wants to be told

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
                continue  # somebody may wait
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
            except Exception as problem:  # whatever is wrong with it, the others have nothing to do with it
                self.refused(row, problem)
                continue
            self.members.append(member)
            yield from ((member, event) for event in events)

    def _place(self) -> dict:
        """What a trace says of the passes that a text shares: how many texts they have at most, in which form, and how many there were, in
        how many seconds, before its first."""
        return {"texts": self.most, "padded": self.padded, "first_pass": self.passes, "since": self.clock.seconds}

    def _keep(self, row: int, problem: Exception) -> None:
        self.problem = self.problem or problem

    def _draft(self) -> Iterator[tuple[Member, Event]]:
        """Texts that draft together go step by step: a shared pass, then what each makes of it. One that stops takes part once more, since
        its last draft passes the first layers too."""
        drafts = {member: member.told.draft() for member in self.members}
        together = [member for member in self.members if steps_together(member.run)]
        for member in self.members:
            if member not in together:
                yield from ((member, event) for event in drafts[member])
        steps = {member: first_step(member.run) for member in together}
        seconds: dict[Member, float] = defaultdict(float)
        drafting: list[int] = []  # texts that draft, of every step
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
    """In as few verify passes as there may be; `rows` of each run. Every text waits for all of them, so the time of all is each one's."""
    began = time.perf_counter()
    for group in _groups(range(len(runs)), lambda number: runs[number].drafter.reuses):
        for chosen in packed([rows[number] for number in group]):
            verify_together([runs[group[i]] for i in chosen])
    seconds = time.perf_counter() - began
    for run in runs:
        run.judged.seconds, run.costs.rows = seconds, sum(rows)


def verify_together(runs: Sequence[Run]) -> None:
    """One verify pass over the rows of all these runs, whose drafters reuse equally many layers; each is then judged by its own rule."""
    target, low, rows = runs[0].target, runs[0].drafter.reuses, [run.rows() for run in runs]
    sizes, layers, seen = [part.shape[1] for part in rows], list(target.layers), {}
    segments = [Segment(run.text.cache, run.span, size) for run, size in zip(runs, sizes)]
    hidden = torch.cat(rows, 1)
    for depth in sorted({target.depth, *(tap for run in runs for tap in run.drafter.taps)}):
        if low < depth:
            hidden = target.run_together(layers[low:depth], hidden, segments)
        low, seen[depth] = depth, hidden.split(sizes, 1)
    for number, (run, logits) in enumerate(zip(runs, target.logits(hidden).split(sizes))):
        run.judge(logits, {depth: parts[number] for depth, parts in seen.items()})


def steps_together(run: Run) -> bool:
    """Whether its draft steps can be shared."""
    return type(run.drafter) is EarlyExitDrafter and run.drafter.rows == 1


def first_step(run: Run) -> Step:
    return Step(run.drafter, run.text, run.text.ids[-1], run.text.start, run.budget > 0)


def _groups(items: Iterable, key: Callable) -> list[list]:
    found = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.values())

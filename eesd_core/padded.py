"""The padded form of batched speculation, as a baseline for the form without padding (together.py).

All texts take part in draft steps as long as one of them drafts. A verify pass has the same number of rows for every text, that of the
longest draft. A text that has ended keeps its rows until another takes its place. Padding rows are computed, but no row attends to them,
and they are dropped. The published padded form (the "vanilla" one of EMS-SD, arXiv 2405.07542) also advances every text by the largest
number of tokens that one of them accepted, and masks the holes that this leaves in the other caches. Here caches have no holes, which can
only make this form faster than the published one.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .draft.base import Draft, Drafter, Step
from .events import Event
from .model.span import Span
from .run import Judgement, Run
from .together import Batch, Member, first_step, head_of


class PaddedBatch(Batch):
    padded = True

    def __init__(self, *how):
        super().__init__(*how)
        self.left: list[Run] = []
        self.last: dict[Drafter, Step] = {}  # every text's latest step of this round

    def _leave(self, member: Member) -> None:
        super()._leave(member)
        self.left.append(member.run)

    def _draft(self) -> Iterator[tuple[Member, Event]]:
        self.left = self.left[: self.most - len(self.members)]
        runs = [*self.left, *(member.run for member in self.members)]
        self.last = {run.drafter: first_step(run) for run in runs if head_of(run)}
        yield from super()._draft()

    def _step(self, steps: list[Step]) -> None:
        """Texts that have stopped drafting repeat their last step as padding, those that do not begin their first one."""
        (drafter, text, *_), goes = steps[0], any(step.goes for step in steps)
        head = drafter.shared(text)
        self.last |= {step.drafter: step for step in steps}
        now = {step.drafter for step in steps}
        others = [step for drafter, step in self.last.items() if drafter not in now and drafter.shared(step.text) is head]
        again = [step._replace(goes=goes) for step in others]
        for step in again:
            for cache in filter(None, (step.text.cache, step.drafter.cache)):
                cache.truncate(step.position)
        drafter.step_together(steps + again)
        for step in again:
            step.drafter.ready = None

    def _verify(self) -> float:
        runs = [*(member.run for member in self.members), *self.left]
        for run in self.left:
            run.drafted = Draft([], None if self.whole and head_of(run) else run.drafter.finish(run.text, []))
        most = 1 + max(len(run.drafted.nodes) for run in runs)
        seconds = self._in_passes([PaddedRun(run, most, run in self.left) for run in runs], [most] * len(runs))
        for run in self.left:
            run.text.cache.truncate(run.text.start)
        return seconds


class PaddedRun:
    """The interface of a run that a verify pass uses, with rows padded to `most`. Padding rows follow the chain of drafts, which sees none
    of them. Behind a tree, or where positions end, they have the pending token's position and no children."""

    def __init__(self, run: Run, most: int, left: bool):
        """`left`: the text has ended, so all its rows are padding."""
        self.run, self.left, self.target, self.text, self.drafter = run, left, run.target, run.text, run.drafter
        self.own, self.costs = 1 + len(run.drafted.nodes), run.costs
        self.padding = most - self.own

    def rows(self) -> Tensor:
        own = self.run.rows()
        return torch.cat([own, own[:, :1].expand(-1, self.padding, -1)], 1)

    @property
    def span(self) -> Span:
        start, parents = self.run.span
        if not self.padding or (not parents and start + self.own + self.padding <= self.target.context):
            return self.run.span
        return Span(start, (parents or tuple(range(-1, self.own - 1))) + (-1,) * self.padding)

    @property
    def low(self) -> int:
        return self.run.low

    @property
    def judged(self) -> Judgement:
        return self.run.judged

    def judge(self, logits: Tensor, seen: dict[int, Tensor]) -> None:
        if not self.left:
            self.run.judge(logits[: self.own], {depth: states[:, : self.own] for depth, states in seen.items()})

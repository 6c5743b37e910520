"""The base classes of drafters whose steps are one parallel region each, where that is possible (model/cpu/choice.py). The states of newly
verified rows wait for the next step, which reads them first; those of several rounds do, if others drafted meanwhile. Some of these steps
serve several texts at once."""

from collections.abc import Sequence
from threading import get_ident

import torch
from torch import Tensor

from ..heads.base import Head
from ..limits import MAX_ROWS
from ..model.cache import KVCache
from ..model.span import ChimeraRow, FeatureRows, Fresh, GlideRow, packed
from ..sampling import Ranked
from ..verify import Verdict
from .base import Node, Parts, Step, Text, last_id
from .choose import node_of
from .head_drafter import HeadDrafter

NO_ROWS = Fresh((), (), 0)


class RegionDrafter(HeadDrafter):
    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        self.step, self.step_for = None, None  # see `_step_of`, and the sampler and the thread that it is for
        self.waiting: list[Fresh] = []  # rows that `verified` counts but that are not in `memory` yet, at most MAX_ROWS

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self._step_of(text)  # compiles it while no clock of a draft runs
        super().begin(text, seen)

    def _step_of(self, text: Text):
        """The text's part of draft steps in one region; None where this is not possible."""
        sampler = text.sampler
        if self.step_for != (sampler, get_ident()):
            width = self.width if self.rows > 1 else 1
            self.step = self._step(text, max(width, 2)) if self.target.steps and sampler.ranker else None
            self.step_for = sampler, get_ident()
        return self.step

    def _step(self, text: Text, count: int):
        """It, for the `count` best tokens."""
        raise NotImplementedError

    def _fresh(self) -> Fresh:
        """What waits, for a step that takes it into `memory`."""
        waiting, self.waiting = self.waiting, []
        if len(waiting) < 2:
            return waiting[0] if waiting else NO_ROWS
        by_depth = zip(*(fresh.states for fresh in waiting))
        states = [torch.cat([part[:, list(fresh.rows)] for part, fresh in zip(parts, waiting)], 1) for parts in by_depth]
        return Fresh(states, list(range(states[0].shape[1])), waiting[0].first)

    def _settle(self) -> None:
        """Take what waits into `memory` without a step."""
        if self.waiting:
            states, rows, self.verified = self._fresh()
            super()._judged(states, rows)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:
            self._settle()
        else:
            self._step_of(text)
        super().commit(text, nodes, verdict, seen)

    def _judged(self, states: Sequence[Tensor], rows: Sequence[int]) -> None:
        if sum(len(fresh.rows) for fresh in self.waiting) + len(rows) > MAX_ROWS:
            self._settle()
        self.waiting.append(Fresh(states, rows, self.verified))
        self.verified += len(rows)
        if not self.step or len(rows) > MAX_ROWS:
            self._settle()


class SharedDrafter(RegionDrafter):
    """One token a step. Chains of several texts share their steps."""

    cache: KVCache | None = None  # of the head's own layers
    ready: Ranked | None = None  # what `step_together` found behind the last node

    def shared(self, text: Text) -> Head | None:
        return self.head if self.rows == 1 and self._step_of(text) else None

    @staticmethod
    def step_together(steps: Sequence[Step]) -> None:
        for step, found in zip(steps, draft_in_one(steps)):
            step.drafter.ready = found

    def drafted(self, text: Text, nodes: Sequence[Node]) -> list[Node]:
        """The next node, by a step in one region; none where this is not possible."""
        found, self.ready = self.ready, None
        if found is None and self._step_of(text):
            (found,) = draft_in_one([Step(self, text, last_id(text, nodes), text.start + len(nodes), True)])
        return [] if found is None else [node_of(text, nodes, found, self.width if self.rows > 1 else 1)]

    def _asked(self, step: Step) -> FeatureRows | ChimeraRow | GlideRow:
        """This text's part of a step in one region."""
        raise NotImplementedError


def draft_in_one(steps: Sequence[Step]) -> list[Ranked]:
    """The next step of several texts that share a head, in as few regions as their rows fit in."""
    asked = [step.drafter._asked(step) for step in steps]
    found: dict[int, Ranked] = {}
    for chosen in packed([each.size for each in asked]):
        found |= zip(chosen, asked[0].text.step([asked[i] for i in chosen]))
    return [found[i] for i in range(len(steps))]

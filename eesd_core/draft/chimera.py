"""The chimera drafter predicts from the last three tokens and the target's states at the last verified token (after Chimera, arXiv
2402.15758; heads/chimera.py). It has no attention and no cache. Where possible, a draft is one region (model/cpu/chimera_step.py), also of
several texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..heads.chimera import TOKENS
from ..heads.trained import even
from ..model.span import ChimeraRow
from .base import Node, Parts, Step, Text
from .in_region import SharedDrafter


class ChimeraDrafter(SharedDrafter):
    kind = "chimera"

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        self.spine: list[int] = []  # this round's drafts

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        self.spine = [node.id for node in nodes]
        if drafted := self.drafted(text, nodes):
            return drafted
        self._settle()
        ids = self._last(text, len(nodes))
        embedded = even(self.target.embed(ids, text.start + len(nodes) + 1 - len(ids))).unbind(1)  # (1, D) each
        missing = [torch.zeros_like(embedded[0])] * (TOKENS - len(ids))
        context = self.memory[:, text.start : text.start + 1]
        place = torch.tensor([[len(nodes)]], device=context.device)
        return [self.chosen(text, nodes, self.head.hidden(torch.cat([*missing, *embedded], -1)[None], context, place))]

    def _last(self, text: Text, drafts: int) -> list[int]:
        """The last tokens behind so many of this round's drafts."""
        return [*text.ids[-TOKENS:], *self.spine[:drafts]][-TOKENS:]

    def _asked(self, step: Step) -> ChimeraRow:
        text, place = step.text, step.position - step.text.start
        if place:  # a shared step comes before `extend`
            self.spine[place - 1 :] = [step.id]
        self._see(text)
        return ChimeraRow(self._step_of(text), self._last(text, place), step.position, place, self.words, self._fresh())

    def _step(self, text: Text, count: int):
        from ..model.cpu.chimera_step import chimera_text

        return chimera_text(self.target.steps, self.head, text.sampler.ranker, count, self.memory)

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        return self.head.context(states)

"""The hidden-transfer drafter runs pseudo states of the next positions through the target's upper layers (arXiv 2404.12022).

One pass over a few rows makes a whole draft. Their keys and values are written into the target's cache behind the text's and removed
before verification. The pseudo states are made from the last verified token's state, known from the verify pass (heads/hidden_transfer.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Node, Parts, Text, last_id
from .head_drafter import HeadDrafter


class HiddenTransferDrafter(HeadDrafter):
    kind, at_once = "hidden-transfer", True

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        self.cost_guess = self.head.cost + 1 - self.head.depth / self.target.depth
        self.ready: Tensor | None = None  # this round's normed rows, before the correction by the previous token: (1, k, D)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        target, head, place = self.target, self.head, len(nodes)
        if place == head.longest:
            return []
        if not place:
            rows = head.pseudo(self.memory[:, text.start], self._embedding(text.ids[-1])[:, 0], range(min(room, head.longest)))
            self.ready = target.norm(target.run_range(head.depth, target.depth, rows, text.cache, text.start))
        normed = head.corrected(self.ready[:, place : place + 1], self._embedding(last_id(text, nodes)))
        return [self.chosen(text, nodes, normed)]

    def _embedding(self, id: int) -> Tensor:  # (1, 1, D)
        return self.target.embedding(torch.tensor([[id]], device=self.target.device))

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        text.cache.truncate(text.start)

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        return states[0]

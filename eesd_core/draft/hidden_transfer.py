"""The hidden-transfer drafter: pseudo states of the next positions, run through the target's upper layers (arXiv 2404.12022).

One pass over a few rows makes a whole draft. Their keys and values stand in the target's cache behind the text's, and are forgotten before
verification. It begins from the state of the last verified token, which the verify pass leaves behind (heads/hidden_transfer.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..verify import Verdict
from .base import Node, Parts, Text, last_id
from .head_drafter import HeadDrafter


class HiddenTransferDrafter(HeadDrafter):
    kind = "hidden-transfer"

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        head, target = self.head, self.target
        self.cost_guess = (head.cost + 1 - head.depth / target.depth) / head.longest
        # Row t + 1 has the state of position t. Row 0: nothing was verified yet.
        kind = {"dtype": target.stream, "device": target.device}
        self.states = torch.zeros(1, parts.capacity + 1, target.config.hidden_size, **kind)
        self.verified = 0  # positions
        self.ready: Tensor | None = None  # what the LM head reads of this round's rows, in front of the correction: (1, k, D)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self._see(seen[self.head.depth])

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        target, head, place = self.target, self.head, len(nodes)
        if place == head.longest:
            return []
        if not place:
            rows = head.pseudo(self.states[:, text.start], self._embedding(text.ids[-1])[:, 0], range(min(room, head.longest)))
            self.ready = target.norm(target.run_range(head.depth, target.depth, rows, text.cache, text.start))
        normed = head.corrected(self.ready[:, place : place + 1], self._embedding(last_id(text, nodes)))
        return [self.chosen(text, nodes, normed)]

    def _embedding(self, id: int) -> Tensor:  # (1, 1, D)
        return self.target.embedding(torch.tensor([[id]], device=self.target.device))

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        text.cache.truncate(text.start)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:
            self.taken_back()
            self.verified = text.start
        else:
            self._see(*self.kept(text.start - self.verified, verdict, seen))

    def _see(self, states: Tensor) -> None:
        """Of the next positions, which are verified: (1, m, D)."""
        count = states.shape[1]
        self.states[:, self.verified + 1 : self.verified + 1 + count] = states
        self.verified += count

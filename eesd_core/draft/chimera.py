"""The chimera drafter: a draft follows from the last three tokens and from what the last verified one knew (after Chimera, arXiv
2402.15758; heads/chimera.py). It has no attention and no cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..heads.chimera import TOKENS
from ..heads.trained import even
from ..verify import Verdict
from .base import Node, Parts, Text
from .head_drafter import HeadDrafter


class ChimeraDrafter(HeadDrafter):
    kind = "chimera"

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        target = self.target
        self.nothing = torch.zeros(1, 1, target.config.hidden_size, dtype=target.stream, device=target.device)
        self.contexts: list[Tensor] = []  # of every verified position, (1, 1, D)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self._see([seen[tap] for tap in self.taps])

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        position = text.start + len(nodes)
        ids = [*text.ids[-TOKENS:], *(node.id for node in nodes)][-TOKENS:]
        embedded = even(self.target.embed(ids, position + 1 - len(ids))).unbind(1)  # (1, D) each
        missing = [self.nothing[:, 0]] * (TOKENS - len(ids))
        context = self.contexts[text.start - 1] if text.start else self.nothing
        place = torch.tensor([[len(nodes)]], device=context.device)
        return [self.chosen(text, nodes, self.head.hidden(torch.cat([*missing, *embedded], -1)[None], context, place))]

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:  # the text was taken back
            self.taken_back()
            del self.contexts[text.start :]
            return
        self._see(self.kept(text.start - len(self.contexts), verdict, seen))

    def _see(self, states: Sequence[Tensor]) -> None:
        """The next positions are verified: their states at every tap, (1, m, D) each."""
        if states[0].shape[1]:
            self.contexts += self.head.context(states).split(1, 1)

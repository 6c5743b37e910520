"""The chimera drafter predicts from the last three tokens and the target's states at the last verified token (after Chimera, arXiv
2402.15758; heads/chimera.py). It has no attention and no cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..heads.chimera import TOKENS
from ..heads.trained import even
from .base import Node, Text
from .head_drafter import HeadDrafter


class ChimeraDrafter(HeadDrafter):
    kind = "chimera"

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        position = text.start + len(nodes)
        ids = [*text.ids[-TOKENS:], *(node.id for node in nodes)][-TOKENS:]
        embedded = even(self.target.embed(ids, position + 1 - len(ids))).unbind(1)  # (1, D) each
        missing = [torch.zeros_like(embedded[0])] * (TOKENS - len(ids))
        context = self.memory[:, text.start : text.start + 1]
        place = torch.tensor([[len(nodes)]], device=context.device)
        return [self.chosen(text, nodes, self.head.hidden(torch.cat([*missing, *embedded], -1)[None], context, place))]

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        return self.head.context(states)

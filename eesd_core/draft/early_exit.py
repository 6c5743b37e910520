"""The early-exit drafter: the target's first N layers and the exit layer (EESD, Section 3.1 and Figure 2).

Every draft token passes the first N layers once. The hidden states are kept, so that verification starts from them and runs the
remaining layers only. The last draft passes the first N layers too, which is what buys the bonus token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..verify import Verdict
from .base import Drafter, Node, Parts, Text, last_id
from .choose import choose


class EarlyExitDrafter(Drafter):
    name = "early-exit"

    def __init__(self, parts: Parts):
        self.target, self.exit_layer, capacity = parts
        self.reuses = self.exit_layer.exit_after
        self.taps = (self.reuses,)
        self.cache = self.exit_layer.new_cache(self.target, capacity)
        width = self.target.config.hidden_size
        self.states = torch.zeros(1, capacity, width, dtype=self.target.dtype, device=self.target.device)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        states = seen[self.reuses]  # (1, n, D)
        self.states[:, : states.shape[1]] = states
        if states.shape[1]:
            self.exit_layer(self.target, states, self.cache, 0)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        """After a fully accepted draft the exit layer has not seen the last draft's state: every gap is filled in the same pass."""
        position = self._shallow(text, nodes)
        gap = self.cache.lengths[0]
        logits = self.exit_layer(self.target, self.states[:, gap : position + 1], self.cache, gap)  # (1, V)
        return [choose(text, nodes, logits)]

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor:
        position = self._shallow(text, nodes)
        return self.states[:, text.start : position + 1]

    def _shallow(self, text: Text, nodes: Sequence[Node]) -> int:
        """The last token through the first N layers; its state is kept. Returns its position."""
        position = text.start + len(nodes)
        hidden = self.target.embed([last_id(text, nodes)], position)
        self.states[:, position : position + 1] = self.target.run_range(0, self.reuses, hidden, text.cache, position)
        return position

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.cache.truncate(text.start)

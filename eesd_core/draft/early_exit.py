"""The early-exit drafter: the target's first N layers and the exit layer (EESD, Section 3.1 and Figure 2).

Every draft token passes the first N layers once. The hidden states are kept, so that verification starts from them and runs the
remaining layers only. The last draft passes the first N layers too, which is what buys the bonus token.
"""

import torch
from torch import Tensor

from ..heads.exit_layer import ExitLayer
from ..model.target import Target
from .base import Context
from .stepwise import Choice, StepwiseDrafter, choose


class EarlyExitDrafter(StepwiseDrafter):
    name, draft_share = "early-exit", 0.0

    def __init__(self, target: Target, exit_layer: ExitLayer, capacity: int):
        self.target, self.exit_layer = target, exit_layer
        self.shares_layers = exit_layer.exit_after
        self.cache = target.new_cache(capacity, layers=1)
        self.states = torch.zeros(1, capacity, target.config.hidden_size, dtype=target.dtype, device=target.device)

    def begin(self, context: Context, states: Tensor) -> None:
        self.states[:, : states.shape[1]] = states
        if states.shape[1]:
            self.exit_layer(self.target, states, self.cache, 0)

    def next(self, context: Context, ids: list[int]) -> Choice:
        """After a fully accepted draft the exit layer has not seen the last draft's state: every gap is filled in the same pass."""
        position = self._shallow(context, ids)
        gap = self.cache.lengths[0]
        logits = self.exit_layer(self.target, self.states[:, gap : position + 1], self.cache, gap)  # (1, V)
        return choose(context, logits, position + 1)

    def finish(self, context: Context, ids: list[int]) -> Tensor:
        position = self._shallow(context, ids)
        return self.states[:, context.start : position + 1]

    def _shallow(self, context: Context, ids: list[int]) -> int:
        """The last token through the first N layers; its state is kept. Returns its position."""
        position = context.start + len(ids)
        hidden = self.target.embed([ids[-1] if ids else context.ids[-1]], position)
        self.states[:, position : position + 1] = self.target.run_range(0, self.shares_layers, hidden, context.cache, position)
        return position

    def commit(self, length: int) -> None:
        self.cache.truncate(length)

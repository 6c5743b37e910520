"""An untrained exit layer, as a baseline in the benchmark: one of the target's own decoder layers, then its norm and head."""

import copy

from ..model.target import Target
from .base import Head


class UntrainedExit(Head):
    """The target's last layer directly after its first N."""

    fingerprint = "untrained"

    def __init__(self, target: Target, exit_after: int):
        super().__init__(target, exit_after)
        layer, name = copy.copy(target.layers[-1]), target.family.attention
        attention = copy.copy(layer._modules[name])
        attention.layer_idx = 0  # it has a cache of its own
        layer._modules = layer._modules | {name: attention}
        self.layers, self.norm = (layer,), target.norm

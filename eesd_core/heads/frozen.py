"""The target's own norm and head at depth N: no extra layer, nothing trained.

It is used if a model has no trained exit layer. Models trained with an early-exit loss draft this way (LayerSkip, arXiv 2404.16710). On
other models few drafts are accepted, so the user is always told (`note`).
"""

from ..model.target import Target
from .base import Head


class FrozenExit(Head):
    fingerprint = "frozen"

    def __init__(self, target: Target, exit_after: int):
        super().__init__(target, exit_after)
        self.norm = target.norm
        self.note = f"no exit layer was trained for {target.name}: drafts come from its own norm and head after layer {exit_after}, "
        self.note += "of which few are accepted unless it was trained for early exits; train one with `distill`"

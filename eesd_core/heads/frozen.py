"""The target's own norm and head at depth N: no layer, nothing trained.

A model without a trained exit layer drafts with it, as models trained with early-exit loss do (LayerSkip, arXiv 2404.16710); in others
few drafts are accepted, so that is never done without saying so (`note`).
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

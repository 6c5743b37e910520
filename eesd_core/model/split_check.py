"""Checks that the split computes what the model computes: runs a few tokens through the whole model, as transformers does, and through the
target's parts. Ours.

families.py describes what differs between families, and transformers decides what a configuration turns on. If the two disagree, the
model is refused.
"""

import torch

from ..errors import UserError
from .layer_facts import first_tokens
from .target import Target

NEAR = {torch.float32: 2e-3}  # relative to the standard deviation of the logits
NEAR_IN_HALVES = 0.1


@torch.no_grad()
def check_split(target: Target) -> None:
    """Raises UserError where the logits differ by more than rounding. NaN and infinity are refused later, at the request (engine.py)."""
    ids, whole = first_tokens(target.vocab), target.whole_logits
    cache = target.new_cache(len(ids))
    ours = target.logits(target.run_range(0, target.depth, target.embed(ids, 0), cache, 0))  # (TOKENS, V)
    if not whole.isfinite().all():
        return
    apart = (ours - whole).abs().max() / whole.std().clamp_min(1e-6)
    if not apart < NEAR.get(target.dtype, NEAR_IN_HALVES):
        raise UserError(f"{target.name} cannot be split here: its parts compute something else than the whole model ({apart:.2g})")

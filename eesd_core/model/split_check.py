"""Is the split the model? A few tokens through the whole model, as transformers computes it, and through the target's parts. Ours.

What differs between families stands in families.py, and what a configuration turns on is transformers' affair: where one says something
else than the other, no text is written.
"""

import torch

from ..errors import UserError
from .layer_facts import first_tokens
from .target import Target

NEAR = {torch.float32: 2e-3}  # of the logits' spread
NEAR_IN_HALVES = 0.1


@torch.no_grad()
def check_split(target: Target) -> None:
    """Raises UserError where the logits differ by more than rounding. Those that are no numbers are refused at the request (engine.py)."""
    ids, whole = first_tokens(target.vocab), target.whole_logits
    cache = target.new_cache(len(ids))
    ours = target.logits(target.run_range(0, target.depth, target.embed(ids, 0), cache, 0))  # (TOKENS, V)
    if not whole.isfinite().all():
        return
    apart = (ours - whole).abs().max() / whole.std().clamp_min(1e-6)
    if not apart < NEAR.get(target.dtype, NEAR_IN_HALVES):
        raise UserError(f"{target.name} cannot be split here: its parts compute something else than the whole model ({apart:.2g})")

"""Is the split the model? A few tokens through the whole model, as transformers computes it, and through the target's parts. Ours.

What differs between families stands in families.py, and what a configuration turns on is transformers' affair: where one says something
else than the other, no text is written.
"""

import torch

from ..errors import UserError
from .target import Target

TOKENS = 6
NEAR = {torch.float32: 2e-3}  # of the logits' spread
NEAR_IN_HALVES = 0.1


@torch.no_grad()
def check_split(target: Target) -> None:
    """In two passes with a cache, as in a run. Raises UserError where the logits differ by more than rounding, or are no numbers."""
    ids, config = [number % target.vocab for number in range(1, TOKENS + 1)], target.config
    usual, config._attn_implementation = config._attn_implementation, "eager"
    try:
        whole = target.model(torch.tensor([ids], device=target.device), use_cache=False).logits[0].to(target.device, torch.float32)
    finally:
        config._attn_implementation = usual
    cache, parts = target.new_cache(TOKENS), []
    for rows in (ids[:-2], ids[-2:]):
        start = cache.lengths[0]
        parts.append(target.logits(target.run_range(0, target.depth, target.embed(rows, start), cache, start)))
    ours = torch.cat(parts)  # (TOKENS, V)
    if not whole.isfinite().all():
        raise UserError(f"the logits of {target.name} are no numbers: its weights are broken, or too large for this dtype")
    apart = (ours - whole).abs().max() / whole.std().clamp_min(1e-6)
    if not apart < NEAR.get(target.dtype, NEAR_IN_HALVES):
        raise UserError(f"{target.name} cannot be split here: its parts compute something else than the whole model ({apart:.2g})")

"""Is a pass over m rows bit for bit what m passes over one row are? Then speculation cannot change the text.

If it holds for every operation of the model, the verify pass computes exactly the logits that plain decoding would, and greedy or
shared-noise output is lossless *by construction*; where it does not, equality rests on the margin between the two best tokens.
It is a property of kernels, so it is tested on the machine at hand and not assumed.
"""

from typing import Literal

import torch

from .control.base import MAX_DRAFT
from .model.split import Target

Level = Literal["exact-by-construction", "exact-as-observed", "fork"]


@torch.inference_mode()
def row_invariant(target: Target) -> bool:
    """Compare passes of 2 .. MAX_DRAFT + 1 rows with one-row passes through the whole model, at short, middle and full
    context.
    """
    rows = MAX_DRAFT + 1
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(target.vocab, (target.context,), generator=generator).tolist()
    cache = target.new_cache(target.context)
    done = 0
    for start in (7, 58, target.context // 2 - 6, target.context - rows):  # two of them cross a block of the cache
        if not done <= start <= target.context - rows:
            continue  # in a short context they overlap
        target.run_range(0, target.depth, target.embed(ids[done:start]), cache, done)
        single = torch.cat([_pass(target, ids, cache, start + j, 1) for j in range(rows)])  # (rows, V)
        for m in range(2, rows + 1):
            cache.truncate(start)
            if not torch.equal(_pass(target, ids, cache, start, m), single[:m]):
                return False
        done = start + rows  # the last pass above had all rows
    return True


def _pass(target: Target, ids: list[int], cache, start: int, rows: int) -> torch.Tensor:  # (rows, V)
    return target.logits(target.run_range(0, target.depth, target.embed(ids[start : start + rows]), cache, start))


def self_check(target: Target) -> Level:
    """What can be promised for this model on this machine."""
    return "exact-by-construction" if row_invariant(target) else "exact-as-observed"

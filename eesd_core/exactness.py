"""Is a pass over m rows bit for bit what m passes over one row are? Then speculation cannot change the text.

If it holds for every operation of the model, the verify pass computes exactly the logits that plain decoding would, and greedy or
shared-noise output is lossless *by construction*; where it does not, equality rests on the margin between the two best tokens.
It is a property of kernels, so it is tested on the machine at hand and not assumed.
"""

from typing import Literal

import torch

from .control.base import MAX_ROWS
from .model.cache import BLOCK
from .model.split import Target
from .sampling import Sampling

Level = Literal["exact-by-construction", "exact-as-observed", "fork", "same-distribution"]

EXPLANATION = """\
Speculative decoding should write exactly what the model alone would write. The model alone computes one token at a time; the verify pass
computes several at once, and a processor may then add up the same numbers in another order, which changes their last bits. "Exact by
construction": this machine was tested when the model was loaded, and a pass over several tokens gave the very same bits as one token at a
time, so the text cannot differ. "Exact as observed": the last bits do depend on how many tokens a pass has, and two candidates that are
almost equally good could swap; every race compares both texts and says what it found. "Fork at token n": there it happened, and the margin
says how close the two candidates were. Rejection sampling promises another thing, the "same distribution": both texts are random draws and
may differ, but every text is as likely as if the model alone had written it."""


@torch.inference_mode()
def row_invariant(target: Target) -> bool:
    """Compare passes of up to MAX_ROWS rows with one-row passes: through the whole model at short, middle and full context, with every
    number of rows at one of them; and through the first layer at the end of every block of the cache, where a pass looks at one block
    more than its first row alone does.

    The context is random keys and values: reading a prompt would take longer than the whole check.
    """
    generator = torch.Generator(target.device).manual_seed(0)
    ids = torch.randint(target.vocab, (MAX_ROWS,), generator=generator, device=target.device).tolist()
    cache = target.new_cache(target.context)
    cache.randomize()

    def passes(depth: int, start: int, sizes: list[int]) -> torch.Tensor:  # (sum of sizes, V)
        cache.lengths, at, parts = [start] * target.depth, 0, []
        for rows in sizes:
            hidden = target.run_range(0, depth, target.embed(ids[at : at + rows]), cache, start + at)
            parts.append(target.logits(hidden))
            at += rows
        return torch.cat(parts)

    def same(depth: int, start: int, sizes) -> bool:
        single = passes(depth, start, [1] * max(sizes))
        return all(torch.equal(passes(depth, start, [m]), single[:m]) for m in sizes)

    last = target.context - MAX_ROWS
    whole = {min(BLOCK - 6, last): range(2, MAX_ROWS + 1), target.context // 2 - 6: (2, 3, 5, 8), last: (2, 4, 7, MAX_ROWS)}
    ends = range(BLOCK - 1, last, BLOCK)
    return all(same(1, start, (2,)) for start in ends) and all(same(target.depth, start, sizes) for start, sizes in whole.items())


def self_check(target: Target) -> Level:
    """What can be promised for this model on this machine."""
    return "exact-by-construction" if row_invariant(target) else "exact-as-observed"


def promise(checked: Level, sampling: Sampling) -> Level:
    """What a run can promise, given what the self-check found. Rejection sampling keeps the distribution, not the text."""
    return "same-distribution" if sampling.rejects else checked

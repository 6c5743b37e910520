"""Is a pass over m rows bit for bit what m passes over one row are? Then speculation cannot change the text.

If it holds for every operation of the model, the verify pass computes exactly the logits that plain decoding would, and greedy or
shared-noise output is lossless *by construction*; where it does not, equality rests on the margin between the two best tokens.
It is a property of kernels, so it is tested on the machine at hand and not assumed.
"""

from itertools import pairwise
from typing import Literal

import torch

from .limits import MAX_ROWS
from .model.attention import NAME, grouped_attention
from .model.cache import BLOCK, KVCache
from .model.target import Target
from .proofs import remembered
from .sampling import Sampling

Level = Literal["exact-by-construction", "exact-as-observed", "fork", "same-distribution"]

ATTENDED = 32  # heads whose attention is compared at every step of the cache
ROWS_ATTENDED = (2, 3, 5, 8, MAX_ROWS)

EXPLANATION = """\
Speculative decoding should write exactly what the model alone would write. The model alone computes one token at a time; the verify pass
computes several at once, and a processor may then add up the same numbers in another order, which changes their last bits. "Exact by
construction": this machine was tested when the model was loaded. Passes over 2 to 16 tokens, the most a round checks, gave the very same
bits as one token at a time, early in the context and at its end; from that it follows that the text is the same. "Exact as observed": the
last bits do depend on how many tokens a pass has, and two candidates that are almost equally good could swap; every race compares both
texts and says what it found. "Fork at token n": there it happened, and the margin says how close the two candidates were. Rejection
sampling promises another thing, the "same distribution": both texts are random draws and may differ, but every text is as likely as if
the model alone had written it."""


@torch.inference_mode()
def row_invariant(target: Target) -> bool:
    """Compare passes of up to MAX_ROWS rows with one-row passes: with every number of rows through the whole model, with a few at full
    context; and through the first layer at the end of every block of the cache, where a pass looks at one block more than its first row
    alone does. What lies between is attention's affair: `reach_invariant`.

    The context is random keys and values: reading a prompt would take longer than the whole check. Where attention is ours row by row
    (cpu/step.py), no sum depends on the context: the first layer is tried at full context, and nothing else.
    """
    generator = torch.Generator(target.device).manual_seed(0)
    ids = torch.randint(target.vocab, (MAX_ROWS,), generator=generator, device=target.device).tolist()
    last = target.context - MAX_ROWS
    near = min(BLOCK - 6, last)  # the same place in a short context

    def same(depth: int, start: int, sizes, cache: KVCache) -> bool:
        def passes(sizes: list[int]) -> torch.Tensor:  # (sum of sizes, V), or D behind fewer layers than all
            cache.lengths, at, parts = [start] * len(cache.lengths), 0, []
            for rows in sizes:
                hidden = target.run_range(0, depth, target.embed(ids[at : at + rows], start + at), cache, start + at)
                parts.append(target.logits(hidden) if depth == target.depth else hidden[0])
                at += rows
            return torch.cat(parts)

        single = passes([1] * max(sizes))
        return all(torch.equal(passes([m]), single[:m]) for m in sizes)

    if target.steps:
        short, long = target.new_cache(near + MAX_ROWS), target.new_cache(target.context, layers=1)
        short.randomize()
        long.randomize()
        return same(target.depth, near, range(2, MAX_ROWS + 1), short) and same(1, last, (2, MAX_ROWS), long)
    cache = target.new_cache(target.context)
    cache.randomize()
    whole = {last: (2, 4), near: range(2, MAX_ROWS + 1)}
    ends = range(BLOCK - 1, last, BLOCK)
    first = all(same(1, start, (2,), cache) for start in ends)
    return first and all(same(target.depth, start, sizes, cache) for start, sizes in whole.items())


@torch.inference_mode()
def reach_invariant(target: Target) -> bool:
    """Compare attention of several rows with that of one at every step of the cache up to the full context; also where the several look one
    step further than they need, since a verify pass looks as far as its last row must. Rounding hides most of such a difference from a
    pass through whole layers (in bf16, 199 of 200 rows came out alike), so the products over the cache are compared themselves, many
    times. Only our own attention is.
    """
    config, generator = target.config, torch.Generator(target.device).manual_seed(0)
    if config._attn_implementation != NAME or target.steps:
        return True
    groups, width = target.kv_heads * target.shards, target.head_width
    heads, cache = config.num_attention_heads, KVCache([], groups, target.context, width, target.dtype)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=target.device).to(target.dtype)

    keys, values = draw(1, groups, width, cache.capacity), draw(1, groups, cache.capacity, width)

    def attend(queries: torch.Tensor, seen: int, reach: int) -> torch.Tensor:  # (1, H, m, d) -> (1, m, H, d)
        mask = torch.zeros(1, 1, queries.shape[2], reach, dtype=target.dtype, device=target.device)
        mask[..., seen:] = torch.finfo(mask.dtype).min
        return grouped_attention(None, queries, keys[..., :reach].transpose(2, 3), values[:, :, :reach], mask, scaling=width**-0.5)[0]

    steps = sorted({cache.extent(length) for length in range(1, target.context + 1)})
    for near, far in pairwise([*steps, steps[-1]]):
        for _ in range(max(1, ATTENDED // heads)):
            queries = draw(1, heads, MAX_ROWS, width)
            single = torch.cat([attend(queries[:, :, j : j + 1], near, near) for j in range(MAX_ROWS)], dim=1)
            several = ((m, attend(queries[:, :, :m], near, reach)) for m in ROWS_ATTENDED for reach in {near, far})
            if not all(torch.equal(rows, single[:, :m]) for m, rows in several):
                return False
    return True


def self_check(target: Target) -> Level:
    """What can be promised for this model on this machine."""
    return "exact-by-construction" if remembered(target, _rows_are_alike) else "exact-as-observed"


def _rows_are_alike(target: Target) -> bool:
    return reach_invariant(target) and row_invariant(target)


def promise(checked: Level, sampling: Sampling, target: Target, trees: bool = False) -> Level:
    """What a run can promise, given what the self-check found. Rejection sampling keeps the distribution, not the text. A sibling's keys
    lie behind other rows' in the cache: what adds up over places does so in another order than for a chain; our steps go by the path."""
    if sampling.rejects:
        return "same-distribution"
    return "exact-as-observed" if trees and not target.steps else checked

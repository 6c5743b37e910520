"""Row invariance: does a pass over m rows give bit for bit the results of m passes over one row? Then speculation cannot change the text.

If this holds for every operation of the model, the verify pass computes exactly the logits of plain decoding, so greedy and shared-noise
output is lossless *by construction*. Otherwise equality depends on the margin between the two best tokens. It is a property of the
kernels, so it is tested on each machine.
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

ATTENDED = 32  # about this many heads are compared at every extent of the cache
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
    """Compare passes of up to MAX_ROWS rows with one-row passes. The whole model is tested with every number of rows in a short context and
    with a few at full context. The first layer is tested at the end of every block of the cache, where a pass reads one block more than
    its first row alone would. Between these places only attention could differ; `reach_invariant` tests it.

    The context is random keys and values, because reading a prompt would take longer than the whole check. With our row-by-row attention
    (model/cpu/step.py) the order of sums does not depend on how far a pass reads, so at full context only the first layer is tested, and
    block ends are not.
    """
    generator = torch.Generator(target.device).manual_seed(0)
    ids = torch.randint(target.vocab, (MAX_ROWS,), generator=generator, device=target.device).tolist()
    last = target.context - MAX_ROWS
    near = min(BLOCK - 6, last)  # start of the rows in a short context, so that they cross the end of a block

    def same(depth: int, start: int, sizes, cache: KVCache) -> bool:
        def passes(sizes: list[int]) -> torch.Tensor:  # (sum of sizes, V), or (sum of sizes, D) if not all layers are run
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
    """Compare attention over several rows with attention over one row, at every extent that the cache can have up to the full context. Also
    with the next larger extent for the several rows, because a verify pass reads as far as its last row needs. Differences here are mostly
    rounded away in a pass through whole layers (in bf16, 199 of 200 rows were equal), so attention itself is compared, many times. Only our
    grouped attention is tested; the result is True for other implementations and for our row-by-row steps.
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
    """The guarantee for this model on this machine."""
    return "exact-by-construction" if remembered(target, _rows_are_alike) else "exact-as-observed"


def _rows_are_alike(target: Target) -> bool:
    return reach_invariant(target) and row_invariant(target)


def promise(checked: Level, sampling: Sampling, target: Target, trees: bool = False) -> Level:
    """The guarantee of a run, given the self-check's result. Rejection sampling keeps the distribution, not the text. A sibling's keys are
    not next to its parent's in the cache, so attention sums in another order than for a chain; only our own steps follow the path."""
    if sampling.rejects:
        return "same-distribution"
    return "exact-as-observed" if trees and not target.steps else checked

"""Trees in a pass: every path computes what a chain of the same tokens computes, and what was accepted is a chain afterwards."""

import pytest
import torch
from test_step import both
from tiny_families import VARIANTS, tiny

from eesd_core.model.span import Span
from eesd_core.model.target import Target

IDS = [50, 51, 52, 53, 54, 55, 56, 57]  # the first four are the spine
PARENTS = (-1, 0, 1, 2, 0, 4, 1, -1)
PATHS = [[0, 1, 2, 3], [0, 4, 5], [0, 1, 6], [7]]
PROMPT = list(range(40, 70))


def targets(engine, variant: str) -> list[Target]:
    plain = Target(tiny(variant), engine.target.tokenizer, variant)
    return [plain, both(variant, engine)[1]] if variant in ("llama", "mistral", "qwen2") else [plain]


@torch.no_grad()
def passed(target: Target, cache, ids, start: int, parents=()) -> torch.Tensor:  # (m, V)
    hidden = target.embed(ids, start, parents)
    return target.logits(target.run_range(0, target.depth, hidden, cache, start, parents))


def read(target: Target, ids=PROMPT):
    cache = target.new_cache(80)
    cache.prompt = len(PROMPT) - 3  # windows of what was written may be smaller than those of the prompt
    passed(target, cache, ids, 0)
    return cache


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_path_of_a_tree_is_a_chain(engine, variant):
    for target in targets(engine, variant):
        start = len(PROMPT)
        rows = passed(target, read(target), IDS, start, PARENTS)
        for path in PATHS:
            chain = passed(target, read(target), [IDS[row] for row in path], start)
            torch.testing.assert_close(rows[path], chain, rtol=1e-4, atol=1e-4)
        spine = passed(target, read(target), IDS[:4], start)
        if target.steps is None:  # with steps a product may still depend on how many rows it has: the self-check tells
            assert torch.equal(rows[:4], passed(target, read(target), IDS[:4] + IDS[:4], start)[:4])
        torch.testing.assert_close(rows[:4], spine, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["llama", "mistral", "gpt2", "gemma3"])
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_an_accepted_path_in_the_cache_is_a_fresh_prefill(engine, variant, path):
    for target in targets(engine, variant):
        start = len(PROMPT)
        cache = read(target)
        passed(target, cache, IDS, start, PARENTS)
        cache.keep(start, path)
        fresh = read(target, PROMPT + [IDS[row] for row in path])
        assert cache.lengths == fresh.lengths == [start + len(path)] * target.depth
        for ours, theirs in zip((*cache.keys, *cache.values), (*fresh.keys, *fresh.values)):
            last = -1 if ours.shape[-2] == target.head_width and target.steps is None else -2
            ours, theirs = (t.narrow(last, 0, start + len(path)) for t in (ours, theirs))
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_keeping_a_chain_moves_nothing(engine):
    cache = read(engine.target)
    before = [keys.clone() for keys in cache.keys]
    cache.keep(20, [0, 1, 2])
    assert cache.lengths == [23] * 4 and all(map(torch.equal, before, cache.keys))


def test_a_span_says_positions_and_who_sees_whom():
    span = Span(10, PARENTS)
    assert span.depths(8) == [0, 1, 2, 3, 1, 2, 2, 0] and Span(10).positions(3) == [10, 11, 12]
    seen = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 4], [0, 4, 5], [0, 1, 6], [7]]
    assert [row.nonzero()[:, 0].tolist() for row in span.seen()] == seen

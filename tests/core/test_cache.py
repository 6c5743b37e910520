import pytest
import torch

from eesd_core.model.cache import BLOCK, SPAN, largest_difference
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling


@torch.no_grad()
def logits_after(target, ids, cache, start):
    return target.logits(target.run_range(0, target.depth, target.embed(ids, start), cache, start))


def test_rolled_back_cache_equals_a_fresh_prefill(engine):
    target, ids = engine.target, list(range(30, 100))
    rolled, fresh = target.new_cache(100), target.new_cache(100)
    logits_after(target, ids[:40], rolled, 0)
    logits_after(target, [7] * 12, rolled, 40)  # drafts that are rejected
    rolled.truncate(40)
    logits_after(target, ids[:40], fresh, 0)
    assert rolled.lengths == fresh.lengths
    assert torch.equal(logits_after(target, ids[40:41], rolled, 40), logits_after(target, ids[40:41], fresh, 40))


def test_what_lies_behind_the_length_is_never_read(engine):
    target, ids = engine.target, list(range(30, 60))
    clean, dirty = target.new_cache(100), target.new_cache(100)
    for keys, values in zip(dirty.keys, dirty.values):
        keys.fill_(1e4)
        values.fill_(-1e4)
    for cache in (clean, dirty):
        logits_after(target, ids[:-3], cache, 0)
    assert torch.equal(logits_after(target, ids[-3:], clean, 27), logits_after(target, ids[-3:], dirty, 27))


def test_layers_roll_back_from_different_lengths(engine):
    cache = engine.target.new_cache(100)
    cache.lengths = [9, 9, 5, 5]
    cache.truncate(6)
    assert cache.lengths == [6, 6, 5, 5]
    assert [cache.extent(n) for n in (1, BLOCK, BLOCK + 1)] == [BLOCK, BLOCK, 2 * BLOCK]
    assert [cache.extent(n) for n in (SPAN, SPAN + 1, 2 * SPAN + 1)] == [SPAN, 2 * SPAN, 3 * SPAN]


@torch.no_grad()
def test_masks_are_causal_over_the_whole_extent(engine):
    target, cache = engine.target, engine.target.new_cache(engine.target.context)
    for start in range(target.context - 16):
        for rows in (1, 16):
            reach = cache.extent(start + rows)
            visible = target.mask(start, rows, reach)[0, 0] == 0  # (rows, reach)
            assert visible.shape == (rows, reach) and visible.sum(-1).tolist() == [start + j + 1 for j in range(rows)]


def test_both_lanes_of_a_race_end_with_the_same_keys_and_values(engine):
    request = Request("Once upon a time", 24)
    verdict = list(race(engine, request))[-1].event
    assert verdict.identical and verdict.cache_difference is not None and verdict.cache_difference < 1e-4
    drawn = list(race(engine, Request("Once", 8, Sampling(1.0, acceptance="rejection"))))[-1].event
    assert drawn.cache_difference is None


def test_the_largest_difference_is_found_wherever_it_is(engine):
    one, other = (engine.target.new_cache(40) for _ in range(2))
    for cache in (one, other):
        cache.randomize()
        cache.lengths = [30] * len(cache.lengths)
    assert largest_difference(one, other) == 0
    other.values[-1][0, -1, 29, 3] += 0.25
    assert largest_difference(one, other) == pytest.approx(0.25, abs=1e-6)
    other.truncate(29)
    assert largest_difference(one, other) == 0

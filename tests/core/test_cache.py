import torch

from eesd_core.model.cache import BLOCK, SPAN


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

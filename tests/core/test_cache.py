import torch

from eesd_core.model.cache import BLOCK


@torch.no_grad()
def logits_after(target, ids, cache, start):
    return target.logits(target.run_range(0, target.depth, target.embed(ids), cache, start))


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
    dirty.keys.fill_(1e4)
    dirty.values.fill_(-1e4)
    for cache in (clean, dirty):
        logits_after(target, ids[:-3], cache, 0)
    assert torch.equal(logits_after(target, ids[-3:], clean, 27), logits_after(target, ids[-3:], dirty, 27))


def test_layers_roll_back_from_different_lengths(engine):
    cache = engine.target.new_cache(100)
    cache.lengths = [9, 9, 5, 5]
    cache.truncate(6)
    assert cache.lengths == [6, 6, 5, 5]
    assert [cache.extent(n) for n in (1, BLOCK, BLOCK + 1)] == [BLOCK, BLOCK, 2 * BLOCK]

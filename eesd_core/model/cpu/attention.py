"""Attention of a few rows over a text's cache.

All query heads and rows that read the same keys go through them together, in blocks that stay in the nearest cache. A row's sums have one
order: the products of a query and a key are added lane by lane, and values in the order of their places. So a row is bit for bit the same
in any pass, in a branch of a tree as in a chain. Ours; the blocks are those of FlashAttention (Dao et al., 2022, arXiv 2205.14135), the
softmax is the plain one, since a row of scores is short.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .kernels import exp, kernel
from .vectors import BYTE, CACHE_LINE, FLOAT, FLOATS, LANES, LONG, WORD, fill, fma, largest, load, prefetch, shuffle, spread, store

BLOCK = 32  # places: their keys or values, some 8 KB, stay in the first-level cache
TOGETHER = 8  # rows that go through a block one after the other
AHEAD = 16  # places: how far ahead memory is asked for
PADDING = AHEAD + 2 * LANES  # places behind a row's last one
LINE = CACHE_LINE // 4  # floats


@intrinsic
def _scores(typing, query, keys, apart, places, out, width):
    """Write the products of a query (width,) and LANES keys to out (LANES,). All but the sizes are addresses; keys lie `apart` bytes from
    each other, at `places` (LANES,) uint32."""

    def generate(context, b, signature, given):
        query, keys, places, out = (b.inttoptr(given[i], kind.as_pointer()) for i, kind in _SCORES)
        rows = [_at(b, keys, places, lane, given[2]) for lane in range(LANES)]
        sums = [cgutils.alloca_once_value(b, fill(FLOATS, 0)) for _ in range(LANES)]
        with cgutils.for_range(b, b.udiv(given[5], LONG(LANES))) as loop:
            first = b.mul(loop.index, LONG(LANES))
            x = load(b, b.gep(query, [first]), FLOATS)
            for row, total in zip(rows, sums):
                b.store(fma(b, x, load(b, b.gep(row, [first]), FLOATS), b.load(total)), total)
        store(b, _across(b, [b.load(total) for total in sums]), out)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


_SCORES = (0, FLOAT), (1, BYTE), (3, WORD), (4, FLOAT)


@intrinsic
def _ask(typing, rows, apart, places, width):
    """Ask memory for the LANES keys or values at `places`, which will be read soon."""

    def generate(context, b, signature, given):
        rows, places = b.inttoptr(given[0], BYTE.as_pointer()), b.inttoptr(given[2], WORD.as_pointer())
        found = [_at(b, rows, places, lane, given[1]) for lane in range(LANES)]
        with cgutils.for_range(b, b.udiv(b.add(given[3], LONG(LINE - 1)), LONG(LINE))) as loop:
            for row in found:
                prefetch(b, b.gep(row, [b.mul(loop.index, LONG(LINE))]))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _at(b: ir.IRBuilder, rows, places, number, apart):
    """A pointer to the floats at a place, whose number is the `number`-th of `places`."""
    place = b.zext(b.load(b.gep(places, [LONG(number) if isinstance(number, int) else number])), LONG)
    return b.bitcast(b.gep(rows, [b.mul(place, apart)]), FLOAT.as_pointer())


def _across(b: ir.IRBuilder, vectors: list):
    """The sum of every vector's lanes, as one vector. All are added in the same order."""
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    pairs = [b.fadd(shuffle(b, x, y, low), shuffle(b, x, y, high)) for x, y in zip(vectors[::2], vectors[1::2])]
    low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    fours = [b.fadd(shuffle(b, x, y, low), shuffle(b, x, y, high)) for x, y in zip(pairs[::2], pairs[1::2])]
    return b.fadd(shuffle(b, *fours, [0, 1, 2, 3, 8, 9, 10, 11]), shuffle(b, *fours, [4, 5, 6, 7, 12, 13, 14, 15]))


@intrinsic
def _add_values(typing, weights, values, apart, places, count, out, width):
    """out (width,) += the sum of `count` values, each times its weight. Addresses and sizes as in `_scores`."""

    def generate(context, b, signature, given):
        weights, values, places, out = (b.inttoptr(given[i], kind.as_pointer()) for i, kind in _VALUES)
        done = cgutils.alloca_once_value(b, LONG(0))
        for lanes in (8 * LANES, LANES):  # as many sums as registers hold, then what is left of an odd width
            with cgutils.for_range(b, b.udiv(b.sub(given[6], b.load(done)), LONG(lanes))):
                first = b.load(done)
                at = [b.gep(out, [b.add(first, LONG(i))]) for i in range(0, lanes, LANES)]
                sums = [cgutils.alloca_once_value(b, fill(FLOATS, 0)) for _ in at]
                for place, total in zip(at, sums):
                    b.store(load(b, place, FLOATS), total)
                with cgutils.for_range(b, given[4]) as loop:
                    weight = spread(b, b.load(b.gep(weights, [loop.index])))
                    row = b.gep(_at(b, values, places, loop.index, given[2]), [first])
                    for i, total in enumerate(sums):
                        b.store(fma(b, weight, load(b, b.gep(row, [LONG(LANES * i)]), FLOATS), b.load(total)), total)
                for place, total in zip(at, sums):
                    store(b, b.load(total), place)
                b.store(b.add(first, LONG(lanes)), done)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


_VALUES = (0, FLOAT), (1, BYTE), (3, WORD), (5, FLOAT)


@register_jitable
def _see(r, start, paths, depths, windows, places):
    """Write the cache places that row r sees to `places`. Returns how many. Behind them the first one is repeated: padding, which gets no
    weight."""
    path = min(r, len(paths) - 1)
    reach = start + depths[r] + 1
    first = max(0, reach - windows[r])
    count = reach - first
    for t in range(count):
        place = first + t
        places[t] = place if place < start else start + paths[path, place - start]
    for t in range(count, count + PADDING):
        places[t] = places[0]
    return count


@register_jitable
def _softmax(scores, count):
    """In place, without the division. Returns the sum to divide by."""
    for t in range(count, count + 4 * LANES):
        scores[t] = scores[0]
    most = largest(scores.ctypes.data, (count + 4 * LANES - 1) // (4 * LANES) * (4 * LANES))
    total = np.float32(0)
    for t in range(count):
        chance = exp(scores[t] - most)
        scores[t] = chance
        total += chance
    return total


@kernel
def attend(share, shares, queries, keys, values, start, paths, depths, windows, out):
    """One thread's share of attention. queries (m, H, d), keys and values (capacity, G, d) -> out (m, H d). d: a multiple of LANES.

    Row r sees the first `start` places of the cache and then places start + paths[r, 0 .. depths[r]], the last being its own; of all these
    only the last windows[r]. Rows of a chain share one path, (1, m).
    """
    rows, heads, width = queries.shape
    group, apart = heads // keys.shape[1], 4 * keys.shape[1] * width  # heads that read the same keys; bytes from one key to the next
    room = start + paths.shape[1] + PADDING
    places, counts = np.empty((TOGETHER, room), np.uint32), np.empty(TOGETHER, np.int64)
    scores, totals = np.empty((TOGETHER, group, room), np.float32), np.empty((TOGETHER, group), np.float32)
    all_places, all_scores, all_queries, all_out = places.ctypes.data, scores.ctypes.data, queries.ctypes.data, out.ctypes.data
    all_keys, all_values, row = keys.ctypes.data, values.ctypes.data, 4 * room
    for low in range(0, rows, TOGETHER):
        some, most = min(TOGETHER, rows - low), 0
        for r in range(some):
            counts[r] = _see(low + r, start, paths, depths, windows, places[r])
            most = max(most, counts[r])
        begin, end = some * heads * share // shares, some * heads * (share + 1) // shares  # pairs (head, row), head by head
        for g in range(begin // (group * some), -(-end // (group * some))):
            first, last = max(begin, g * group * some), min(end, (g + 1) * group * some)
            key, value = all_keys + 4 * g * width, all_values + 4 * g * width
            for t in range(0, most, BLOCK):
                for pair in range(first, last):
                    h, r = pair // some, pair % some
                    query, at = all_queries + 4 * ((low + r) * heads + h) * width, all_places + row * r
                    seen = all_scores + row * (r * group + h - g * group)
                    for i in range(t, min(t + BLOCK, counts[r]), LANES):
                        if pair == first:
                            _ask(key, apart, at + 4 * (i + AHEAD), width)
                            _ask(value, apart, at + 4 * i, width)
                        _scores(query, key, apart, at + 4 * i, seen + 4 * i, width)
            for pair in range(first, last):
                h, r = pair // some, pair % some
                totals[r, h - g * group] = _softmax(scores[r, h - g * group], counts[r])
                for i in range(h * width, (h + 1) * width):
                    out[low + r, i] = 0
            for t in range(0, most, BLOCK):
                for pair in range(first, last):
                    h, r = pair // some, pair % some
                    mixed, at = all_out + 4 * ((low + r) * heads + h) * width, all_places + row * r + 4 * t
                    seen, count = all_scores + row * (r * group + h - g * group) + 4 * t, min(BLOCK, counts[r] - t)
                    if count > 0:
                        _add_values(seen, value, apart, at, count, mixed, width)
            for pair in range(first, last):
                h, r = pair // some, pair % some
                by = np.float32(1) / totals[r, h - g * group]
                for i in range(h * width, (h + 1) * width):
                    out[low + r, i] *= by

"""Attention of a few rows over a text's cache.

All query heads and rows that read the same keys go through them together, in blocks that stay in the nearest cache; up to AT_ONCE heads of
a row share what they load into registers. A row's sums have one order: the products of a query and a key are added lane by lane, values in
the order of their places, and the softmax's terms as `summed` says. So a row is bit for bit the same in any pass, in a branch of a tree as
in a chain. Ours; the blocks are those of FlashAttention (Dao et al., 2022, arXiv 2205.14135), the softmax is the plain one, since a row of
scores is short.
"""

from itertools import chain

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .folds import MULTIPLE, largest, summed
from .kernels import exp, kernel
from .stealing import next_piece, part_of
from .vectors import (
    BYTE,
    CACHE_LINE,
    FLOAT,
    FLOATS,
    LANES,
    LONG,
    REGISTERS,
    WORD,
    fill,
    fma,
    load,
    pick,
    prefetch,
    shuffle,
    spread,
    store,
)

BLOCK = 32  # places: their keys or values, some 8 KB, stay in the first-level cache
TOGETHER = 8  # rows that go through a block one after the other
AHEAD = 16  # places: how far ahead memory is asked for
PADDING = AHEAD + 2 * LANES  # places behind a row's last one
LINE = CACHE_LINE // 4  # floats
PIECES = 4  # of a thread, at least, where there are rows enough: thieves take whole ones
AT_ONCE = 3 if REGISTERS == 32 else 1  # heads that read the same keys and go through them together; each takes LANES registers for its sums

KEYS = 2 if REGISTERS == 32 else 1  # in a vector, LANES numbers of each: such processors have vectors twice as long
SEVERAL = ir.VectorType(FLOAT, KEYS * LANES)


def _scores(heads: int):
    """A function for kernels: writes the products of the queries (heads, width) and LANES keys to out, (LANES,) a head. All but the sizes
    are addresses; keys lie `apart` bytes from each other, at `places` (LANES,) uint32; `room`: from one head's scores to the next's."""

    def scores(typing, queries, keys, apart, places, out, width, room):
        def generate(context, b, signature, given):
            queries, keys, places, out = (b.inttoptr(given[i], kind.as_pointer()) for i, kind in _SCORES)
            rows = [_at(b, keys, places, lane, given[2]) for lane in range(LANES)]
            sums = [[cgutils.alloca_once_value(b, fill(SEVERAL, 0)) for _ in rows[::KEYS]] for _ in range(heads)]
            with cgutils.for_range(b, b.udiv(given[5], LONG(LANES))) as loop:
                first = b.mul(loop.index, LONG(LANES))
                asked = [load(b, b.gep(queries, [b.add(first, b.mul(LONG(head), given[5]))]), FLOATS) for head in range(heads)]
                asked = [pick(b, query, KEYS * [*range(LANES)]) for query in asked]
                for i in range(LANES // KEYS):
                    found = [load(b, b.gep(row, [first]), FLOATS) for row in rows[i * KEYS : (i + 1) * KEYS]]
                    key = shuffle(b, found[0], found[-1], range(KEYS * LANES))
                    for query, totals in zip(asked, sums):
                        b.store(fma(b, query, key, b.load(totals[i])), totals[i])
            for head, totals in enumerate(sums):
                both = [(b.load(total), first) for total in totals for first in range(0, KEYS * LANES, LANES)]
                found = [pick(b, total, range(first, first + LANES)) for total, first in both]
                store(b, _across(b, found), b.gep(out, [b.mul(LONG(head), given[6])]))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return intrinsic(scores)


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


def _add_values(heads: int):
    """A function for kernels: out (heads, width) += the sum of `count` values, each times its weight. weights (heads, room). Addresses and
    sizes as in `_scores`."""

    def add_values(typing, weights, values, apart, places, count, out, width, room):
        def generate(context, b, signature, given):
            weights, values, places, out = (b.inttoptr(given[i], kind.as_pointer()) for i, kind in _VALUES)
            done = cgutils.alloca_once_value(b, LONG(0))
            for lanes, kind in ((8 * LANES, SEVERAL), (LANES, FLOATS)):  # as many sums as registers hold, then what is left of an odd width
                with cgutils.for_range(b, b.udiv(b.sub(given[6], b.load(done)), LONG(lanes))):
                    first = b.load(done)
                    begins = [b.gep(out, [b.add(first, b.mul(LONG(head), given[6]))]) for head in range(heads)]
                    at = [[b.gep(begin, [LONG(i)]) for i in range(0, lanes, kind.count)] for begin in begins]
                    sums = [[cgutils.alloca_once_value(b, fill(kind, 0)) for _ in row] for row in at]
                    for place, total in zip(chain(*at), chain(*sums)):
                        b.store(load(b, place, kind), total)
                    with cgutils.for_range(b, given[4]) as loop:
                        by = [b.load(b.gep(weights, [b.add(loop.index, b.mul(LONG(head), given[7]))])) for head in range(heads)]
                        by = [spread(b, weight, kind.count) for weight in by]
                        row = b.gep(_at(b, values, places, loop.index, given[2]), [first])
                        for i in range(lanes // kind.count):
                            value = load(b, b.gep(row, [LONG(kind.count * i)]), kind)
                            for weight, totals in zip(by, sums):
                                b.store(fma(b, weight, value, b.load(totals[i])), totals[i])
                    for place, total in zip(chain(*at), chain(*sums)):
                        store(b, b.load(total), place)
                    b.store(b.add(first, LONG(lanes)), done)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), generate

    return intrinsic(add_values)


_VALUES = (0, FLOAT), (1, BYTE), (3, WORD), (5, FLOAT)
_one_scores, _two_scores, _three_scores = (_scores(heads) for heads in (1, 2, 3))
_one_adds, _two_add, _three_add = (_add_values(heads) for heads in (1, 2, 3))


@register_jitable
def _score(heads, queries, keys, apart, places, out, width, room):
    if heads == 3:
        _three_scores(queries, keys, apart, places, out, width, room)
    elif heads == 2:
        _two_scores(queries, keys, apart, places, out, width, room)
    else:
        _one_scores(queries, keys, apart, places, out, width, room)


@register_jitable
def _mix(heads, weights, values, apart, places, count, out, width, room):
    if heads == 3:
        _three_add(weights, values, apart, places, count, out, width, room)
    elif heads == 2:
        _two_add(weights, values, apart, places, count, out, width, room)
    else:
        _one_adds(weights, values, apart, places, count, out, width, room)


@register_jitable
def _see(r, start, paths, depths, windows, places):
    """Write the cache places that row r sees to `places`. Returns how many. Behind them the first one is repeated: padding, which gets no
    weight."""
    path = min(r, len(paths) - 1)
    reach = start + depths[r] + 1
    first = max(0, reach - windows[r])
    count = reach - first
    for t in range(min(count, start - first)):
        places[t] = first + t
    for t in range(max(0, start - first), count):
        places[t] = start + paths[path, first + t - start]
    for t in range(count, count + PADDING):
        places[t] = places[0]
    return count


@register_jitable
def _softmax(scores, count):
    """In place, without the division. Returns the sum to divide by."""
    whole = (count + MULTIPLE - 1) // MULTIPLE * MULTIPLE
    for t in range(count, whole):
        scores[t] = scores[0]
    most = largest(scores.ctypes.data, whole)
    for t in range(whole):
        scores[t] = exp(scores[t] - most)
    for t in range(count, whole):
        scores[t] = 0
    return summed(scores.ctypes.data, whole)


@register_jitable
def _bundle(rows, first, last, bundles):
    """Write bundles, (row, first head, heads), of heads first .. last - 1 of each row. Returns how many."""
    count = 0
    for r in range(rows):
        for h in range(first, last, AT_ONCE):
            bundles[count, 0], bundles[count, 1], bundles[count, 2] = r, h, min(AT_ONCE, last - h)
            count += 1
    return count


@kernel
def attend(share, shares, places, queries, keys, values, start, paths, depths, windows, out):
    """One thread's share of attention. queries (m, H, d), keys and values (capacity, G, d) -> out (m, H d). d: a multiple of LANES.
    places: an address for stealing.py, or 0.

    Row r sees the first `start` places of the cache and then places start + paths[r, 0 .. depths[r]], the last being its own; of all these
    only the last windows[r]. Rows of a chain share one path, (1, m).
    """
    rows, heads, width = queries.shape
    groups = keys.shape[1]
    group, apart = heads // groups, 4 * groups * width  # heads that read the same keys; bytes from one key to the next
    room = start + paths.shape[1] + PADDING
    seen, counts = np.empty((TOGETHER, room), np.uint32), np.empty(TOGETHER, np.int64)
    scores, totals = np.empty((TOGETHER, group, room), np.float32), np.empty((TOGETHER, group), np.float32)
    mixed = np.empty((TOGETHER, group, width), np.float32)  # not `out`: a piece may be done by two threads at once
    all_seen, all_scores, all_queries, all_mixed = seen.ctypes.data, scores.ctypes.data, queries.ctypes.data, mixed.ctypes.data
    all_keys, all_values, row = keys.ctypes.data, values.ctypes.data, 4 * room
    bundles = np.empty((TOGETHER * group, 3), np.int64)
    # A piece is a group's heads, or one of them where that makes too few pieces, in a few rows; a group's pieces follow one another.
    some = max(1, min(TOGETHER, rows * groups // (PIECES * shares)))
    blocks, splits = -(-rows // some), 1 if rows * groups >= shares else group
    for turn in range(shares if places else 1):
        owner = (share + turn) % shares
        first, pieces = part_of(groups * splits * blocks, owner, shares)
        n = next_piece(places, share, owner, pieces, -1)
        while n >= 0:
            g, split, low = (first + n) // (blocks * splits), (first + n) // blocks % splits, (first + n) % blocks * some
            these, most = min(some, rows - low), 0
            for r in range(these):
                counts[r] = _see(low + r, start, paths, depths, windows, seen[r])
                most = max(most, counts[r])
            bundled = _bundle(these, group * split // splits, group * (split + 1) // splits, bundles)
            key, value = all_keys + 4 * g * width, all_values + 4 * g * width
            for t in range(0, most, BLOCK):
                for b in range(bundled):
                    r, h, bundle = bundles[b]
                    query, at = all_queries + 4 * ((low + r) * heads + g * group + h) * width, all_seen + row * r
                    found = all_scores + row * (r * group + h)
                    for i in range(t, min(t + BLOCK, counts[r]), LANES):
                        if b == 0:
                            _ask(key, apart, at + 4 * (i + AHEAD), width)
                            _ask(value, apart, at + 4 * i, width)
                        _score(bundle, query, key, apart, at + 4 * i, found + 4 * i, width, room)
            for b in range(bundled):
                r, h, bundle = bundles[b]
                for head in range(h, h + bundle):
                    totals[r, head] = _softmax(scores[r, head], counts[r])
                    mixed[r, head] = 0
            for t in range(0, most, BLOCK):
                for b in range(bundled):
                    r, h, bundle = bundles[b]
                    to, at = all_mixed + 4 * (r * group + h) * width, all_seen + row * r + 4 * t
                    found, count = all_scores + row * (r * group + h) + 4 * t, min(BLOCK, counts[r] - t)
                    if count > 0:
                        _mix(bundle, found, value, apart, at, count, to, width, room)
            for b in range(bundled):
                r, h, bundle = bundles[b]
                for head in range(h, h + bundle):
                    by = np.float32(1) / totals[r, head]
                    for i in range(width):
                        out[low + r, (g * group + head) * width + i] = mixed[r, head, i] * by
            n = next_piece(places, share, owner, pieces, n)

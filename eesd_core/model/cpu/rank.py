"""What `Sampler.rank` does, in one function: temperature, min-p, noise, order, and what is told about the choice.

torch takes some twenty operations for it, each longer than its arithmetic where a pass has just emptied the caches. Sampler.rank does the
same with torch: the reference, and the way for top-k, top-p and rejection sampling.

Noise needs two logarithms a token, so it is computed only where it can matter: the first eight of its random bits bound it, and a token
whose log p plus that bound is below the best ones found so far is passed over.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from torch import Tensor

from ...sampling import LEAST, Ranked, Sampling, noise_key
from .folds import dot, largest, summed
from .kept import kept
from .kernels import exp
from .threads import address, floats_at, in_parallel, keys_at, longs_at, team, this_thread

BUCKETS = 256  # of the first eight random bits
STRETCH = 256  # tokens that are passed over together, if even the likeliest of them is below the best ones found so far
WORK = 8  # of ranking a logit, in products with a weight (threads.in_parallel)
SLACK = 1e-3  # keeps the bounds above rounding
WHOLE = 2.0**32
NO_KEYS = np.empty(0, np.uint32)
_loop = kept(njit, fastmath={"contract", "nsz"}, nogil=True, error_model="numpy")  # not numbers stay what they are


def noise_bounds() -> np.ndarray:
    """The largest Gumbel noise of every bucket, (BUCKETS,) float32."""
    most = (np.arange(1, BUCKETS + 1) * (WHOLE / BUCKETS) - 0.5) / WHOLE
    return (-np.log(-np.log(most)) + SLACK).astype(np.float32)


@njit(nogil=True, inline="always")
def _scrambled(x):
    """sampling.mix. x: uint32, or a sum of two, of which the lower half counts; numba makes 64 bits of every sum and product."""
    x = np.uint32(x)
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(x ^ (x >> np.uint32(16)))


@njit(nogil=True, inline="always")
def _insert(score, log_p, place, scores, logs, places):
    """Into a row's best tokens, behind equal ones."""
    at = len(scores) - 1
    while at > 0 and scores[at - 1] < score:
        scores[at], logs[at], places[at] = scores[at - 1], logs[at - 1], places[at - 1]
        at -= 1
    scores[at], logs[at], places[at] = score, log_p, place


@_loop
def rank_rows(first, step, logits, temperature, least, ids, keys, bounds, asked_rows, asked, scores, logs, places, asked_logs, facts):
    """Rows first, first + step, ... of logits (m, n) float32. temperature 0: scores are logits. least: log of min-p, or -inf. ids (n,)
    int64: the tokens; (0,): the vocabulary. keys (m,) uint32: of the noise at each row; (0,): no noise. bounds: `noise_bounds`. asked_rows,
    asked (a,): places in `logits` whose log p is wanted. Writes scores, logs, places (m, c): of the best tokens, best first, places in
    0 .. n - 1; asked_logs (a,); facts (m, 2): probability of the likeliest token, and entropy in nats. All log p are nan where a row is no
    number."""
    greedy = temperature == 0
    by = np.float32(1) if greedy else np.float32(1) / temperature
    tops = np.full(logits.shape[1] // STRETCH + 1, np.float32(np.inf))  # of every stretch; a rest is not passed over
    chances, heights = np.empty(STRETCH, np.float32), np.empty(STRETCH, np.float32)
    for r in range(first, logits.shape[0], step):
        row, strange, most = logits[r], 0, logits[r, 0]
        for s in range(len(row) // STRETCH):
            tops[s] = largest(row.ctypes.data + 4 * s * STRETCH, STRETCH)
            most = max(most, tops[s])
        for i in range(len(row) // STRETCH * STRETCH, len(row)):
            most = max(most, row[i])
        for i in range(len(row)):
            strange += row[i] != row[i]
        total, weighed = np.float32(0), np.float32(0)
        for s in range(len(tops)):
            count = min(STRETCH, len(row) - s * STRETCH)
            chances[count:] = 0
            for i in range(count):
                y = (row[s * STRETCH + i] - most) * by
                chances[i] = exp(y) if y >= least else np.float32(0)
                heights[i] = max(y, np.float32(-100))
            total += summed(chances.ctypes.data, STRETCH)
            weighed += dot(chances.ctypes.data, heights.ctypes.data, count)
        if strange or most == np.inf:
            total = np.float32(np.nan)
        whole = np.log(total)
        facts[r, 0], facts[r, 1] = np.float32(1) / total, whole - weighed / total
        best, best_logs, best_places = scores[r], logs[r], places[r]
        for at in range(len(best)):
            best[at], best_logs[at], best_places[at] = -np.inf, -np.inf, 0
        for s in range(len(tops)):
            bound = tops[s] if greedy else (tops[s] - most) * by - whole + (bounds[-1] if len(keys) else np.float32(0))
            if (tops[s] - most) * by < least or bound < best[-1] - np.float32(SLACK):
                continue
            for i in range(s * STRETCH, min((s + 1) * STRETCH, len(row))):
                y = (row[i] - most) * by
                if not y >= least:
                    continue
                log_p = y - whole
                if len(keys):
                    bits = _scrambled(_scrambled((ids[i] if len(ids) else i) + keys[r]) + keys[r])
                    if log_p + bounds[bits >> np.uint32(24)] < best[-1]:
                        continue
                    score = log_p + np.float32(-np.log(-np.log((np.float64(bits) + 0.5) / WHOLE)))
                else:
                    score = row[i] if greedy else log_p
                if score > best[-1]:
                    _insert(score, log_p, i, best, best_logs, best_places)
        if strange or most == np.inf:
            for at in range(len(best)):
                best_logs[at] = np.nan
        for a in range(len(asked)):
            if asked_rows[a] == r:
                y = (row[asked[a]] - most) * by
                asked_logs[a] = y - whole if y >= least else np.float32(-np.inf)


# Sizes in what a share of the ranking is given: rows, tokens, listed ids, keys, asked ones, best ones; then addresses, in the order of
# `rank_rows`; NUMBERS: of temperature and least.
ROWS, TOKENS, LISTED, KEYS, ASKED, COUNT, LOGITS, NUMBERS, IDS, KEY, BOUNDS = range(11)
ASKED_ROWS, ASKED_IDS, SCORES, LOGS, PLACES, FOUND, FACTS = range(BOUNDS + 1, BOUNDS + 8)


def _share(given):
    """One thread's share of the rows."""
    g = carray(given, (FACTS + 1,))
    rows, asked, best = g[ROWS], g[ASKED], (g[ROWS], g[COUNT])
    numbers, ids, keys = carray(floats_at(g[NUMBERS]), (2,)), carray(longs_at(g[IDS]), (g[LISTED],)), carray(keys_at(g[KEY]), (g[KEYS],))
    told = numbers[0], numbers[1], ids, keys, carray(floats_at(g[BOUNDS]), (BUCKETS,))
    wanted = carray(longs_at(g[ASKED_ROWS]), (asked,)), carray(longs_at(g[ASKED_IDS]), (asked,))
    into = carray(floats_at(g[SCORES]), best), carray(floats_at(g[LOGS]), best), carray(longs_at(g[PLACES]), best)
    facts = carray(floats_at(g[FOUND]), (asked,)), carray(floats_at(g[FACTS]), (rows, 2))
    rank_rows(np.int64(this_thread()), np.int64(team()), carray(floats_at(g[LOGITS]), (rows, g[TOKENS])), *told, *wanted, *into, *facts)


share_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_share))


class Ranker:
    def __init__(self, sampling: Sampling):
        """Without top-k, top-p and rejection sampling."""
        self.seed, self.bounds = sampling.seed, noise_bounds()
        self.found: dict[tuple[int, ...], tuple[np.ndarray, list[np.ndarray]]] = {}  # see `_room`
        self.temperature = np.float32(max(sampling.temperature, LEAST) if sampling.temperature else 0)
        self.least = np.float32(math.log(sampling.min_p) if sampling.temperature and sampling.min_p else -np.inf)
        self.numbers = np.array([self.temperature, self.least])

    def __call__(
        self, logits: Tensor, positions: Sequence[int], count: int, noise: int | None, ids: Tensor | None, asked: Sequence[tuple[int, int]]
    ) -> Ranked:
        """As Sampler.rank. The threads share the rows."""
        sizes = len(logits), count, len(asked)
        if sizes not in self.found:
            self.found[sizes] = self._room(*sizes)
        given, (asked_rows, asked_ids, scores, logs, places, found, facts) = self.found[sizes]
        keys = NO_KEYS if noise is None else np.array([noise_key(self.seed, at, noise) for at in positions], np.uint32)
        if asked:
            asked_rows[:], asked_ids[:] = zip(*asked)
        logits, ids = logits.contiguous(), None if ids is None else ids.contiguous()
        given[TOKENS], given[LISTED], given[KEYS] = logits.shape[1], 0 if ids is None else len(ids), len(keys)
        given[LOGITS], given[IDS], given[KEY] = logits.data_ptr(), 0 if ids is None else ids.data_ptr(), address(keys)
        in_parallel(share_code(), given, WORK * logits.numel() if len(logits) > 1 else 0)  # one row: the others would only be waited for
        own = places if ids is None else ids.numpy()[places]
        return Ranked(own.tolist(), scores.tolist(), logs.tolist(), found.tolist(), *facts.T.tolist())

    def _room(self, rows: int, count: int, asked: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """What is given, and the arrays from ASKED_ROWS on. They are kept, because making them takes longer than filling them."""
        floats = [np.empty(shape, np.float32) for shape in ((rows, count), (rows, count), asked, (rows, 2))]
        arrays = [*np.empty((2, asked), np.int64), *floats[:2], np.empty((rows, count), np.int64), *floats[2:]]
        told = [0, address(self.numbers), 0, 0, address(self.bounds), *map(address, arrays)]
        return np.array([rows, 0, 0, 0, asked, count, *told]), arrays

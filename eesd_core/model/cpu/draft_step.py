"""One draft step of an early exit in one parallel region: the first layers, the exit layer, its rows of the LM head, and the choice.

Called one after the other from Python, these take twice as long as their weights take to be read. The parts are those that
EarlyExitDrafter otherwise calls (region.py, step.py, rank.py), in the same order on the same numbers; a test compares the results. Only
what deep states add to the exit layer's input is computed apart, and once for all drafts of a round, which read the same ones. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...sampling import SHARED, Ranked, noise_key
from ..cache import RowCache
from .kept import kept
from .kernels import close_rows, norm
from .panels import multiply
from .rank import Ranker, rank_rows
from .region import X as PROGRAM_X
from .region import address, meet, share_of_pass
from .step import lengthen
from .threads import PanelProduct, blocks_at, bytes_at, floats_at, halves_at, in_parallel, keys_at, longs_at, shorts_at, team, this_thread
from .tiles import CHUNKS, OUTPUTS

# What a step is given: addresses, and sizes where said. SHALLOW: 0 where the row has passed the first layers. MIX, DEEP_MIX, HEAD are
# products (weight, scale, number of panels, of chunks). MIX 0: the exit layer reads the first layers' output as it is. DEEP: the deep
# states, or 0 where ADDED holds what they add. HEAD 0: the row is only read. TAPS, WORDS, LISTED, COUNT: numbers of deep states, of context
# rows, of tokens in IDS, of best tokens. NOISY: 1 with noise.
SHALLOW, EXIT, STATE, STREAM, X, MIX, DEEP_MIX, DEEP, TAPS, ADDED = *range(6), 9, *range(13, 16)
NORM, NUMBERS, NORMED, CLOSED, BY, Y, HEAD = range(16, 23)
CONTEXT, WORDS, LOGITS, LISTED, IDS, NOISY, KEY, BOUNDS, COUNT, SCORES, LOGS, PLACES, FACTS, BARRIER = range(26, 40)
EPS, TEMPERATURE, LOWEST = range(3)  # of NUMBERS
UNIT = np.float32(torch.finfo(torch.float32).eps)  # rms_norm's own epsilon


@njit(nogil=True, error_model="numpy")
def _times(thread, threads, g, at, closed, out):
    """One thread's share of a product of one row, without the row's factor."""
    panels, chunks = g[at + 2], g[at + 3]
    weight = carray(bytes_at(g[at]), (panels, chunks, OUTPUTS, 16))
    multiply(thread, threads, closed, weight, out, carray(floats_at(g[at + 1]), (panels * OUTPUTS,)))


@njit(nogil=True, error_model="numpy", fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(nogil=True, error_model="numpy")
def _mix(thread, threads, g, x, closed, by, owner):
    """The exit layer's input x (1, D): the first layers' output, mixed with the deep states; see heads/exit_layer.py."""
    width, barrier, taps = g[STREAM], g[BARRIER], g[TAPS]
    y, added = carray(floats_at(g[Y]), (1, width)), carray(floats_at(g[ADDED]), (width,))
    if g[DEEP]:
        deep, deep_closed = carray(floats_at(g[DEEP]), (taps, width)), carray(shorts_at(g[CLOSED]), (1, taps * width))
        if owner:
            scaled, one = np.empty((taps, width), np.float32), np.ones(taps, np.float32)
            norm(deep, np.ones(width, np.float32), UNIT, scaled, one)
            close_rows(scaled.reshape(1, taps * width), deep_closed, by)
        meet(barrier, threads)
        _times(thread, threads, g, DEEP_MIX, deep_closed, y)
        meet(barrier, threads)
        if owner:
            for i in range(width):
                added[i] = y[0, i] * by[0]
    if owner:
        close_rows(x, closed, by)
    meet(barrier, threads)
    _times(thread, threads, g, MIX, closed, y)
    meet(barrier, threads)
    if owner:
        for i in range(width):
            x[0, i] += y[0, i] * by[0] + added[i]


@njit(nogil=True, error_model="numpy")
def _step(given, weight, door):
    """One thread's share. weight, door: pointers, for the types of the first layers. The last thread owns the row."""
    g = carray(given, (BARRIER + 1,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    numbers, owner = carray(floats_at(g[NUMBERS]), (3,)), thread == threads - 1
    x, closed, by = carray(floats_at(g[X]), (1, width)), carray(shorts_at(g[CLOSED]), (1, width)), carray(floats_at(g[BY]), (1,))
    if g[SHALLOW]:
        share_of_pass(longs_at(g[SHALLOW]), weight, door)
        if owner:
            carray(floats_at(g[STATE]), (1, width))[:] = x
    if g[MIX]:
        _mix(thread, threads, g, x, closed, by, owner)
    share_of_pass(longs_at(g[EXIT]), bytes_at(0), shorts_at(0))
    if not g[HEAD]:
        return
    normed, one = carray(floats_at(g[NORMED]), (1, width)), np.ones(1, np.float32)
    if owner:
        norm(x, carray(floats_at(g[NORM]), (width,)), numbers[EPS], normed, one)
        close_rows(normed, closed, by)
    meet(barrier, threads)
    frequent, words = g[HEAD + 2] * OUTPUTS, g[WORDS]
    logits = carray(floats_at(g[LOGITS]), (1, frequent + words))
    _times(thread, threads, g, HEAD, closed, carray(floats_at(g[LOGITS]), (1, frequent)))
    rows = carray(floats_at(g[CONTEXT]), (words, width))
    for c in range(words * thread // threads, words * (thread + 1) // threads):
        logits[0, frequent + c] = _dot(rows[c], normed[0])
    meet(barrier, threads)
    if thread == 0:
        for i in range(frequent):
            logits[0, i] *= by[0]
        ids, keys = carray(longs_at(g[IDS]), (g[LISTED],)), carray(keys_at(g[KEY]), (g[NOISY],))
        scores, logs = carray(floats_at(g[SCORES]), (1, g[COUNT])), carray(floats_at(g[LOGS]), (1, g[COUNT]))
        places, facts = carray(longs_at(g[PLACES]), (1, g[COUNT])), carray(floats_at(g[FACTS]), (1, 2))
        nothing = np.empty(0, np.int64)
        told = numbers[TEMPERATURE], numbers[LOWEST], ids, keys, carray(floats_at(g[BOUNDS]), (256,)), nothing, nothing
        rank_rows(logits, *told, scores, logs, places, one[:0], facts)


def _behind_floats(given):
    _step(given, floats_at(0), floats_at(0))


def _behind_halves(given):
    _step(given, halves_at(0), floats_at(0))


def _behind_bytes(given):
    _step(given, bytes_at(0), shorts_at(0))


def _behind_blocks(given):
    _step(given, blocks_at(0), shorts_at(0))


_KINDS = dict(zip(CHUNKS, (_behind_floats, _behind_halves, _behind_bytes, _behind_blocks)))
_compiled = cache(lambda kind: kept(cfunc, types.void(types.CPointer(types.int64)))(_KINDS[kind]))


def _product(product: PanelProduct) -> list[int]:
    return [address(product.panels), address(product.facts[0]), *product.panels.shape[:2]]


class DraftStep:
    """The draft steps of one text."""

    def __init__(self, steps, kind: np.dtype, head: nn.Module, rows: PanelProduct, ranker: Ranker, count: int):
        """steps: step.Steps. kind: type of the target's weights. head: an exit layer (heads/base.py) in 8 bits. rows: of the LM head, in 8
        bits, (S, D). count: how many best tokens are wanted."""
        (weight, eps), width, taps = head.norm.own, steps.target.config.hidden_size, len(head.taps)
        self.steps, self.code, self.ranker, self.rows = steps, _compiled(kind), ranker, rows
        self.layers = steps.target.layers[: head.exit_after], head.layers
        self.x, normed, y, self.added = np.zeros((4, width), np.float32)
        self.key, self.logits, self.round = np.empty(1, np.uint32), np.empty(0, np.float32), -1
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.places, self.facts = np.empty(count, np.int64), np.empty(2, np.float32)
        self.given, own = np.zeros(BARRIER + 1, np.int64), {
            X: self.x, ADDED: self.added, NORM: weight, NUMBERS: np.array([eps, ranker.temperature, ranker.least], np.float32),
            NORMED: normed, CLOSED: np.empty(width * max(1, taps), np.int16), BY: np.empty(1, np.float32), Y: y, KEY: self.key,
            BOUNDS: ranker.bounds, SCORES: self.scores, LOGS: self.logs, PLACES: self.places, FACTS: self.facts,
            BARRIER: np.zeros(2, np.int64),
        }  # fmt: skip
        for place, array in own.items():
            self.given[place] = address(array)
        self.given[[STREAM, TAPS, COUNT, NOISY]] = width, taps, count, ranker.temperature > 0
        parts = (head.mix.part(0, width), head.mix.part(width, (1 + taps) * width)) if head.mix else ()
        for place, product in zip((MIX, DEEP_MIX), parts):
            self.given[place : place + 4] = _product(product)
        self.alive = own, parts  # what has its address in `given`

    def read(self, position: int, state: Tensor, deep: Tensor | None, exit_cache: RowCache) -> None:
        """The exit layer reads a position that it has missed. state (1, 1, D): the first layers' output there. deep (1, 1, taps D)."""
        self.x[:] = state.numpy()[0, 0]
        self.round = -1
        self.given[[SHALLOW, HEAD]] = 0
        self._run(position, deep, (exit_cache,))

    def __call__(
        self, hidden: Tensor, position: int, state: Tensor, deep: Tensor | None, round: int, cache: RowCache, exit_cache: RowCache, words
    ) -> Ranked:  # fmt: skip
        """The best tokens behind the one at `position`, whose row enters the first layers as hidden (1, 1, D). Writes their output to state
        (1, 1, D). deep (1, 1, taps D): the deep states that all drafts of this `round` read. cache: the target's. exit_cache: the exit
        layer's, with all positions before this one. words: the text's list (heads/shortlist.py); None: the vocabulary."""
        context, ids = (words.context, words.ids) if words else (None, None)
        count, frequent, given = 0 if context is None else len(context), self.rows.outputs, self.given
        if len(self.logits) != frequent + count:
            self.logits = np.empty(frequent + count, np.float32)
            given[LOGITS] = address(self.logits)
        self.x[:] = hidden.numpy()[0, 0]
        self.key[0] = noise_key(self.ranker.seed, position + 1, SHARED)
        given[STATE] = state.data_ptr()
        given[HEAD : HEAD + 4] = _product(self.rows)
        given[[CONTEXT, WORDS]] = (context.data_ptr(), count) if count else (0, 0)
        given[[IDS, LISTED]] = (0, 0) if ids is None else (ids.data_ptr(), len(ids))
        self._run(position, deep if round != self.round else None, (cache, exit_cache))
        self.round = round
        found = (self.places if ids is None else ids.numpy()[self.places]).tolist()
        return Ranked([found], [self.scores.tolist()], [self.logs.tolist()], [], [float(self.facts[0])], [float(self.facts[1])])

    def _run(self, position: int, deep: Tensor | None, caches: Sequence[RowCache]) -> None:
        """caches: the target's, unless the row has passed the first layers, and the exit layer's."""
        self.given[DEEP] = 0 if deep is None else deep.data_ptr()
        stages, work = list(zip((SHALLOW, EXIT), self.layers))[-len(caches) :], 0
        for (place, layers), held in zip(stages, caches):
            program = self.steps.program(layers, held, 1)
            program.move(position)
            lengthen(held, program, position + 1)
            program.given[PROGRAM_X], self.given[place] = self.given[X], address(program.given)
            work += program.work
        in_parallel(self.code, self.given, work)

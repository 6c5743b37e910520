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
from .integers import OUTPUTS, RECORD, words
from .kept import kept
from .kernels import close_rows, norm
from .rank import BUCKETS, Ranker, rank_rows
from .region import X as PROGRAM_X
from .region import address, lengthen, meet
from .threads import PanelProduct, call, floats_at, in_parallel, keys_at, longs_at, product_code, team, this_thread, words_at

# What a step is given: addresses, and sizes where said. SHALLOW, EXIT: a program's code and table; SHALLOW 0: the row has passed the
# first layers. MIX, DEEP_MIX, HEAD: products (weight, scale, number of panels, of chunks); MIX 0: the exit layer reads the first layers'
# output as it is; HEAD 0: the row is only read. DEEP: the deep states, or 0 where ADDED holds what they add. TAPS, WORDS, LISTED, COUNT:
# numbers of deep states, of context rows, of tokens in IDS, of best tokens. NOISY: 1 with noise. BYTES: code of products in 8 bits.
SHALLOW, EXIT, STATE, STREAM, X, MIX, DEEP_MIX, DEEP, TAPS, ADDED, ONES, SCALED = 0, 2, *range(4, 8), 11, *range(15, 20)
NORM, NUMBERS, NORMED, CLOSED, Y, HEAD = range(20, 26)
CONTEXT, WORDS, LOGITS, LISTED, IDS, NOISY, KEY, BOUNDS, COUNT, SCORES, LOGS, PLACES, FACTS, BYTES, BARRIER = range(29, 44)
EPS, TEMPERATURE, LOWEST = range(3)  # of NUMBERS
UNIT = np.float32(torch.finfo(torch.float32).eps)  # rms_norm's own epsilon


@njit(nogil=True, error_model="numpy")
def _times(thread, threads, g, at, out):
    """One thread's share of a product of the row in CLOSED. out: an address."""
    panels, chunks = g[at + 2], g[at + 3]
    call(g[BYTES], (thread, threads, 1, chunks * RECORD, panels, chunks, g[CLOSED], g[at], out, g[at + 1], 0))


@njit(nogil=True, error_model="numpy")
def _mix(thread, threads, g, x, owner):
    """The exit layer's input x (1, D): the first layers' output, mixed with the deep states; see heads/exit_layer.py."""
    width, barrier, taps = g[STREAM], g[BARRIER], g[TAPS]
    y, added = carray(floats_at(g[Y]), (1, width)), carray(floats_at(g[ADDED]), (width,))
    if g[DEEP]:
        if owner:
            deep, scaled = carray(floats_at(g[DEEP]), (taps, width)), carray(floats_at(g[SCALED]), (taps, width))
            norm(deep, carray(floats_at(g[ONES]), (width,)), UNIT, scaled)
            closed = carray(words_at(g[CLOSED]), (1, g[DEEP_MIX + 3] * RECORD))
            close_rows(carray(floats_at(g[SCALED]), (1, taps * width)), closed)
        meet(barrier, threads)
        _times(thread, threads, g, DEEP_MIX, g[Y])
        meet(barrier, threads)
        if owner:
            for i in range(width):
                added[i] = y[0, i]
    if owner:
        close_rows(x, carray(words_at(g[CLOSED]), (1, g[MIX + 3] * RECORD)))
    meet(barrier, threads)
    _times(thread, threads, g, MIX, g[Y])
    meet(barrier, threads)
    if owner:
        for i in range(width):
            x[0, i] += y[0, i] + added[i]


@njit(nogil=True, error_model="numpy", fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


def _step(given):
    """One thread's share. The last thread owns the row."""
    g = carray(given, (BARRIER + 1,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    numbers, owner, x = carray(floats_at(g[NUMBERS]), (3,)), thread == threads - 1, carray(floats_at(g[X]), (1, width))
    if g[SHALLOW]:
        call(g[SHALLOW], (g[SHALLOW + 1],))
        if owner:
            state = carray(floats_at(g[STATE]), (width,))
            for i in range(width):
                state[i] = x[0, i]
    if g[MIX]:
        _mix(thread, threads, g, x, owner)
    call(g[EXIT], (g[EXIT + 1],))
    if not g[HEAD]:
        return
    normed = carray(floats_at(g[NORMED]), (1, width))
    if owner:
        norm(x, carray(floats_at(g[NORM]), (width,)), numbers[EPS], normed)
        close_rows(normed, carray(words_at(g[CLOSED]), (1, g[HEAD + 3] * RECORD)))
    meet(barrier, threads)
    frequent, context = g[HEAD + 2] * OUTPUTS, g[WORDS]
    logits = carray(floats_at(g[LOGITS]), (1, frequent + context))
    _times(thread, threads, g, HEAD, g[LOGITS])
    rows = carray(floats_at(g[CONTEXT]), (context, width))
    for c in range(context * thread // threads, context * (thread + 1) // threads):
        logits[0, frequent + c] = _dot(rows[c], normed[0])
    meet(barrier, threads)
    if thread == 0:
        ids, keys = carray(longs_at(g[IDS]), (g[LISTED],)), carray(keys_at(g[KEY]), (g[NOISY],))
        scores, logs = carray(floats_at(g[SCORES]), (1, g[COUNT])), carray(floats_at(g[LOGS]), (1, g[COUNT]))
        places, facts = carray(longs_at(g[PLACES]), (1, g[COUNT])), carray(floats_at(g[FACTS]), (1, 2))
        nothing, bounds = carray(longs_at(g[IDS]), (0,)), carray(floats_at(g[BOUNDS]), (BUCKETS,))
        told = numbers[TEMPERATURE], numbers[LOWEST], ids, keys, bounds, nothing, nothing
        rank_rows(logits, *told, scores, logs, places, carray(floats_at(g[FACTS]), (0,)), facts)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


def _product(product: PanelProduct) -> list[int]:
    return [address(product.panels), address(product.facts[0]), *product.panels.shape[:2]]


class DraftStep:
    """The draft steps of one text."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, ranker: Ranker, count: int):
        """steps: step.Steps. head: an exit layer (heads/base.py) in 8 bits. rows: of the LM head, in 8 bits, (S, D). count: how many best
        tokens are wanted."""
        (weight, eps), width, taps = head.norm.own, steps.target.config.hidden_size, len(head.taps)
        self.steps, self.code, self.ranker, self.rows = steps, step_code(), ranker, rows
        self.layers = steps.target.layers[: head.exit_after], head.layers
        self.x, normed, y, self.added = np.zeros((4, width), np.float32)
        self.key, self.logits, self.round = np.empty(1, np.uint32), np.empty(0, np.float32), -1
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.places, self.facts = np.empty(count, np.int64), np.empty(2, np.float32)
        self.given, own = np.zeros(BARRIER + 1, np.int64), {
            X: self.x, ADDED: self.added, Y: y, NORM: weight, NORMED: normed, ONES: np.ones(width, np.float32),
            SCALED: np.empty((max(1, taps), width), np.float32), CLOSED: np.empty(words(width * max(1, taps)), np.int32),
            NUMBERS: np.array([eps, ranker.temperature, ranker.least], np.float32),
            KEY: self.key, BOUNDS: ranker.bounds, SCORES: self.scores, LOGS: self.logs, PLACES: self.places, FACTS: self.facts,
            BARRIER: np.zeros(2, np.int64),
        }  # fmt: skip
        for place, array in own.items():
            self.given[place] = address(array)
        code = product_code(rows.panels.dtype).address
        self.given[[STREAM, TAPS, COUNT, NOISY, BYTES]] = width, taps, count, ranker.temperature > 0, code
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
            program.given[PROGRAM_X] = self.given[X]
            self.given[place : place + 2] = program.code.address, address(program.given)
            work += program.work
        in_parallel(self.code, self.given, work)

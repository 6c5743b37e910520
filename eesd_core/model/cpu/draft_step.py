"""One draft step of an early exit in one parallel region: the first layers, the exit layer, its rows of the LM head, and the choice.

Called one after the other from Python, these take twice as long as their weights take to be read. The parts are those that
EarlyExitDrafter otherwise calls (region.py, step.py, rank.py), in the same order on the same numbers; a test compares the results. Only
what the deep states add to the exit layer's input is computed once per round, since they do not change within it. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
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

# What a step is given: addresses, and sizes where said. MIX and HEAD are products (weight, scale, number of panels, of chunks); MIX may be
# 0. WORDS: number of context rows. NOISY: 1 with noise. LISTED: number of tokens in IDS, or 0. COUNT: of best tokens.
SHALLOW, EXIT, STATE, STREAM, X, MIX, ADDED, NORM, NUMBERS, NORMED, CLOSED, BY, Y = *range(6), *range(9, 16)
HEAD, CONTEXT, WORDS, LOGITS, LISTED, IDS, NOISY, KEY, BOUNDS, COUNT, SCORES, LOGS, PLACES, FACTS, BARRIER = 16, *range(20, 34)
EPS, TEMPERATURE, LOWEST = range(3)  # of NUMBERS


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
def _step(given, weight, door):
    """One thread's share. weight, door: pointers, for the types of the first layers. The last thread owns the row."""
    g = carray(given, (BARRIER + 1,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    numbers, owner = carray(floats_at(g[NUMBERS]), (3,)), thread == threads - 1
    x, closed, by = carray(floats_at(g[X]), (1, width)), carray(shorts_at(g[CLOSED]), (1, width)), carray(floats_at(g[BY]), (1,))
    share_of_pass(longs_at(g[SHALLOW]), weight, door)
    if owner:
        carray(floats_at(g[STATE]), (1, width))[:] = x
    if g[MIX]:
        if owner:
            close_rows(x, closed, by)
        meet(barrier, threads)
        y, added = carray(floats_at(g[Y]), (1, width)), carray(floats_at(g[ADDED]), (width,))
        _times(thread, threads, g, MIX, closed, y)
        meet(barrier, threads)
        if owner:
            for i in range(width):
                x[0, i] += y[0, i] * by[0] + added[i]
    share_of_pass(longs_at(g[EXIT]), bytes_at(0), shorts_at(0))
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

    def __init__(
        self, steps, first: Sequence[nn.Module], head: nn.Module, rows: PanelProduct, mix: PanelProduct | None, ranker: Ranker, count: int
    ):
        """steps: step.Steps. first: the target's layers before the exit. head: an exit layer (heads/base.py). rows: of the LM head, in 8
        bits, (S, D). mix: in 8 bits, (D, D); None: the exit layer reads the first layers' output as it is. count: how many best tokens are
        wanted."""
        (weight, eps), width = head.norm.own, steps.target.config.hidden_size
        self.steps, self.layers, self.ranker, self.frequent = steps, (first, head.layers), ranker, rows.outputs
        self.x, normed, y = np.zeros((3, width), np.float32)
        self.key, self.logits = np.empty(1, np.uint32), np.empty(0, np.float32)
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.places, self.facts = np.empty(count, np.int64), np.empty(2, np.float32)
        self.given, own = np.zeros(BARRIER + 1, np.int64), {
            X: self.x, NORM: weight, NUMBERS: np.array([eps, ranker.temperature, ranker.least], np.float32), NORMED: normed,
            CLOSED: np.empty(width, np.int16), BY: np.empty(1, np.float32), Y: y, KEY: self.key, BOUNDS: ranker.bounds,
            SCORES: self.scores, LOGS: self.logs, PLACES: self.places, FACTS: self.facts, BARRIER: np.zeros(2, np.int64),
        }  # fmt: skip
        for place, array in own.items():
            self.given[place] = address(array)
        self.given[[STREAM, COUNT, NOISY]] = width, count, ranker.temperature > 0
        for place, product in ((MIX, mix), (HEAD, rows)):
            self.given[place : place + 4] = _product(product) if product else 0
        self.alive = own, rows, mix  # whatever has its address in `given`

    def __call__(
        self, hidden: Tensor, position: int, state: Tensor, cache: RowCache, exit_cache: RowCache, added: Tensor | None, words
    ) -> Ranked:  # fmt: skip
        """The best tokens behind the one at `position`, whose row enters the first layers as hidden (1, 1, D). Writes their output to state
        (1, 1, D). cache: the target's. exit_cache: the exit layer's, with all positions before this one. added (1, 1, D): to the exit
        layer's input, with `mix`. words: the text's list (heads/shortlist.py); None: the vocabulary."""
        context, ids = (words.context, words.ids) if words else (None, None)
        count = 0 if context is None else len(context)
        if len(self.logits) != self.frequent + count:
            self.logits = np.empty(self.frequent + count, np.float32)
        self.x[:] = hidden.numpy()[0, 0]
        self.key[0] = noise_key(self.ranker.seed, position + 1, SHARED)
        programs = []
        for layers, held in zip(self.layers, (cache, exit_cache)):
            program = self.steps.program(layers, held, 1)
            program.move(position)
            program.given[PROGRAM_X] = self.given[X]
            lengthen(held, program, position + 1)
            programs.append(program)
        given, nothing = self.given, (0, 0)
        given[[SHALLOW, EXIT, STATE, LOGITS]] = *(address(each.given) for each in programs), state.data_ptr(), address(self.logits)
        given[ADDED] = 0 if added is None else added.data_ptr()
        given[[CONTEXT, WORDS]] = (context.data_ptr(), count) if count else nothing
        given[[IDS, LISTED]] = nothing if ids is None else (ids.data_ptr(), len(ids))
        in_parallel(_compiled(programs[0].kind), given, programs[0].work + programs[1].work)
        found = (self.places if ids is None else ids.numpy()[self.places]).tolist()
        return Ranked([found], [self.scores.tolist()], [self.logs.tolist()], [], [float(self.facts[0])], [float(self.facts[1])])

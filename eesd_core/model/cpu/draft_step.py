"""A draft step of an early exit in one parallel region: the first layers, the exit layer, its rows of the LM head, and the choice. Several
texts share it, with one row each.

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

from ...limits import MAX_ROWS
from ...sampling import SHARED, Ranked, noise_key
from ..cache import RowCache
from ..span import DraftRow, Segment, Span
from .integers import OUTPUTS, RECORD, words
from .kept import kept
from .kernels import close_rows, norm
from .rank import BUCKETS, Ranker, rank_rows
from .region import Program, address, lengthen, meet
from .region import X as PROGRAM_X
from .threads import PanelProduct, call, floats_at, in_parallel, keys_at, longs_at, product_code, team, this_thread, words_at

# What a step is given: addresses, and sizes where said. SHALLOW, EXIT: a program's code and table; SHALLOW 0: the rows have passed the
# first layers. ROWS: of the first layers; GOING: those that go on, the first ones. MIX, DEEP_MIX, HEAD: products (weight, scale, number of
# panels, of chunks); MIX 0: the exit layer reads the first layers' output as it is; HEAD 0: rows are only read. FRESH: whether deep states
# have to be read. TAPS, COUNT: numbers of deep states, of best tokens. BYTES: code of products in 8 bits. STATES, DEEPS, ADDED: tables of
# addresses, one per row: where the first layers' output is kept, the deep states (0: ADDED has them), and what they add.
SHALLOW, EXIT, ROWS, GOING, STREAM, TAPS, COUNT, BYTES, FRESH, X, STATES, DEEPS, ADDED, ONES, SCALED = 0, 2, *range(4, 17)
NORM, EPS, NORMED, CLOSED, Y, FREQUENT, TEXTS, MIX, DEEP_MIX, HEAD, BARRIER = *range(17, 24), 24, 28, 32, 36
# Columns of TEXTS, a row for each text that goes on: addresses, and numbers of context rows (MORE), of tokens in IDS, and of keys (1 with
# noise).
CONTEXT, MORE, LOGITS, LISTED, IDS, KEYS, KEY, BOUNDS, SCORES, LOGS, PLACES, FACTS, NUMBERS = range(13)
COLUMNS = NUMBERS + 1
UNIT = np.float32(torch.finfo(torch.float32).eps)  # rms_norm's own epsilon


@njit(nogil=True, error_model="numpy")
def _times(thread, threads, g, at, out):
    """One thread's share of a product of the GOING rows in CLOSED. out: an address."""
    panels, chunks = g[at + 2], g[at + 3]
    call(g[BYTES], (thread, threads, g[GOING], chunks * RECORD, panels, chunks, g[CLOSED], g[at], out, g[at + 1], 0))


@njit(nogil=True, error_model="numpy")
def _mix(thread, threads, g, low, x):
    """The exit layer's input x (m, D), this thread's rows from `low` on: the first layers' output, mixed with the deep states; see
    heads/exit_layer.py."""
    width, barrier, taps, own = g[STREAM], g[BARRIER], g[TAPS], len(x)
    y = carray(floats_at(g[Y] + 4 * low * width), (own, width))
    deeps, added = carray(longs_at(g[DEEPS] + 8 * low), (own,)), carray(longs_at(g[ADDED] + 8 * low), (own,))
    if g[FRESH]:
        reads = g[DEEP_MIX + 3] * RECORD
        closed = carray(words_at(g[CLOSED] + 4 * low * reads), (own, reads))
        wide = carray(floats_at(g[SCALED] + 4 * low * taps * width), (own, taps * width))
        for r in range(own):
            if deeps[r]:
                scaled = carray(floats_at(g[SCALED] + 4 * (low + r) * taps * width), (taps, width))
                norm(carray(floats_at(deeps[r]), (taps, width)), carray(floats_at(g[ONES]), (width,)), UNIT, scaled)
        close_rows(wide, closed)
        meet(barrier, threads)
        _times(thread, threads, g, DEEP_MIX, g[Y])
        meet(barrier, threads)
        for r in range(own):
            if deeps[r]:
                to = carray(floats_at(added[r]), (width,))
                for i in range(width):
                    to[i] = y[r, i]
    reads = g[MIX + 3] * RECORD
    close_rows(x, carray(words_at(g[CLOSED] + 4 * low * reads), (own, reads)))
    meet(barrier, threads)
    _times(thread, threads, g, MIX, g[Y])
    meet(barrier, threads)
    for r in range(own):
        more = carray(floats_at(added[r]), (width,))
        for i in range(width):
            x[r, i] += y[r, i] + more[i]


@njit(nogil=True, error_model="numpy", fastmath=True)
def _product_of(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


def _step(given):
    """One thread's share. Threads share the rows as they do in the programs."""
    g = carray(given, (BARRIER + 1,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    if g[SHALLOW]:
        call(g[SHALLOW], (g[SHALLOW + 1],))
        states = carray(longs_at(g[STATES]), (g[ROWS],))
        for r in range(g[ROWS] * thread // threads, g[ROWS] * (thread + 1) // threads):
            x, state = carray(floats_at(g[X] + 4 * r * width), (width,)), carray(floats_at(states[r]), (width,))
            for i in range(width):
                state[i] = x[i]
        meet(barrier, threads)
    going = g[GOING]
    if not going:
        return
    low = going * thread // threads
    own = going * (thread + 1) // threads - low
    x = carray(floats_at(g[X] + 4 * low * width), (own, width))
    if g[MIX]:
        _mix(thread, threads, g, low, x)
    call(g[EXIT], (g[EXIT + 1],))
    if not g[HEAD]:
        return
    normed, reads = carray(floats_at(g[NORMED] + 4 * low * width), (own, width)), g[HEAD + 3] * RECORD
    norm(x, carray(floats_at(g[NORM]), (width,)), carray(floats_at(g[EPS]), (1,))[0], normed)
    close_rows(normed, carray(words_at(g[CLOSED] + 4 * low * reads), (own, reads)))
    meet(barrier, threads)
    frequent, texts = g[HEAD + 2] * OUTPUTS, carray(longs_at(g[TEXTS]), (going, COLUMNS))
    _times(thread, threads, g, HEAD, g[FREQUENT])
    for t in range(going):
        context = texts[t, MORE]
        rows, row = carray(floats_at(texts[t, CONTEXT]), (context, width)), carray(floats_at(g[NORMED] + 4 * t * width), (width,))
        logits = carray(floats_at(texts[t, LOGITS]), (frequent + context,))
        for c in range(context * thread // threads, context * (thread + 1) // threads):
            logits[frequent + c] = _product_of(rows[c], row)
    meet(barrier, threads)
    for t in range(thread, going, threads):
        of_text, count = texts[t], g[COUNT]
        logits = carray(floats_at(of_text[LOGITS]), (1, frequent + of_text[MORE]))
        found = carray(floats_at(g[FREQUENT] + 4 * t * frequent), (frequent,))
        for i in range(frequent):
            logits[0, i] = found[i]
        ids, keys = carray(longs_at(of_text[IDS]), (of_text[LISTED],)), carray(keys_at(of_text[KEY]), (of_text[KEYS],))
        scores, logs = carray(floats_at(of_text[SCORES]), (1, count)), carray(floats_at(of_text[LOGS]), (1, count))
        places, facts = carray(longs_at(of_text[PLACES]), (1, count)), carray(floats_at(of_text[FACTS]), (1, 2))
        nothing, bounds = carray(longs_at(of_text[IDS]), (0,)), carray(floats_at(of_text[BOUNDS]), (BUCKETS,))
        numbers = carray(floats_at(of_text[NUMBERS]), (2,))
        told = numbers[0], numbers[1], ids, keys, bounds, nothing, nothing
        rank_rows(logits, *told, scores, logs, places, carray(floats_at(of_text[FACTS]), (0,)), facts)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


def _product(product: PanelProduct) -> list[int]:
    return [address(product.panels), address(product.facts[0]), *product.panels.shape[:2]]


class TextDraft:
    """One text's part of a draft step: what it is told, and what it finds."""

    def __init__(self, step: "DraftStep", ranker: Ranker):
        self.step, self.ranker, self.round, count = step, ranker, -1, step.count
        self.added, self.logits = np.zeros(step.width, np.float32), np.empty(0, np.float32)
        self.key, self.numbers = np.empty(1, np.uint32), np.array([ranker.temperature, ranker.least], np.float32)
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.places, self.facts, self.row = np.empty(count, np.int64), np.empty(2, np.float32), np.zeros(COLUMNS, np.int64)
        own = {KEY: self.key, BOUNDS: ranker.bounds, SCORES: self.scores, LOGS: self.logs, PLACES: self.places, FACTS: self.facts}
        for column, array in (own | {NUMBERS: self.numbers}).items():
            self.row[column] = address(array)
        self.row[KEYS] = ranker.temperature > 0

    def tell(self, position: int, words) -> None:
        """words: the text's list (heads/shortlist.py); None: the vocabulary."""
        context, ids = (words.context, words.ids) if words else (None, None)
        count, row = 0 if context is None else len(context), self.row
        if len(self.logits) != self.step.rows.outputs + count:
            self.logits = np.empty(self.step.rows.outputs + count, np.float32)
            row[LOGITS] = address(self.logits)
        self.key[0] = noise_key(self.ranker.seed, position + 1, SHARED)
        row[[CONTEXT, MORE]] = (context.data_ptr(), count) if count else (0, 0)
        row[[IDS, LISTED]] = (0, 0) if ids is None else (ids.data_ptr(), len(ids))

    def found(self, words) -> Ranked:
        ids = (self.places if words is None else words.ids.numpy()[self.places]).tolist()
        return Ranked([ids], [self.scores.tolist()], [self.logs.tolist()], [], [float(self.facts[0])], [float(self.facts[1])])


class DraftStep:
    """Draft steps of one exit layer, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """steps: step.Steps. head: an exit layer (heads/base.py) in 8 bits. rows: of the LM head, in 8 bits, (S, D). count: how many best
        tokens are wanted."""
        (weight, eps), width, taps = head.norm.own, steps.target.config.hidden_size, len(head.taps)
        self.steps, self.head, self.rows, self.count, self.width, self.code = steps, head, rows, count, width, step_code()
        self.layers, many = (steps.target.layers[: head.exit_after], head.layers), (MAX_ROWS, width)
        self.x, self.texts = np.zeros(many, np.float32), np.zeros((MAX_ROWS, COLUMNS), np.int64)
        self.states, self.deeps, self.added = np.zeros((3, MAX_ROWS), np.int64)
        self.nowhere = np.zeros(many, np.float32)  # what deep states add to rows that are only read
        self.given, own = np.zeros(BARRIER + 1, np.int64), {
            X: self.x, STATES: self.states, DEEPS: self.deeps, ADDED: self.added, ONES: np.ones(width, np.float32),
            SCALED: np.zeros((MAX_ROWS, max(1, taps), width), np.float32), NORM: weight, EPS: np.array([eps], np.float32),
            NORMED: np.empty(many, np.float32), CLOSED: np.empty((MAX_ROWS, words(width * max(1, taps))), np.int32),
            Y: np.empty(many, np.float32), FREQUENT: np.empty((MAX_ROWS, rows.outputs), np.float32), TEXTS: self.texts,
            BARRIER: np.zeros(2, np.int64),
        }  # fmt: skip
        for place, array in own.items():
            self.given[place] = address(array)
        self.given[[STREAM, TAPS, COUNT, BYTES]] = width, taps, count, product_code(rows.panels.dtype).address
        parts = (head.mix.part(0, width), head.mix.part(width, (1 + taps) * width)) if head.mix else ()
        for place, product in zip((MIX, DEEP_MIX), parts):
            self.given[place : place + 4] = _product(product)
        self.alive = own, parts  # what has its address in `given`

    def read(self, texts: Sequence) -> None:
        """The exit layer reads positions that it has missed. texts: heads.base.Asked, with at most MAX_ROWS rows in all."""
        row = 0
        for asked in texts:
            count = asked.states.shape[1]
            self.x[row : row + count] = asked.states[0].numpy()
            for i in range(count):
                self.deeps[row + i] = 0 if asked.deep is None else asked.deep[:, i : i + 1].data_ptr()
                self.added[row + i] = address(self.nowhere[row + i])
            row += count
        self.given[[SHALLOW, HEAD, ROWS, GOING, FRESH]] = 0, 0, row, row, texts[0].deep is not None
        self._run([(EXIT, [(asked.cache, asked.start, asked.states.shape[1]) for asked in texts])])

    def __call__(self, hidden: Tensor, rows: Sequence[DraftRow]) -> list[Ranked]:
        """hidden (1, m, D): embeddings of m rows, at most MAX_ROWS; those that go on come first. Returns the best tokens behind these."""
        going = [row for row in rows if row.goes]
        self.x[: len(rows)] = hidden.numpy()[0]
        fresh = False
        for i, row in enumerate(rows):
            self.states[i] = row.state.data_ptr()
        for i, (text, position, _, _, _, deep, round, _, listed) in enumerate(going):
            text.tell(position, listed)
            new = deep is not None and text.round != round
            self.deeps[i], self.added[i], self.texts[i] = deep.data_ptr() if new else 0, address(text.added), text.row
            text.round, fresh = round, fresh or new
        self.given[[ROWS, GOING, FRESH]] = len(rows), len(going), fresh
        self.given[HEAD : HEAD + 4] = _product(self.rows)
        stages = [(SHALLOW, [(row.cache, row.position, 1) for row in rows]), (EXIT, [(row.exit_cache, row.position, 1) for row in going])]
        self._run([stage for stage in stages if stage[1]])
        return [row.text.found(row.words) for row in going]

    def _run(self, stages: Sequence[tuple[int, list[tuple[RowCache, int, int]]]]) -> None:
        """stages: SHALLOW or EXIT, and a cache, a first position and a number of rows for every text."""
        work, alive = 0, []
        for place, texts in stages:
            layers = self.layers[place == EXIT]
            program = self._program(layers, texts)
            for held, start, rows in texts:
                lengthen(held, program, start + rows)
            program.given[PROGRAM_X] = self.given[X]
            self.given[place : place + 2] = program.code.address, address(program.given)
            work += program.work
            alive.append(program)
        in_parallel(self.code, self.given, work)

    def _program(self, layers: Sequence[nn.Module], texts: list[tuple[RowCache, int, int]]) -> Program:
        if len(texts) == 1:
            (held, start, rows) = texts[0]
            program = self.steps.program(layers, held, rows)
            program.move(start)
            return program
        return self.steps.program_of_texts(layers, [Segment(held, Span(start), rows) for held, start, rows in texts])

"""A draft step of an early exit in one parallel region: the first layers, the exit layer, its rows of the LM head, and the choice. Several
texts share it, with one row each.

Called one after the other from Python, these take twice as long as their weights take to be read. The parts are those that
EarlyExitDrafter otherwise calls (region.py, step.py, rank.py), in the same order on the same numbers; a test compares the results. Only
what deep states add to the exit layer's input is computed apart, and once for all drafts of a round, which read the same ones. Ours.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

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
from .kernels import close_rows, norm, wide
from .rank import BUCKETS, Ranker, rank_rows
from .region import Program, address, lengthen, meet
from .region import X as PROGRAM_X
from .threads import PanelProduct, call, floats_at, halves_at, in_parallel, keys_at, longs_at, product_code, team, this_thread, words_at

# What a step is given: addresses, and sizes where said. SHALLOW, EXIT: a program's code and table; SHALLOW 0: the rows have passed the
# first layers. ROWS: of the first layers; GOING: those that go on, the first ones. MIX, DEEP_MIX, HEAD: products (weight, scale, number of
# panels, of chunks); MIX 0: the exit layer reads the first layers' output as it is; HEAD 0: rows are only read. FRESH: whether deep states
# have to be read. TAPS, COUNT: numbers of deep states, of best tokens. BYTES: code of products in 8 bits. TOKENS: ids of the rows. TABLE:
# their embeddings; HALVES: whether those are bfloat16. STATES, DEEPS, ADDED: tables of addresses, one per row: where the first layers'
# output is kept, the deep states (0: ADDED has them), and what they add.
SHALLOW, EXIT, ROWS, GOING, STREAM, TAPS, COUNT, BYTES, FRESH, X, STATES, DEEPS, ADDED, ONES, SCALED = 0, 2, *range(4, 17)
NORM, EPS, NORMED, CLOSED, Y, FREQUENT, TEXTS, TOKENS, TABLE, HALVES, MIX, DEEP_MIX, HEAD, BARRIER = *range(17, 27), 27, 31, 35, 39
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


@njit(nogil=True, error_model="numpy")
def _embed(g, first, end):
    """These rows' embeddings into X."""
    width, tokens = g[STREAM], carray(longs_at(g[TOKENS]), (end,))
    for r in range(first, end):
        x = carray(floats_at(g[X] + 4 * r * width), (width,))
        if g[HALVES]:
            halves = carray(halves_at(g[TABLE] + 2 * tokens[r] * width), (width,))
            for i in range(width):
                x[i] = wide(halves[i])
        else:
            row = carray(floats_at(g[TABLE] + 4 * tokens[r] * width), (width,))
            for i in range(width):
                x[i] = row[i]


def _step(given):
    """One thread's share. Threads share the rows as they do in the programs."""
    g = carray(given, (BARRIER + 1,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    if g[SHALLOW]:
        first, end = g[ROWS] * thread // threads, g[ROWS] * (thread + 1) // threads
        _embed(g, first, end)
        call(g[SHALLOW], (g[SHALLOW + 1],))
        states = carray(longs_at(g[STATES]), (g[ROWS],))
        for r in range(first, end):
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
        if len(ids):
            for c in range(count):
                places[0, c] = ids[places[0, c]]


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


def _product(product: PanelProduct) -> list[int]:
    return [address(product.panels), address(product.facts[0]), *product.panels.shape[:2]]


class Memory(NamedTuple):
    """Where a text's draft steps read and write."""

    cache: RowCache  # the target's
    exit_cache: RowCache  # the exit layer's
    states: Tensor  # (1, capacity, D): the first layers' output
    deep: Tensor  # (1, capacity + 1, taps D): deep states, one position later (EarlyExitDrafter.deep)


class TextDraft:
    """One text's part of draft steps: what it is told, and what it finds."""

    def __init__(self, step: "DraftStep", ranker: Ranker, memory: Memory):
        self.step, self.ranker, self.memory, self.round, count = step, ranker, memory, -1, step.count
        self.added, self.logits = np.zeros(step.width, np.float32), np.empty(0, np.float32)
        self.key, self.numbers = np.empty(1, np.uint32), np.array([ranker.temperature, ranker.least], np.float32)
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.ids, self.facts, self.row = np.empty(count, np.int64), np.empty(2, np.float32), np.zeros(COLUMNS, np.int64)
        own = {KEY: self.key, BOUNDS: ranker.bounds, SCORES: self.scores, LOGS: self.logs, PLACES: self.ids, FACTS: self.facts}
        for column, array in (own | {NUMBERS: self.numbers}).items():
            self.row[column] = address(array)
        self.row[KEYS] = self.noisy = ranker.temperature > 0
        self.states, self.deep, self.at = memory.states.data_ptr(), memory.deep.data_ptr(), address(self.added)
        self.listed = None, 0  # the list that `row` tells of, and its length
        self.programs: dict[int, Program] = {}  # of a row of its own, by place (SHALLOW, EXIT)

    def tell(self, position: int, words) -> None:
        """words: the text's list (heads/shortlist.py); None: the vocabulary."""
        if self.noisy:
            self.key[0] = noise_key(self.ranker.seed, position + 1, SHARED)
        now = words, words.size if words else 0
        if now == self.listed and len(self.logits):
            return
        self.listed, row = now, self.row
        context, ids = (words.context, words.ids) if words else (None, None)
        count = 0 if context is None else len(context)
        if len(self.logits) != self.step.rows.outputs + count:
            self.logits = np.empty(self.step.rows.outputs + count, np.float32)
            row[LOGITS] = address(self.logits)
        row[[CONTEXT, MORE]] = (context.data_ptr(), count) if count else (0, 0)
        row[[IDS, LISTED]] = (0, 0) if ids is None else (ids.data_ptr(), len(ids))

    def program(self, place: int, position: int) -> Program:
        """Of this text's row alone. `place`: SHALLOW or EXIT."""
        held = self.memory.cache if place == SHALLOW else self.memory.exit_cache
        program = self.programs.get(place)
        if program is None:
            program = self.programs[place] = self.step.steps.program(self.step.layers[place], held, 1)
        return self.step.placed(program, position, held)

    def found(self) -> Ranked:
        confidence, entropy = self.facts.tolist()
        return Ranked([self.ids.tolist()], [self.scores.tolist()], [self.logs.tolist()], [], [confidence], [entropy])


class DraftStep:
    """Draft steps of one exit layer, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """steps: step.Steps. head: an exit layer (heads/base.py) in 8 bits. rows: of the LM head, in 8 bits, (S, D). count: how many best
        tokens are wanted."""
        (weight, eps), width, taps = head.norm.own, steps.target.config.hidden_size, len(head.taps)
        self.steps, self.head, self.rows, self.count, self.width, self.code = steps, head, rows, count, width, step_code()
        self.layers, many = {SHALLOW: list(steps.target.layers)[: head.exit_after], EXIT: list(head.layers)}, (MAX_ROWS, width)
        self.x, self.texts = np.zeros(many, np.float32), np.zeros((MAX_ROWS, COLUMNS), np.int64)
        self.states, self.deeps, self.added, self.tokens = np.zeros((4, MAX_ROWS), np.int64)
        self.nowhere = np.zeros(many, np.float32)  # what deep states add to rows that are only read
        table = steps.target.table
        self.given, own = np.zeros(BARRIER + 1, np.int64), {
            X: self.x, STATES: self.states, DEEPS: self.deeps, ADDED: self.added, ONES: np.ones(width, np.float32),
            SCALED: np.zeros((MAX_ROWS, max(1, taps), width), np.float32), NORM: weight, EPS: np.array([eps], np.float32),
            NORMED: np.empty(many, np.float32), CLOSED: np.empty((MAX_ROWS, words(width * max(1, taps))), np.int32),
            Y: np.empty(many, np.float32), FREQUENT: np.empty((MAX_ROWS, rows.outputs), np.float32), TEXTS: self.texts,
            TOKENS: self.tokens, BARRIER: np.zeros(2, np.int64),
        }  # fmt: skip
        for place, array in own.items():
            self.given[place] = address(array)
        self.given[[STREAM, TAPS, COUNT, BYTES]] = width, taps, count, product_code(rows.panels.dtype).address
        self.given[[TABLE, HALVES]] = table.data_ptr(), table.dtype == torch.bfloat16
        parts = (head.mix.part(0, width), head.mix.part(width, (1 + taps) * width)) if head.mix else ()
        for place, product in zip((MIX, DEEP_MIX), parts):
            self.given[place : place + 4] = _product(product)
        self.product, self.nothing, self.at = _product(rows), [0] * 4, address(self.x)
        self.alive = own, parts, table  # what has its address in `given`

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
        self._tell(row, row, texts[0].deep is not None, self.nothing)
        self.given[SHALLOW] = 0
        self._run([(EXIT, self._program(EXIT, [Segment(asked.cache, Span(asked.start), asked.states.shape[1]) for asked in texts]))])

    def __call__(self, rows: Sequence[DraftRow]) -> list[Ranked]:
        """At most MAX_ROWS rows, those that go on first. Returns the best tokens behind these."""
        going, fresh, taps = 0, False, self.given[TAPS]
        for i, (text, id, position, goes, verified, round, listed) in enumerate(rows):
            self.tokens[i], self.states[i] = id, text.states + 4 * position * self.width
            if not goes:
                continue
            text.tell(position, listed)
            new = taps and text.round != round
            self.deeps[i] = text.deep + 4 * min(position, verified) * taps * self.width if new else 0
            self.added[i], self.texts[i] = text.at, text.row
            text.round, fresh, going = round, fresh or new, going + 1
        self._tell(len(rows), going, fresh, self.product)
        places = (SHALLOW, EXIT) if going else (SHALLOW,)
        if len(rows) == 1:
            text, position = rows[0].text, rows[0].position
            self._run([(place, text.program(place, position)) for place in places])
        else:
            spans = [(row.text.memory, Span(row.position)) for row in rows]
            shallow = [Segment(memory.cache, span, 1) for memory, span in spans]
            exits = [Segment(memory.exit_cache, span, 1) for memory, span in spans[:going]]
            self._run([(place, self._program(place, segments)) for place, segments in zip(places, (shallow, exits))])
        return [row.text.found() for row in rows[:going]]

    def _tell(self, rows: int, going: int, fresh: bool, head: list[int]) -> None:
        self.given[ROWS], self.given[GOING], self.given[FRESH], self.given[HEAD : HEAD + 4] = rows, going, fresh, head

    def _program(self, place: int, segments: Sequence[Segment]) -> Program:
        if len(segments) == 1:
            ((held, (start, _), rows),) = segments
            return self.placed(self.steps.program(self.layers[place], held, rows), start, held)
        program = self.steps.program_of_texts(self.layers[place], segments)
        for held, (start, _), rows in segments:
            lengthen(held, program, start + rows)
        program.given[PROGRAM_X] = self.at
        return program

    def placed(self, program: Program, start: int, held: RowCache) -> Program:
        """The program of one text's chain, for rows from position `start` on, which it reads from `x`."""
        program.move(start)
        lengthen(held, program, start + program.rows)
        program.given[PROGRAM_X] = self.at
        return program

    def _run(self, stages: Sequence[tuple[int, Program]]) -> None:
        work = 0
        for place, program in stages:
            self.given[place], self.given[place + 1] = program.code.address, program.at
            work += program.work
        in_parallel(self.code, self.given, work)

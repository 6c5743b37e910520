"""How every draft step in one region ends: a norm, rows of the LM head, and the choice of tokens. Also what else such steps share:
embeddings, products, and what a text's choices are told and find. The files *_step.py have the steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numba import carray, njit
from torch import nn

from ...limits import MAX_ROWS
from ...sampling import SHARED, Ranked, noise_key
from ..span import Segment
from .folds import dot
from .integers import OUTPUTS, RECORD, words
from .kernels import close_rows, norm, wide
from .rank import BUCKETS, Ranker, rank_rows
from .region import Program, address, lengthen, meet
from .region import X as PROGRAM_X
from .stealing import places_at
from .threads import PanelProduct, call, floats_at, halves_at, keys_at, longs_at, meeting_place, product_code, words_at

# What every step is given: addresses, and sizes where said. COUNT: number of best tokens. BYTES: code of products in 8 bits. TOKENS: ids of
# the rows. TABLE: embeddings of all tokens; HALVES: whether those are bfloat16. HEAD: a product (weight, scale, number of panels, of
# chunks), as all products of a step. Behind these come the step's own.
STREAM, COUNT, BYTES, X, TOKENS, TABLE, HALVES, NORM, EPS, NORMED, CLOSED, FREQUENT, TEXTS, ONES, BARRIER, HEAD = range(16)
OWN = HEAD + 4
# Columns of TEXTS, a row for each choice: addresses, and numbers of context rows (MORE), of tokens in IDS, and of keys (1 with noise).
CONTEXT, MORE, LOGITS, LISTED, IDS, KEYS, KEY, BOUNDS, SCORES, LOGS, PLACES, FACTS, NUMBERS = range(13)
COLUMNS = NUMBERS + 1
UNIT = np.float32(torch.finfo(torch.float32).eps)  # rms_norm's own epsilon


@njit(nogil=True, error_model="numpy")
def times(thread, threads, g, rows, at, out):
    """One thread's share of a product of so many rows in CLOSED. The threads have met since the last one. at: of the product. out: an
    address."""
    panels, chunks = g[at + 2], g[at + 3]
    sizes = thread, threads, places_at(g[BARRIER], threads), rows, chunks * RECORD, panels, chunks
    call(g[BYTES], (*sizes, g[CLOSED], g[at], out, g[at + 1], 0))


@njit(nogil=True, error_model="numpy")
def closed_rows(g, at, low, own):
    """Where rows low .. low + own - 1 are written for `times`, as integers.py has them."""
    reads = g[at + 3] * RECORD
    return carray(words_at(g[CLOSED] + 4 * low * reads), (own, reads))


@njit(nogil=True, error_model="numpy")
def embed(g, token, x):
    """A token's embedding, into x (D,)."""
    width = g[STREAM]
    if g[HALVES]:
        halves = carray(halves_at(g[TABLE] + 2 * token * width), (width,))
        for i in range(width):
            x[i] = wide(halves[i])
    else:
        row = carray(floats_at(g[TABLE] + 4 * token * width), (width,))
        for i in range(width):
            x[i] = row[i]


@njit(nogil=True, error_model="numpy")
def to_head(thread, threads, g, x, low, rows):
    """The norm of `rows` rows into NORMED, and their products with the shortlist's rows into FREQUENT; the threads have not met behind
    these. x: this thread's rows, from row `low` on."""
    normed = carray(floats_at(g[NORMED] + 4 * low * g[STREAM]), x.shape)
    norm(x, carray(floats_at(g[NORM]), (g[STREAM],)), carray(floats_at(g[EPS]), (1,))[0], normed)
    close_rows(normed, closed_rows(g, HEAD, low, len(x)))
    meet(g[BARRIER], threads)
    times(thread, threads, g, rows, HEAD, g[FREQUENT])


@njit(nogil=True, error_model="numpy")
def context_logits(thread, threads, g, text, row):
    """One thread's share of the logits of a text's context rows. text: its row of TEXTS. row (D,): behind the norm."""
    frequent, context = g[HEAD + 2] * OUTPUTS, text[MORE]
    rows, logits = carray(floats_at(text[CONTEXT]), (context, len(row))), carray(floats_at(text[LOGITS]), (frequent + context,))
    for c in range(context * thread // threads, context * (thread + 1) // threads):
        logits[frequent + c] = dot(rows[c].ctypes.data, row.ctypes.data, len(row))


@njit(nogil=True, error_model="numpy")
def rank(g, text):
    """The best tokens by a text's logits, on one thread."""
    frequent, count = g[HEAD + 2] * OUTPUTS, g[COUNT]
    logits = carray(floats_at(text[LOGITS]), (1, frequent + text[MORE]))
    ids, keys = carray(longs_at(text[IDS]), (text[LISTED],)), carray(keys_at(text[KEY]), (text[KEYS],))
    scores, logs = carray(floats_at(text[SCORES]), (1, count)), carray(floats_at(text[LOGS]), (1, count))
    places, facts = carray(longs_at(text[PLACES]), (1, count)), carray(floats_at(text[FACTS]), (1, 2))
    nothing, bounds = carray(longs_at(text[IDS]), (0,)), carray(floats_at(text[BOUNDS]), (BUCKETS,))
    numbers = carray(floats_at(text[NUMBERS]), (2,))
    told = numbers[0], numbers[1], ids, keys, bounds, nothing, nothing
    rank_rows(0, 1, logits, *told, scores, logs, places, carray(floats_at(text[FACTS]), (0,)), facts)
    if len(ids):
        for c in range(count):
            places[0, c] = ids[places[0, c]]


@njit(nogil=True, error_model="numpy")
def choose(thread, threads, g, x, low, rows):
    """The best tokens behind each of `rows` rows, which belong to as many texts. x: this thread's rows, from row `low` on."""
    width, frequent, texts = g[STREAM], g[HEAD + 2] * OUTPUTS, carray(longs_at(g[TEXTS]), (rows, COLUMNS))
    to_head(thread, threads, g, x, low, rows)
    for t in range(rows):
        context_logits(thread, threads, g, texts[t], carray(floats_at(g[NORMED] + 4 * t * width), (width,)))
    meet(g[BARRIER], threads)
    for t in range(thread, rows, threads):
        logits, found = carray(floats_at(texts[t, LOGITS]), (frequent,)), carray(floats_at(g[FREQUENT] + 4 * t * frequent), (frequent,))
        for i in range(frequent):
            logits[i] = found[i]
        rank(g, texts[t])


class Choice:
    """One text's part of choices: what they are told, and what they find."""

    def __init__(self, step: "ChoiceStep", ranker: Ranker):
        self.outputs, self.ranker, count = step.rows.outputs, ranker, step.count
        self.logits, self.key = np.empty(0, np.float32), np.empty(1, np.uint32)
        self.numbers = np.array([ranker.temperature, ranker.least], np.float32)
        self.scores, self.logs = np.empty((2, count), np.float32)
        self.ids, self.facts, self.row = np.empty(count, np.int64), np.empty(2, np.float32), np.zeros(COLUMNS, np.int64)
        own = {KEY: self.key, BOUNDS: ranker.bounds, SCORES: self.scores, LOGS: self.logs, PLACES: self.ids, FACTS: self.facts}
        for column, array in (own | {NUMBERS: self.numbers}).items():
            self.row[column] = address(array)
        self.row[KEYS] = self.noisy = ranker.temperature > 0
        self.listed = None, 0  # the list that `row` tells of, and its length

    def tell(self, position: int, words) -> None:
        """position: of the newest token. words: the text's list (heads/shortlist.py); None: the vocabulary."""
        if self.noisy:
            self.key[0] = noise_key(self.ranker.seed, position + 1, SHARED)
        now = words, words.size if words else 0
        if now == self.listed and len(self.logits):
            return
        self.listed, row = now, self.row
        context, ids = (words.context, words.ids) if words else (None, None)
        count = 0 if context is None else len(context)
        if len(self.logits) != self.outputs + count:
            self.logits = np.empty(self.outputs + count, np.float32)
            row[LOGITS] = address(self.logits)
        row[[CONTEXT, MORE]] = (context.data_ptr(), count) if count else (0, 0)
        row[[IDS, LISTED]] = (0, 0) if ids is None else (ids.data_ptr(), len(ids))

    def found(self) -> Ranked:
        confidence, entropy = self.facts.tolist()
        return Ranked([self.ids.tolist()], [self.scores.tolist()], [self.logs.tolist()], [], [confidence], [entropy])


class ChoiceStep:
    """What all kinds of draft steps have, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int, fields: int, inputs: int):
        """steps: step.Steps. head: in 8 bits (heads/). rows: of the LM head, in 8 bits, (S, D). count: how many best tokens are wanted.
        fields: of `given`. inputs: most inputs of a product."""
        (weight, eps), width = head.norm.own, steps.target.config.hidden_size
        self.steps, self.head, self.rows, self.count, self.width = steps, head, rows, count, width
        self.x, self.texts = np.zeros((MAX_ROWS, width), np.float32), np.zeros((MAX_ROWS, COLUMNS), np.int64)
        self.tokens, table = np.zeros(MAX_ROWS, np.int64), steps.target.table
        self.given, self.at, self.alive = np.zeros(fields, np.int64), address(self.x), [table]
        self.put({
            X: self.x, TOKENS: self.tokens, NORM: weight, EPS: np.array([eps], np.float32), NORMED: np.empty_like(self.x),
            CLOSED: np.empty((MAX_ROWS, words(inputs)), np.int32), FREQUENT: np.empty((MAX_ROWS, rows.outputs), np.float32),
            TEXTS: self.texts, ONES: np.ones(width, np.float32), BARRIER: meeting_place(),
        })  # fmt: skip
        self.given[[STREAM, COUNT, BYTES]] = width, count, product_code(rows.panels.dtype).address
        self.given[[TABLE, HALVES]] = table.data_ptr(), table.dtype == torch.bfloat16
        self.put_product(HEAD, rows)

    def put(self, arrays: dict[int, np.ndarray]) -> None:
        """Addresses of arrays, by field."""
        self.alive.append(arrays)
        for place, array in arrays.items():
            self.given[place] = address(array)

    def put_product(self, place: int, product: PanelProduct) -> None:
        self.alive.append(product)
        self.given[place : place + 4] = columns_of(product)

    def placed(self, program: Program, start: int, held) -> Program:
        """The program of one text's chain, for rows from position `start` on, which it reads from `x`. held: its cache."""
        program.move(start)
        lengthen(held, program, start + program.rows)
        program.given[PROGRAM_X] = self.at
        return program

    def program(self, layers: Sequence[nn.Module], segments: Sequence[Segment]) -> Program:
        """As `placed`, for the rows of one text or of several, one after another in `x`."""
        if len(segments) == 1:
            ((held, (start, _), rows),) = segments
            return self.placed(self.steps.program(layers, held, rows), start, held)
        program = self.steps.program_of_texts(layers, segments)
        for held, (start, _), rows in segments:
            lengthen(held, program, start + rows)
        program.given[PROGRAM_X] = self.at
        return program


def columns_of(product: PanelProduct) -> list[int]:
    return [address(product.panels), address(product.facts[0]), *product.panels.shape[:2]]

"""All drafts of a round of the block head in one parallel region: rows of new tokens, the block's further places behind them, the decoder
layer, the LM head's rows for all places at once, and then place by place the correction by the previous token and the choice.

The parts are those that BlockDrafter otherwise calls, in the same order on the same numbers; a test compares the results. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...limits import MAX_ROWS
from ...sampling import Ranked
from ..cache import RowCache
from ..span import Fresh
from .choice import (
    BARRIER,
    BYTES,
    COLUMNS,
    FREQUENT,
    HEAD,
    LOGITS,
    MORE,
    NORMED,
    PLACES,
    STREAM,
    TEXTS,
    TOKENS,
    UNIT,
    Choice,
    X,
    closed_rows,
    context_logits,
    embed,
    rank,
    times,
    to_head,
)  # fmt: skip
from .integers import OUTPUTS, RECORD
from .kept import kept
from .kernels import close_rows, exp, norm
from .quantized_linear import Int8Linear
from .rank import Ranker
from .region import meet
from .threads import PanelProduct, call, floats_at, in_parallel, longs_at, team, this_thread
from .verified import BEHIND, FRESH, VerifiedStep, remember

# Behind what verified.py has. NEW: number of tokens whose rows the layer has not read; the last one is pending. CONTEXTS: address of the
# contexts of the positions before them. COUNTED: places of the block. GAIN, MASKS, CHANGE: the head's (heads/block.py); RANK: of its
# correction. STATE: a buffer, for what the places' states give it; ENTERED: one for what `enter` makes of tokens. LAYER: a program's code
# and table. ENTER, BY_STATE, BY_TOKEN: products; REACH: that of factors and BlockHead.reach.
NEW, CONTEXTS, COUNTED, GAIN, MASKS, CHANGE, RANK, STATE, ENTERED, LAYER = range(BEHIND, BEHIND + 10)
ENTER, BY_STATE, BY_TOKEN, REACH, FIELDS = (LAYER + 2 + 4 * n for n in range(5))


@njit(nogil=True, error_model="numpy")
def _read(g, token, out):
    """A token's embedding as the head reads it, into out (1, D)."""
    embed(g, token, out[0])
    norm(out, carray(floats_at(g[GAIN]), (g[STREAM],)), UNIT, out)


@njit(nogil=True, error_model="numpy")
def _enter(thread, threads, g):
    """One thread's share of the layer's input; the threads have not met behind it."""
    width, new, rows = g[STREAM], g[NEW], g[NEW] + g[COUNTED] - 1
    low = new * thread // threads
    own = new * (thread + 1) // threads - low
    tokens, read = carray(longs_at(g[TOKENS]), (new,)), np.empty((own, width), np.float32)
    for r in range(own):
        _read(g, tokens[low + r], read[r : r + 1])
    close_rows(read, closed_rows(g, ENTER, low, own))
    meet(g[BARRIER], threads)
    times(thread, threads, g, new, ENTER, g[ENTERED])
    meet(g[BARRIER], threads)
    x, masks = carray(floats_at(g[X]), (rows, width)), carray(floats_at(g[MASKS]), (g[COUNTED], width))
    contexts, entered = carray(floats_at(g[CONTEXTS]), (new, width)), carray(floats_at(g[ENTERED]), (new, width))
    for r in range(rows * thread // threads, rows * (thread + 1) // threads):
        from_row, place = min(r, new - 1), max(r - new + 1, 0)
        for i in range(width):
            x[r, i] = contexts[from_row, i] + entered[from_row, i] + masks[place, i]


@njit(nogil=True, error_model="numpy")
def _product(share, shares, g, row, at, out):
    """Of one row (1, n), which this thread alone has; each thread does its own part. out: an address."""
    panels, chunks = g[at + 2], g[at + 3]
    closed = np.empty((1, chunks * RECORD), np.int32)
    close_rows(row, closed)
    call(g[BYTES], (share, shares, 0, 1, chunks * RECORD, panels, chunks, closed.ctypes.data, g[at], out, g[at + 1], 0))


@njit(nogil=True, error_model="numpy")
def _weigh(g, place, token, factors):
    """Weights of the rows of `change` at a place, given the token before it, into factors (1, r). Every thread computes them all."""
    row, ranks = np.empty((1, g[STREAM]), np.float32), g[RANK]
    _read(g, token, row)
    _product(0, 1, g, row, BY_TOKEN, factors.ctypes.data)
    state = carray(floats_at(g[STATE] + 4 * place * ranks), (ranks,))
    for j in range(ranks):
        y = factors[0, j] + state[j]
        factors[0, j] = y / (np.float32(1) + exp(-y))


@njit(nogil=True, error_model="numpy")
def _correct(thread, threads, g, place, text, factors):
    """One thread's share of a place's logits."""
    width, panels = g[STREAM], g[HEAD + 2]
    frequent = panels * OUTPUTS
    _product(thread, threads, g, factors, REACH, text[LOGITS])
    plain, logits = carray(floats_at(g[FREQUENT] + 4 * place * frequent), (frequent,)), carray(floats_at(text[LOGITS]), (frequent,))
    for i in range(panels * thread // threads * OUTPUTS, panels * (thread + 1) // threads * OUTPUTS):  # those of its panels
        logits[i] += plain[i]
    if text[MORE]:
        row, change = carray(floats_at(g[NORMED] + 4 * place * width), (width,)).copy(), carray(floats_at(g[CHANGE]), (g[RANK], width))
        for j in range(g[RANK]):
            for i in range(width):
                row[i] += factors[0, j] * change[j, i]
        context_logits(thread, threads, g, text, row)


def _step(given):
    """One thread's share. Threads share the rows as they do in the program."""
    g = carray(given, (FIELDS,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    places = g[COUNTED]
    if g[FRESH]:
        remember(thread, threads, g)
    _enter(thread, threads, g)
    call(g[LAYER], (g[LAYER + 1],))
    meet(barrier, threads)
    low = places * thread // threads
    own = places * (thread + 1) // threads - low
    to_head(thread, threads, g, carray(floats_at(g[X] + 4 * (g[NEW] - 1 + low) * width), (own, width)), low, places)
    meet(barrier, threads)
    times(thread, threads, g, places, BY_STATE, g[STATE])
    meet(barrier, threads)
    texts, factors = carray(longs_at(g[TEXTS]), (places, COLUMNS)), np.empty((1, g[RANK]), np.float32)
    token = carray(longs_at(g[TOKENS]), (g[NEW],))[-1]
    for place in range(places):
        _weigh(g, place, token, factors)
        _correct(thread, threads, g, place, texts[place], factors)
        meet(barrier, threads)
        if thread == 0:
            rank(g, texts[place])
        meet(barrier, threads)
        token = carray(longs_at(texts[place, PLACES]), (1,))[0]


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class BlockStep(VerifiedStep):
    """Rounds of one block head, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep."""
        super().__init__(steps, head, rows, count, head.context.panels, FIELDS, steps.target.config.hidden_size)
        arrays = [tensor.detach().float().contiguous().numpy() for tensor in (head.gain, head.masks, head.change)]
        self.put(dict(zip((GAIN, MASKS, CHANGE), arrays)) | {
            STATE: np.empty((MAX_ROWS, len(head.change)), np.float32), ENTERED: np.empty_like(self.x)
        })  # fmt: skip
        reach = Int8Linear(head.reach(steps.target).T)  # a quarter of the memory, which is read for every place
        for place, product in {ENTER: head.enter, BY_STATE: head.by_state, BY_TOKEN: head.by_token, REACH: reach}.items():
            self.put_product(place, product.panels)
        self.given[RANK] = len(head.change)
        self.code, self.layers = step_code(), list(head.layers)


class BlockText:
    """One text's part of them."""

    def __init__(self, step: BlockStep, ranker: Ranker, cache: RowCache, memory: Tensor):
        """cache: the head's. memory (1, capacity + 1, D): contexts of verified positions, one position later."""
        self.step, self.cache, self.memory = step, cache, memory.data_ptr()
        self.choices = [Choice(step, ranker) for _ in range(step.head.longest)]

    def __call__(self, ids: Sequence[int], position: int, places: int, words, fresh: Fresh) -> list[Ranked]:
        """The best tokens of so many places behind the pending token, the last of `ids`, which is at `position`. ids: tokens whose rows the
        layer has not read; together with the places these are at most MAX_ROWS."""
        step, given, low = self.step, self.step.given, position + 1 - len(ids)
        step.tell_fresh([(fresh, self.memory)])
        choices = self.choices[:places]
        for place, choice in enumerate(choices):
            choice.tell(position + place, words)
            step.texts[place] = choice.row
        program = step.placed(step.steps.program(step.layers, self.cache, len(ids) + places - 1), low, self.cache)
        self.cache.truncate(position + 1)
        step.tokens[: len(ids)], given[NEW], given[COUNTED] = ids, len(ids), places
        given[CONTEXTS] = self.memory + 4 * step.width * low
        given[LAYER], given[LAYER + 1] = program.code.address, program.at
        in_parallel(step.code, given, program.work + places * step.rows.panels.size)
        return [choice.found() for choice in choices]


def block_text(steps, head: nn.Module, ranker: Ranker, count: int, *memory) -> BlockText | None:
    """A text's part of the rounds of a block head, for the `count` best tokens of every place. steps: step.Steps. memory: as BlockText has
    it. None where that is not possible."""
    step = steps.draft_step(BlockStep, head, count, [head.context, head.enter, head.by_state, head.by_token])
    return step and BlockText(step, ranker, *memory)

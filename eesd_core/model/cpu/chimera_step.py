"""A draft step of the chimera head in one parallel region: the contexts of newly verified rows, the map of the last three tokens, the
residual MLP, its rows of the LM head, and the choice. Several texts share it, with one row each.

The parts are those that ChimeraDrafter otherwise calls, in the same order on the same numbers; a test compares the results. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...limits import MAX_ROWS
from ...sampling import Ranked
from ..span import ChimeraRow
from .choice import BARRIER, ONES, STREAM, UNIT, Choice, X, choose, closed_rows, embed, times
from .integers import OUTPUTS
from .kept import kept
from .kernels import ONE, add, close_rows, exp, norm
from .rank import Ranker
from .region import meet
from .threads import PanelProduct, floats_at, in_parallel, longs_at, team, this_thread
from .verified import BEHIND, EVEN, FRESH, VerifiedStep, remember

# Behind what verified.py has. ROWS: of the pass. BACK: how many tokens a row reads. LAST: table of their ids, row by row; below 0: there is
# none. CONTEXTS: table of addresses of the rows' contexts. PLACE: table of the rows' place vectors. WIDE: a buffer. TRIGRAM, UP, DOWN:
# products.
ROWS, BACK, LAST, CONTEXTS, PLACE, WIDE, TRIGRAM = range(BEHIND, BEHIND + 7)
UP, DOWN, FIELDS = (TRIGRAM + 4 * n for n in (1, 2, 3))


@njit(nogil=True, error_model="numpy")
def _product(thread, threads, g, at, out):
    """One thread's share of a product of the rows in CLOSED, of which every thread has written its own; all have met behind it."""
    meet(g[BARRIER], threads)
    times(thread, threads, g, g[ROWS], at, out)
    meet(g[BARRIER], threads)


@njit(nogil=True, error_model="numpy")
def _hidden(thread, threads, g, low, x):
    """The norm's input, into this thread's rows x (m, D), which are from row `low` on; see ChimeraHead.hidden."""
    width, back, own, across = g[STREAM], g[BACK], len(x), g[UP + 2] * OUTPUTS
    ones, tokens = carray(floats_at(g[ONES]), (width,)), carray(floats_at(g[EVEN] + 4 * low * back * width), (own * back, width))
    last = carray(longs_at(g[LAST] + 8 * low * back), (own * back,))
    for i in range(own * back):
        if last[i] < 0:
            tokens[i] = 0
        else:
            embed(g, last[i], tokens[i])
            norm(tokens[i : i + 1], ones, UNIT, tokens[i : i + 1])
    close_rows(tokens.reshape(own, back * width), closed_rows(g, TRIGRAM, low, own))
    _product(thread, threads, g, TRIGRAM, g[X])
    contexts, places = carray(longs_at(g[CONTEXTS] + 8 * low), (own,)), carray(longs_at(g[PLACE] + 8 * low), (own,))
    for r in range(own):
        context, place = carray(floats_at(contexts[r]), (width,)), carray(floats_at(places[r]), (width,))
        for i in range(width):
            x[r, i] = x[r, i] + context[i] + place[i]
    norm(x, ones, UNIT, closed_rows(g, UP, low, own))
    _product(thread, threads, g, UP, g[WIDE])
    wide = carray(floats_at(g[WIDE] + 4 * low * across), (own, across))
    for r in range(own):
        for i in range(across):
            wide[r, i] /= ONE + exp(-wide[r, i])
    close_rows(wide, closed_rows(g, DOWN, low, own))
    _product(thread, threads, g, DOWN, g[EVEN])
    add(x, carray(floats_at(g[EVEN] + 4 * low * width), (own, width)))


def _step(given):
    """One thread's share. The threads share the rows."""
    g = carray(given, (FIELDS,))
    thread, threads, rows = np.int64(this_thread()), np.int64(team()), g[ROWS]
    if g[FRESH]:
        remember(thread, threads, g)
    low = rows * thread // threads
    x = carray(floats_at(g[X] + 4 * low * g[STREAM]), (rows * (thread + 1) // threads - low, g[STREAM]))
    _hidden(thread, threads, g, low, x)
    choose(thread, threads, g, x, low, rows)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class ChimeraStep(VerifiedStep):
    """Draft steps of one chimera head, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep."""
        trigram, up, down = (linear.panels for linear in (head.trigram, head.up, head.down))
        width = steps.target.config.hidden_size
        back = trigram.panels.shape[1] * trigram.group // width
        super().__init__(steps, head, rows, count, head.state.panels, FIELDS, max(back * width, up.width))
        self.last, self.contexts, self.at_place = np.zeros((MAX_ROWS, back), np.int64), *np.zeros((2, MAX_ROWS), np.int64)
        self.put({LAST: self.last, CONTEXTS: self.contexts, PLACE: self.at_place, WIDE: np.empty((MAX_ROWS, up.width), np.float32)})
        for place, product in ((TRIGRAM, trigram), (UP, up), (DOWN, down)):
            self.put_product(place, product)
        self.given[BACK], self.vectors = back, head.place.detach().float().contiguous()
        self.code, self.weights = step_code(), sum(product.panels.size for product in (trigram, up, down, rows))

    def __call__(self, texts: Sequence[ChimeraRow]) -> list[Ranked]:
        """The best tokens behind the last one of each text. At most MAX_ROWS texts, and as many new rows in all."""
        line, vectors = 4 * self.width, self.vectors.data_ptr()
        self.tell_fresh((asked.fresh, asked.text.memory) for asked in texts)
        for number, (text, ids, position, place, words, _) in enumerate(texts):
            text.tell(position, words)
            self.last[number] = [-1] * (self.given[BACK] - len(ids)) + ids
            self.contexts[number] = text.memory + line * (position - place)
            self.at_place[number], self.texts[number] = vectors + line * min(place, len(self.vectors) - 1), text.row
        self.given[ROWS] = len(texts)
        in_parallel(self.code, self.given, len(texts) * self.weights)
        return [asked.text.found() for asked in texts]


class ChimeraText(Choice):
    """One text's part of them."""

    def __init__(self, step: ChimeraStep, ranker: Ranker, memory: Tensor):
        """memory (1, capacity + 1, D): contexts of verified positions, one position later."""
        super().__init__(step, ranker)
        self.step, self.memory = step, memory.data_ptr()


def chimera_text(steps, head: nn.Module, ranker: Ranker, count: int, memory: Tensor) -> ChimeraText | None:
    """A text's part of the draft steps of a chimera head, for the `count` best tokens. steps: step.Steps. memory: as ChimeraText has it.
    None where that is not possible."""
    step = steps.draft_step(ChimeraStep, head, count, [head.state, head.trigram, head.up, head.down])
    return step and ChimeraText(step, ranker, memory)

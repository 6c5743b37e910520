"""A draft step of the feature head in one parallel region: the features of newly verified rows, embeddings, the mix of both, the decoder
layer, its rows of the LM head, and the choice behind the last row. Several texts share it, with as many rows as each needs.

The parts are those that FeatureDrafter otherwise calls, in the same order on the same numbers; a test compares the results. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...limits import MAX_ROWS
from ...sampling import Ranked
from ..cache import RowCache
from ..span import FeatureRows, Segment, Span
from .choice import BARRIER, ONES, STREAM, TOKENS, UNIT, Choice, X, choose, closed_rows, embed, times
from .kept import kept
from .kernels import close_rows, norm
from .rank import Ranker
from .region import meet
from .threads import PanelProduct, call, floats_at, in_parallel, longs_at, team, this_thread
from .verified import BEHIND, EVEN, FRESH, VerifiedStep, remember

# Behind what verified.py has. ROWS: of the pass. FEATURES: table of addresses of the rows' features. GOING: number of texts. LASTS, KEPT:
# tables with a row per text, of its last row's number and of the address where that row's output is kept. LAYER: a program's code and
# table. MIX: a product.
ROWS, FEATURES, GOING, LASTS, KEPT, LAYER = range(BEHIND, BEHIND + 6)
MIX = LAYER + 2
FIELDS = MIX + 4


@njit(nogil=True, error_model="numpy")
def _enter(thread, threads, g, low, own):
    """The layer's input: the mix of embeddings and features. This thread's rows are low .. low + own - 1."""
    width, tokens, ones = g[STREAM], carray(longs_at(g[TOKENS]), (low + own,)), carray(floats_at(g[ONES]), (g[STREAM],))
    features = carray(longs_at(g[FEATURES]), (low + own,))
    both = carray(floats_at(g[EVEN] + 8 * low * width), (2 * own, width))
    for r in range(own):
        embed(g, tokens[low + r], both[2 * r])
        norm(both[2 * r : 2 * r + 1], ones, UNIT, both[2 * r : 2 * r + 1])
        norm(carray(floats_at(features[low + r]), (1, width)), ones, UNIT, both[2 * r + 1 : 2 * r + 2])
    close_rows(both.reshape(own, 2 * width), closed_rows(g, MIX, low, own))
    meet(g[BARRIER], threads)
    times(thread, threads, g, g[ROWS], MIX, g[X])
    meet(g[BARRIER], threads)


def _step(given):
    """One thread's share. Threads share the rows as they do in the program; behind it a text belongs to the thread with its last row."""
    g = carray(given, (FIELDS,))
    thread, threads, rows, width = np.int64(this_thread()), np.int64(team()), g[ROWS], g[STREAM]
    if g[FRESH]:
        remember(thread, threads, g)
    low, high = rows * thread // threads, rows * (thread + 1) // threads
    _enter(thread, threads, g, low, high - low)
    call(g[LAYER], (g[LAYER + 1],))
    going = g[GOING]
    lasts, kept_at = carray(longs_at(g[LASTS]), (going,)), carray(longs_at(g[KEPT]), (going,))
    first = 0
    while first < going and lasts[first] < low:
        first += 1
    end = first
    while end < going and lasts[end] < high:
        end += 1
    chosen = carray(floats_at(g[EVEN] + 4 * first * width), (end - first, width))
    for t in range(first, end):
        last, kept_row = carray(floats_at(g[X] + 4 * lasts[t] * width), (width,)), carray(floats_at(kept_at[t]), (width,))
        for i in range(width):
            chosen[t - first, i] = kept_row[i] = last[i]
    choose(thread, threads, g, chosen, first, going)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class FeatureStep(VerifiedStep):
    """Draft steps of one feature head, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep."""
        super().__init__(steps, head, rows, count, head.project.panels, FIELDS, 2 * steps.target.config.hidden_size)
        mix = head.mix.panels
        self.put_product(MIX, mix)
        self.features, self.lasts, self.kept = np.zeros((3, MAX_ROWS), np.int64)
        self.put({FEATURES: self.features, LASTS: self.lasts, KEPT: self.kept})
        self.code, self.layers, self.weights = step_code(), list(head.layers), mix.panels.size + rows.panels.size

    def __call__(self, texts: Sequence[FeatureRows]) -> list[Ranked]:
        """The best tokens behind the last row of each text. At most MAX_ROWS rows in all."""
        given, line, low, segments = self.given, 4 * self.width, 0, []
        self.tell_fresh((asked.fresh, asked.text.memory) for asked in texts)
        for number, (text, ids, position, drafted, words, _) in enumerate(texts):
            rows = len(ids)
            high, at = low + rows, text.memory + line * position
            text.tell(position + rows - 1, words)
            self.tokens[low:high] = ids
            self.features[low:high] = text.own if drafted else range(at, at + line * rows, line)
            self.lasts[number], self.kept[number], self.texts[number] = high - 1, text.own, text.row
            segments.append(Segment(text.cache, Span(position), rows))
            low = high
        program = self.program(self.layers, segments)
        given[ROWS], given[GOING], given[LAYER], given[LAYER + 1] = low, len(texts), program.code.address, program.at
        in_parallel(self.code, given, program.work + self.weights)
        return [asked.text.found() for asked in texts]


class FeatureText(Choice):
    """One text's part of them."""

    def __init__(self, step: FeatureStep, ranker: Ranker, cache: RowCache, memory: Tensor, own: Tensor):
        """cache: the head's. memory (1, capacity + 1, D): features of verified positions, one position later. own (1, 1, D): keeps the last
        row's output, the feature of the next one."""
        super().__init__(step, ranker)
        self.step, self.cache, self.memory, self.own = step, cache, memory.data_ptr(), own.data_ptr()


def feature_text(steps, head: nn.Module, ranker: Ranker, count: int, *memory) -> FeatureText | None:
    """A text's part of the draft steps of a feature head, for the `count` best tokens. steps: step.Steps. memory: as FeatureText has it.
    None where that is not possible."""
    step = None if head.gated else steps.draft_step(FeatureStep, head, count, [head.project, head.mix])
    return step and FeatureText(step, ranker, *memory)

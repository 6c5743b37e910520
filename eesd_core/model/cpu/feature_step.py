"""A draft step of the feature head in one parallel region: the features of newly verified rows, embeddings, the mix of both, the decoder
layer, its rows of the LM head, and the choice behind the last row.

The parts are those that FeatureDrafter otherwise calls, in the same order on the same numbers; a test compares the results. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...sampling import Ranked
from ..cache import RowCache
from ..span import Fresh
from .choice import BARRIER, ONES, STREAM, TOKENS, UNIT, Choice, X, choose, closed_rows, embed, times
from .kept import kept
from .kernels import close_rows, norm
from .rank import Ranker
from .region import meet
from .threads import PanelProduct, call, floats_at, in_parallel, longs_at, team, this_thread
from .verified import BEHIND, EVEN, FRESH, VerifiedStep, remember

# Behind what verified.py has. ROWS: of the pass. FEATURES, KEPT: addresses, of the rows' features and of where the last row's output is
# kept. LAYER: a program's code and table. MIX: a product.
ROWS, FEATURES, KEPT, LAYER = range(BEHIND, BEHIND + 4)
MIX = LAYER + 2
FIELDS = MIX + 4


@njit(nogil=True, error_model="numpy")
def _enter(thread, threads, g, low, own):
    """The layer's input: the mix of embeddings and features. This thread's rows are low .. low + own - 1."""
    width, tokens, ones = g[STREAM], carray(longs_at(g[TOKENS]), (low + own,)), carray(floats_at(g[ONES]), (g[STREAM],))
    both = carray(floats_at(g[EVEN] + 8 * low * width), (2 * own, width))
    for r in range(own):
        embed(g, tokens[low + r], both[2 * r])
        norm(both[2 * r : 2 * r + 1], ones, UNIT, both[2 * r : 2 * r + 1])
        norm(carray(floats_at(g[FEATURES] + 4 * (low + r) * width), (1, width)), ones, UNIT, both[2 * r + 1 : 2 * r + 2])
    close_rows(both.reshape(own, 2 * width), closed_rows(g, MIX, low, own))
    meet(g[BARRIER], threads)
    times(thread, threads, g, g[ROWS], MIX, g[X])
    meet(g[BARRIER], threads)


def _step(given):
    """One thread's share. Threads share the rows as they do in the program; the last thread has the last row."""
    g = carray(given, (FIELDS,))
    thread, threads, rows, width = np.int64(this_thread()), np.int64(team()), g[ROWS], g[STREAM]
    if g[FRESH]:
        remember(thread, threads, g)
    low = rows * thread // threads
    _enter(thread, threads, g, low, rows * (thread + 1) // threads - low)
    call(g[LAYER], (g[LAYER + 1],))
    own = np.int64(thread == threads - 1)
    last, kept_row = carray(floats_at(g[X] + 4 * (rows - 1) * width), (own, width)), carray(floats_at(g[KEPT]), (own, width))
    for r in range(own):
        for i in range(width):
            kept_row[r, i] = last[r, i]
    choose(thread, threads, g, last, 0, 1)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class FeatureStep(VerifiedStep):
    """Draft steps of one feature head, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep."""
        super().__init__(steps, head, rows, count, head.project.panels, FIELDS)
        mix = head.mix.panels
        self.put_product(MIX, mix)
        self.code, self.layers, self.weights = step_code(), list(head.layers), mix.panels.size + rows.panels.size


class FeatureText(Choice):
    """One text's part of them."""

    def __init__(self, step: FeatureStep, ranker: Ranker, cache: RowCache, memory: Tensor, own: Tensor):
        """cache: the head's. memory (1, capacity + 1, D): features of verified positions, one position later. own (1, 1, D): keeps the last
        row's output, the feature of the next one."""
        super().__init__(step, ranker)
        self.step, self.cache, self.memory, self.own = step, cache, memory.data_ptr(), own.data_ptr()

    def __call__(self, ids: Sequence[int], position: int, words, drafted: bool, fresh: Fresh) -> Ranked:
        """The best tokens behind the last of `ids`, at most MAX_ROWS tokens from `position` on. drafted: there is one, whose feature is the
        head's own."""
        step, given, rows, line = self.step, self.step.given, len(ids), 4 * self.step.width
        step.tell_fresh(fresh, self.memory)
        self.tell(position + rows - 1, words)
        step.tokens[:rows], step.texts[0] = ids, self.row
        program = step.placed(step.steps.program(step.layers, self.cache, rows), position, self.cache)
        given[ROWS], given[KEPT], given[LAYER], given[LAYER + 1] = rows, self.own, program.code.address, program.at
        given[FEATURES] = self.own if drafted else self.memory + line * position
        in_parallel(step.code, given, program.work + step.weights)
        return self.found()


def feature_text(steps, head: nn.Module, ranker: Ranker, count: int, *memory) -> FeatureText | None:
    """A text's part of the draft steps of a feature head, for the `count` best tokens. steps: step.Steps. memory: as FeatureText has it.
    None where that is not possible."""
    step = None if head.gated else steps.draft_step(FeatureStep, head, count, [head.project, head.mix])
    return step and FeatureText(step, ranker, *memory)

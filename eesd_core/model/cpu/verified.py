"""What a head makes of newly verified rows inside of a region: one linear map of the target's states at a few depths, each scaled to
length D^.5 (FeatureHead.feature, BlockHead.verified and ChimeraHead.context in heads/). The rows may be those of several texts."""

from collections.abc import Iterable

import numpy as np
from numba import carray, njit
from torch import nn

from ...limits import MAX_ROWS
from ..span import Fresh
from .choice import BARRIER, ONES, OWN, STREAM, UNIT, ChoiceStep, X, closed_rows, times
from .kernels import close_rows, norm
from .region import meet
from .threads import PanelProduct, floats_at, longs_at

# Behind what all steps are given (choice.py). FRESH: number of new rows. TAPS: of depths. STATES: table of addresses of the states, row by
# row. EVEN: a buffer, with as many numbers a row as the widest product reads. MEMORY: table of addresses where the results go, one per
# row. PROJECT: a product.
FRESH, TAPS, STATES, EVEN, MEMORY, PROJECT = range(OWN, OWN + 6)
BEHIND = PROJECT + 4


@njit(nogil=True, error_model="numpy")
def remember(thread, threads, g):
    """One thread's share; all threads have met behind it."""
    fresh, taps, width = g[FRESH], g[TAPS], g[STREAM]
    low = fresh * thread // threads
    own = fresh * (thread + 1) // threads - low
    states, ones = carray(longs_at(g[STATES] + 8 * low * taps), (own * taps,)), carray(floats_at(g[ONES]), (width,))
    for i in range(own * taps):
        to = carray(floats_at(g[EVEN] + 4 * (low * taps + i) * width), (1, width))
        norm(carray(floats_at(states[i]), (1, width)), ones, UNIT, to)
    close_rows(carray(floats_at(g[EVEN] + 4 * low * taps * width), (own, taps * width)), closed_rows(g, PROJECT, low, own))
    meet(g[BARRIER], threads)
    times(thread, threads, g, fresh, PROJECT, g[X])
    meet(g[BARRIER], threads)
    places = carray(longs_at(g[MEMORY] + 8 * low), (own,))
    for r in range(own):
        made, to = carray(floats_at(g[X] + 4 * (low + r) * width), (width,)), carray(floats_at(places[r]), (width,))
        for i in range(width):
            to[i] = made[i]
    meet(g[BARRIER], threads)


class VerifiedStep(ChoiceStep):
    """A draft step that begins with new verified rows."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int, project: PanelProduct, fields: int, inputs: int):
        """As ChoiceStep. project: the linear map. inputs: most inputs of the head's other products of several rows."""
        taps, width = len(head.taps), steps.target.config.hidden_size
        inputs = max(inputs, taps * width)
        super().__init__(steps, head, rows, count, fields, inputs)
        self.states = np.zeros((MAX_ROWS, taps), np.int64)
        self.places = np.zeros(MAX_ROWS, np.int64)
        self.put({STATES: self.states, MEMORY: self.places, EVEN: np.zeros((MAX_ROWS, inputs), np.float32)})
        self.put_product(PROJECT, project)
        self.given[TAPS] = taps

    def tell_fresh(self, texts: Iterable[tuple[Fresh, int]]) -> None:
        """texts: of each its new rows, at most MAX_ROWS in all, and the address of its memory, of which row t + 1 belongs to position t."""
        low, line = 0, 4 * self.width
        for fresh, memory in texts:
            high = low + len(fresh.rows)
            for number, part in enumerate(fresh.states):
                self.states[low:high, number] = np.multiply(fresh.rows, 4 * part.stride(1)) + part.data_ptr()
            first = memory + line * (fresh.first + 1)
            self.places[low:high] = range(first, first + line * (high - low), line)
            low = high
        self.given[FRESH] = low

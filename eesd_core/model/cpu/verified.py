"""What a head makes of newly verified rows inside of a region: one linear map of the target's states at a few depths, each scaled to
length D^.5 (FeatureHead.feature and BlockHead.verified in heads/)."""

import numpy as np
from numba import carray, njit
from torch import nn

from ...limits import MAX_ROWS
from ..span import Fresh
from .choice import BARRIER, ONES, OWN, STREAM, UNIT, ChoiceStep, closed_rows, times
from .kernels import close_rows, norm
from .region import meet
from .threads import PanelProduct, floats_at, longs_at

# Behind what all steps are given (choice.py). FRESH: number of new rows. TAPS: of depths. STATES: table of addresses of the states, row by
# row. EVEN: a buffer. MEMORY: address where the results go. PROJECT: a product.
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
    times(thread, threads, g, fresh, PROJECT, g[MEMORY])
    meet(g[BARRIER], threads)


class VerifiedStep(ChoiceStep):
    """A draft step that begins with new verified rows."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int, project: PanelProduct, fields: int):
        """As ChoiceStep. project: what makes the head's row of a verified one."""
        taps, width = len(head.taps), steps.target.config.hidden_size
        super().__init__(steps, head, rows, count, fields, max(2, taps) * width)
        self.states = np.zeros((MAX_ROWS, taps), np.int64)
        self.put({STATES: self.states, EVEN: np.zeros((MAX_ROWS, max(2, taps), width), np.float32)})
        self.put_product(PROJECT, project)
        self.given[TAPS] = taps

    def tell_fresh(self, fresh: Fresh, memory: int) -> None:
        """fresh: at most MAX_ROWS rows. memory: address of the text's rows, of which row t + 1 belongs to position t."""
        count = self.given[FRESH] = len(fresh.rows)
        self.given[MEMORY] = memory + 4 * self.width * (fresh.first + 1)
        for number, part in enumerate(fresh.states):
            self.states[:count, number] = np.multiply(fresh.rows, 4 * part.stride(1)) + part.data_ptr()

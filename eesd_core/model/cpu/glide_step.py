"""A draft step of the glide head in one parallel region: embeddings, the layers on the target's cache, the head's rows of the LM head, and
the choice. Several texts share it, with one row each.

The parts are those that GlideDrafter otherwise calls, in the same order on the same numbers; a test compares the results. Ours.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import carray, cfunc, types
from torch import nn

from ...sampling import Ranked
from ..cache import RowCache
from ..span import GlideRow, Segment, Span
from .choice import OWN, STREAM, TOKENS, Choice, ChoiceStep, X, choose, embed
from .kept import kept
from .rank import Ranker
from .threads import PanelProduct, call, floats_at, in_parallel, longs_at, team, this_thread

# Behind what all steps are given (choice.py). ROWS: of the pass. LAYERS: a program's code and table.
ROWS, LAYERS, FIELDS = OWN, OWN + 1, OWN + 3


def _step(given):
    """One thread's share. Threads share the rows as they do in the program."""
    g = carray(given, (FIELDS,))
    thread, threads, rows, width = np.int64(this_thread()), np.int64(team()), g[ROWS], g[STREAM]
    low = rows * thread // threads
    x = carray(floats_at(g[X] + 4 * low * width), (rows * (thread + 1) // threads - low, width))
    tokens = carray(longs_at(g[TOKENS] + 8 * low), (len(x),))
    for r in range(len(x)):
        embed(g, tokens[r], x[r])
    call(g[LAYERS], (g[LAYERS + 1],))
    choose(thread, threads, g, x, low, rows)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class GlideStep(ChoiceStep):
    """Draft steps of one glide head, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep."""
        super().__init__(steps, head, rows, count, FIELDS, steps.target.config.hidden_size)
        self.code, self.layers = step_code(), list(head.layers)

    def __call__(self, texts: Sequence[GlideRow]) -> list[Ranked]:
        """The best tokens behind the last one of each text, at most MAX_ROWS texts."""
        given, segments = self.given, []
        for number, (text, id, position, words) in enumerate(texts):
            text.tell(position, words)
            self.tokens[number], self.texts[number] = id, text.row
            segments.append(Segment(text.cache, Span(position), 1))
        program = self.program(self.layers, segments)
        given[ROWS], given[LAYERS], given[LAYERS + 1] = len(texts), program.code.address, program.at
        in_parallel(self.code, given, program.work + len(texts) * self.rows.panels.size)
        return [asked.text.found() for asked in texts]


class GlideText(Choice):
    """One text's part of them."""

    def __init__(self, step: GlideStep, ranker: Ranker, cache: RowCache):
        """cache: the target's."""
        super().__init__(step, ranker)
        self.step, self.cache = step, cache


def glide_text(steps, head: nn.Module, ranker: Ranker, count: int, cache: RowCache) -> GlideText | None:
    """A text's part of the draft steps of a glide head, for the `count` best tokens. steps: step.Steps. cache: as GlideText has it. None
    where that is not possible."""
    step = steps.draft_step(GlideStep, head, count, [])
    return step and GlideText(step, ranker, cache)

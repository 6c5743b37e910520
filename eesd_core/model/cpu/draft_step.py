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
from numba import carray, cfunc, njit, types
from torch import Tensor, nn

from ...limits import MAX_ROWS
from ...sampling import Ranked
from ..cache import RowCache
from ..span import DraftRow, Segment, Span
from .choice import BARRIER, HEAD, ONES, OWN, STREAM, TOKENS, UNIT, Choice, ChoiceStep, X, choose, closed_rows, columns_of, embed, times
from .kept import kept
from .kernels import close_rows, norm
from .rank import Ranker
from .region import Program, address, meet
from .threads import PanelProduct, call, floats_at, in_parallel, longs_at, team, this_thread

# What a step is given, behind what all are given (choice.py): addresses, and sizes where said. SHALLOW, EXIT: a program's code and table;
# SHALLOW 0: the rows have passed the first layers. ROWS: of the first layers; GOING: those that go on, the first ones. MIX, DEEP_MIX:
# products; MIX 0: the exit layer reads the first layers' output as it is. HEAD 0: rows are only read. FRESH: whether deep states have to be
# read. TAPS: number of deep states. STATES, DEEPS, ADDED: tables of addresses, one per row: where the first layers' output is kept, the
# deep states (0: ADDED has them), and what they add.
ROWS, GOING, TAPS, FRESH, STATES, DEEPS, ADDED, SCALED, Y = range(OWN, OWN + 9)
SHALLOW, EXIT, MIX, DEEP_MIX, FIELDS = (OWN + 9 + n for n in (0, 2, 4, 8, 12))


@njit(nogil=True, error_model="numpy")
def _mix(thread, threads, g, low, x):
    """The exit layer's input x (m, D), this thread's rows from `low` on: the first layers' output, mixed with the deep states; see
    heads/exit_layer.py."""
    width, barrier, taps, own = g[STREAM], g[BARRIER], g[TAPS], len(x)
    y = carray(floats_at(g[Y] + 4 * low * width), (own, width))
    deeps, added = carray(longs_at(g[DEEPS] + 8 * low), (own,)), carray(longs_at(g[ADDED] + 8 * low), (own,))
    if g[FRESH]:
        wide = carray(floats_at(g[SCALED] + 4 * low * taps * width), (own, taps * width))
        for r in range(own):
            if deeps[r]:
                scaled = carray(floats_at(g[SCALED] + 4 * (low + r) * taps * width), (taps, width))
                norm(carray(floats_at(deeps[r]), (taps, width)), carray(floats_at(g[ONES]), (width,)), UNIT, scaled)
        close_rows(wide, closed_rows(g, DEEP_MIX, low, own))
        meet(barrier, threads)
        times(thread, threads, g, g[GOING], DEEP_MIX, g[Y])
        meet(barrier, threads)
        for r in range(own):
            if deeps[r]:
                to = carray(floats_at(added[r]), (width,))
                for i in range(width):
                    to[i] = y[r, i]
    close_rows(x, closed_rows(g, MIX, low, own))
    meet(barrier, threads)
    times(thread, threads, g, g[GOING], MIX, g[Y])
    meet(barrier, threads)
    for r in range(own):
        more = carray(floats_at(added[r]), (width,))
        for i in range(width):
            x[r, i] += y[r, i] + more[i]


def _step(given):
    """One thread's share. Threads share the rows as they do in the programs."""
    g = carray(given, (FIELDS,))
    thread, threads, width, barrier = np.int64(this_thread()), np.int64(team()), g[STREAM], g[BARRIER]
    if g[SHALLOW]:
        first, end = g[ROWS] * thread // threads, g[ROWS] * (thread + 1) // threads
        tokens = carray(longs_at(g[TOKENS]), (end,))
        for r in range(first, end):
            embed(g, tokens[r], carray(floats_at(g[X] + 4 * r * width), (width,)))
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
    if g[HEAD]:
        choose(thread, threads, g, x, low, going)


step_code = cache(lambda: kept(cfunc, types.void(types.CPointer(types.int64)))(_step))


class Memory(NamedTuple):
    """Where a text's draft steps read and write."""

    cache: RowCache  # the target's
    exit_cache: RowCache  # the exit layer's
    states: Tensor  # (1, capacity, D): the first layers' output
    deep: Tensor  # (1, capacity + 1, taps D): deep states, one position later (EarlyExitDrafter.deep)


class TextDraft(Choice):
    """One text's part of draft steps: what it is told, and what it finds."""

    def __init__(self, step: "DraftStep", ranker: Ranker, memory: Memory):
        super().__init__(step, ranker)
        self.step, self.memory, self.round = step, memory, -1
        self.added = np.zeros(step.width, np.float32)
        self.states, self.deep, self.at_added = memory.states.data_ptr(), memory.deep.data_ptr(), address(self.added)
        self.programs: dict[int, Program] = {}  # of a row of its own, by place (SHALLOW, EXIT)

    def program(self, place: int, position: int) -> Program:
        """Of this text's row alone. `place`: SHALLOW or EXIT."""
        held = self.memory.cache if place == SHALLOW else self.memory.exit_cache
        program = self.programs.get(place)
        if program is None:
            program = self.programs[place] = self.step.steps.program(self.step.layers[place], held, 1)
        return self.step.placed(program, position, held)


class DraftStep(ChoiceStep):
    """Draft steps of one exit layer, on one thread of Python."""

    def __init__(self, steps, head: nn.Module, rows: PanelProduct, count: int):
        """As ChoiceStep. head: an exit layer (heads/base.py)."""
        width, taps = steps.target.config.hidden_size, len(head.taps)
        super().__init__(steps, head, rows, count, FIELDS, width * max(1, taps))
        self.code, many = step_code(), (MAX_ROWS, width)
        self.layers = {SHALLOW: list(steps.target.layers)[: head.exit_after], EXIT: list(head.layers)}
        self.states, self.deeps, self.added = np.zeros((3, MAX_ROWS), np.int64)
        self.nowhere = np.zeros(many, np.float32)  # what deep states add to rows that are only read
        scaled, y = np.zeros((MAX_ROWS, max(1, taps), width), np.float32), np.empty(many, np.float32)
        self.put({STATES: self.states, DEEPS: self.deeps, ADDED: self.added, SCALED: scaled, Y: y})
        self.given[TAPS] = taps
        if head.mix:
            self.put_product(MIX, head.mix.part(0, width))
            self.put_product(DEEP_MIX, head.mix.part(width, (1 + taps) * width))
        self.product, self.nothing = columns_of(rows), [0] * 4

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
        segments = [Segment(asked.cache, Span(asked.start), asked.states.shape[1]) for asked in texts]
        self._run([(EXIT, self.program(self.layers[EXIT], segments))])

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
            self.added[i], self.texts[i] = text.at_added, text.row
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
            self._run([(place, self.program(self.layers[place], segments)) for place, segments in zip(places, (shallow, exits))])
        return [row.text.found() for row in rows[:going]]

    def _tell(self, rows: int, going: int, fresh: bool, head: list[int]) -> None:
        self.given[ROWS], self.given[GOING], self.given[FRESH], self.given[HEAD : HEAD + 4] = rows, going, fresh, head

    def _run(self, stages: Sequence[tuple[int, Program]]) -> None:
        work = 0
        for place, program in stages:
            self.given[place], self.given[place + 1] = program.code.address, program.at
            work += program.work
        in_parallel(self.code, self.given, work)

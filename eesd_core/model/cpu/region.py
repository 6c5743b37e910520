"""A pass through many layers in one parallel region.

Between two products of a step lie a few microseconds of work. Started from Python one by one, kernels and products spend more time on
being called, and on waking and joining threads, than a small model spends on its weights. Here one compiled function goes through all
layers on every thread. The threads share the rows or the outputs of each stage and meet at a barrier behind it. Ours.

It calls the kernels and products that step.py calls from Python, on the same numbers in the same order: step.py is the reference, and a
test compares them bit for bit. It needs products with panels, without biases and padding, which all read rows of one type.

Products and attention are called by their address, so they are compiled once for whatever calls them (threads.call).

Compiled code reads plain tables. A row of `parts` describes a sub-layer, a row of `texts` the rows of one text in the pass.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic
from torch import Tensor

from ..cache import RowCache
from ..layer_facts import Kind
from .atomics import change, look, put
from .attention import attend
from .kept import kept
from .kernels import add, add_norm, close_rows, norm, silu_times, turn
from .panels import ALIGNED
from .stealing import places_at
from .threads import LIBRARY, address, call, floats_at, in_parallel, longs_at, meeting_place, product_code, team, this_thread, words_at

# Columns of `parts`. A product (INTO, OUT) has seven: addresses of weight, scale, offset and code, numbers of panels, of chunks and of
# outputs. READS, WRITES: elements of the rows that the two products read. FLOATS holds two float32: epsilon of the norm, and scaling of the
# queries. KEEP: a number from 1 on where hidden states before this sub-layer are kept. A last row, whose INTO is the LM head, may follow.
FEEDS, NORM, INTO, OUT, READS, WRITES, LAYER, HEADS, GROUPS, WIDTH, COS, SIN, WINDOW, FLOATS, KEEP = 0, 1, 2, 9, *range(16, 27)
WEIGHT, SCALE, OFFSET, CODE, PANELS, PIECES, OUTPUTS = range(7)  # of a product
COLUMNS = KEEP + 1
# Columns of `texts`: sizes, then addresses. SHARED: rows of `paths`.
ROWS, START, CAPACITY, SHARED, POSITIONS, SLOTS, PATHS, DEPTHS, WINDOWS, CACHES = range(10)
# What a pass is given: sizes, then addresses of tables and buffers. SELF: address of all this. ATTENTION: of code. SEEN: of states that are
# kept. LOGITS: 0 if the pass ends before the LM head.
PARTS, TEXTS, LENGTH, STREAM, SELF, ATTENTION, TABLE, SPANS, X, READ, CLOSED, Y, QUERIES, MIXED, SEEN, LOGITS, BARRIER = range(17)
PATIENCE = 4000  # looks before a waiting thread lets others have its core: some 20 microseconds
ITEM = 4  # bytes of an element of a row
ALL = 1 << 40  # positions: no window
CONTEXT = 1 << 30  # rows of the rotary tables, which compiled code does not check


@intrinsic
def like(typing, pointer, address):
    """A pointer of the same type to another address."""
    return pointer(pointer, types.int64), lambda context, builder, signature, given: builder.inttoptr(given[1], given[0].type)


if LIBRARY:
    _let_others = types.ExternalFunction("sched_yield", types.int32())

    @njit(nogil=True)
    def meet(at, threads):
        """Wait until all threads are here. `at`: address of how many have come, followed by how often all have met. A thread looks for a
        moment and then lets other programs have its core: busy waiting could take it from the very thread that is waited for."""
        met = look(at + 8)
        if change(at, 1) == threads - 1:
            put(at, 0)
            change(at + 8, 1)
            return
        looks = 0
        while look(at + 8) == met:
            looks += 1
            if looks > PATIENCE:
                _let_others()

else:  # one thread does all the work

    @njit(nogil=True)
    def meet(at, threads):
        pass


@njit(nogil=True, error_model="numpy")
def _share(given, door):
    """One thread's share of a pass. door: a pointer, for the type of activations."""
    g = carray(given, (BARRIER + 1,))
    thread, threads = np.int64(this_thread()), np.int64(team())
    rows, stream = g[LENGTH], g[STREAM]
    parts = carray(longs_at(g[TABLE]), (g[PARTS] + 1, COLUMNS))
    numbers = carray(floats_at(g[TABLE]), (g[PARTS] + 1, COLUMNS, 2))
    low = rows * thread // threads  # this thread's rows, wherever rows are shared
    own = rows * (thread + 1) // threads - low
    x = carray(floats_at(g[X] + 4 * low * stream), (own, stream))
    y = x
    for p in range(g[PARTS]):
        reads, writes = parts[p, READS], parts[p, WRITES]
        weights, eps = carray(floats_at(parts[p, NORM]), (stream,)), numbers[p, FLOATS, 0]
        mine = carray(like(door, g[READ] + ITEM * low * reads), (own, reads))
        if p == 0:
            norm(x, weights, eps, mine)
        else:
            add_norm(x, y, weights, eps, mine)
        if parts[p, KEEP]:
            first = (parts[p, KEEP] - 1) * rows + low
            kept_rows = carray(floats_at(g[SEEN] + 4 * first * stream), (own, stream))
            for r in range(own):
                for i in range(stream):
                    kept_rows[r, i] = x[r, i]
        y = _product(thread, threads, g, parts, p, INTO, READ, reads, g[Y])
        mine = carray(like(door, g[CLOSED] + ITEM * low * writes), (own, writes))
        if parts[p, FEEDS]:
            silu_times(y, mine)
        else:
            call(g[ATTENTION], (thread, threads, g[SELF], np.int64(p)))
            wide = parts[p, HEADS] * parts[p, WIDTH]
            close_rows(carray(floats_at(g[MIXED] + 4 * low * wide), (own, wide)), mine)
        y = _product(thread, threads, g, parts, p, OUT, CLOSED, writes, g[Y])
    add(x, y)
    if g[LOGITS]:
        head = g[PARTS]
        reads, weights = parts[head, READS], carray(floats_at(parts[head, NORM]), (stream,))
        norm(x, weights, numbers[head, FLOATS, 0], carray(like(door, g[READ] + ITEM * low * reads), (own, reads)))
        _product(thread, threads, g, parts, head, INTO, READ, reads, g[LOGITS])


@njit(nogil=True, error_model="numpy")
def _product(thread, threads, g, parts, p, at, buffer, reads, out):
    """The rows in `buffer` (READ or CLOSED), of which every thread has written its own, times the weights `at` INTO or OUT, to the address
    `out`; all threads have met behind it. Returns this thread's rows of the result."""
    rows, outputs = g[LENGTH], parts[p, at + OUTPUTS]
    low = rows * thread // threads
    own = rows * (thread + 1) // threads - low
    meet(g[BARRIER], threads)
    sizes = thread, threads, places_at(g[BARRIER], threads), rows, reads, parts[p, at + PANELS], parts[p, at + PIECES]
    addresses = g[buffer], parts[p, at + WEIGHT], out, parts[p, at + SCALE], parts[p, at + OFFSET]
    call(parts[p, at + CODE], sizes + addresses)
    meet(g[BARRIER], threads)
    return carray(floats_at(out + 4 * low * outputs), (own, outputs))


def _attention(thread, threads, given, p):
    """Queries, keys and values of part p from Y, and attention into MIXED; all threads have met behind it."""
    g = carray(longs_at(given), (BARRIER + 1,))
    parts = carray(longs_at(g[TABLE]), (g[PARTS], COLUMNS))
    texts = carray(longs_at(g[SPANS]), (g[TEXTS], CACHES + 1))
    scaling = carray(floats_at(g[TABLE]), (g[PARTS], COLUMNS, 2))[p, FLOATS, 1]
    heads, groups, width = parts[p, HEADS], parts[p, GROUPS], parts[p, WIDTH]
    wide, across = heads * width, (heads + 2 * groups) * width
    cos, sin = carray(floats_at(parts[p, COS]), (CONTEXT, width // 2)), carray(floats_at(parts[p, SIN]), (CONTEXT, width // 2))
    for attends in range(2):
        first = 0
        for t in range(len(texts)):
            rows, shape = texts[t, ROWS], (texts[t, CAPACITY], groups, width)
            caches = carray(longs_at(texts[t, CACHES]), (parts[p, LAYER] + 1, 2))
            keys, values = carray(floats_at(caches[parts[p, LAYER], 0]), shape), carray(floats_at(caches[parts[p, LAYER], 1]), shape)
            if attends:
                queries = carray(floats_at(g[QUERIES] + 4 * first * wide), (rows, heads, width))
                paths = carray(longs_at(texts[t, PATHS]), (texts[t, SHARED], rows))
                depths = carray(longs_at(texts[t, DEPTHS]), (rows,))
                windows = carray(longs_at(texts[t, WINDOWS] + 8 * parts[p, WINDOW] * rows), (rows,))
                out = carray(floats_at(g[MIXED] + 4 * first * wide), (rows, wide))
                share, places = (thread + t) % threads, places_at(g[BARRIER], threads) if len(texts) == 1 else 0
                attend(share, threads, places, queries, keys, values, texts[t, START], paths, depths, windows, out)
            else:
                low = rows * thread // threads
                own = rows * (thread + 1) // threads - low
                y = carray(floats_at(g[Y] + 4 * (first + low) * across), (own, across))
                positions = carray(longs_at(texts[t, POSITIONS] + 8 * low), (own,))
                slots = carray(longs_at(texts[t, SLOTS] + 8 * low), (own,))
                queries = carray(floats_at(g[QUERIES] + 4 * (first + low) * wide), (own, heads, width))
                turn(y, positions, slots, cos, sin, queries, keys, values, scaling)
            first += rows
        meet(g[BARRIER], threads)


def _of_floats(given):
    _share(given, floats_at(0))


def _of_words(given):
    _share(given, words_at(0))


attention_code = cache(lambda: kept(cfunc, types.void(*[types.int64] * 4))(_attention))
_PASSES = {torch.float32: _of_floats, torch.int32: _of_words}


@cache
def pass_code(door: torch.dtype):
    """A pass through layers whose products read rows of this type."""
    return kept(cfunc, types.void(types.CPointer(types.int64)))(_PASSES[door])


def product_columns(product) -> list[int]:
    """The columns of a threads.PanelProduct."""
    scale, offset = (*product.facts, None)[:2]
    places = address(product.panels), address(scale), 0 if offset is None else address(offset)
    return [*places, product_code(product.panels.dtype).address, *product.panels.shape[:2], product.width]


class Aimed:
    """What chains of several texts have in common, whose rows fill a program: written once, and only their places at every pass."""

    def __init__(self, rows: int, kinds: Sequence[Kind]):
        self.steps, self.positions = np.arange(rows), np.empty(rows, np.int64)
        self.at, self.path = address(self.positions), address(self.steps)
        self.kept = [np.repeat([kind.window or ALL for kind in kinds], count) for count in range(rows + 1)]  # windows, by rows of a text
        self.windows = [address(windows) for windows in self.kept]

    def write(self, chains: Sequence, spans: np.ndarray) -> None:
        """The rows of `texts` into `spans`. The cache places of a chain are its positions."""
        first, found = 0, []
        for held, (start, _), rows in chains:
            self.positions[first : first + rows] = self.steps[:rows] + start
            at = self.at + 8 * first
            sizes = rows, start, held.capacity, 1
            found.append((*sizes, at, at, self.path, self.path, self.windows[rows], address(held.addresses)))
            first += rows
        spans[: len(found)] = found


class Program:
    """A pass over some layers and so many rows: its tables and buffers. It may be run again, at another place and for another tree too,
    since making them takes longer than a small model's layers."""

    def __init__(self, parts: Sequence, rows: int, stream: int, texts: Sequence, keeps: Sequence[int] = (), end=None):
        """parts: step.Attention or step.Feed, each with its `row` (COLUMNS,). texts: step.Pass. keeps: numbers of the parts before which
        hidden states are kept. end: a step.End, if norm and LM head follow."""
        table, attentions = np.array([part.row for part in (*parts, end or parts[0])]), [part for part in parts if part.kind]
        table[list(keeps), KEEP] = np.arange(1, len(keeps) + 1)
        kinds = list(dict.fromkeys(part.kind for part in attentions))
        if len(kinds) > 1:
            table[:-1, WINDOW] = [kinds.index(part.kind) if part.kind else 0 for part in parts]
        self.spans, self.cached, windows = np.empty((rows, CACHES + 1), np.int64), [part.index for part in attentions], []
        for span, text in zip(self.spans, texts):  # a text has a row at least
            windows.append(np.array([text.windows(kind) for kind in kinds]))
            arrays = text.positions, text.slots, text.paths, text.depths, windows[-1], text.cache.addresses
            span[:] = len(text.slots), text.start, text.cache.capacity, len(text.paths), *map(address, arrays)
        reads, outputs = int(table[:, READS : WRITES + 1].max()), int(table[:, [INTO + OUTPUTS, OUT + OUTPUTS]].max())
        wide = max((part.heads * part.width for part in attentions), default=0)
        widths = ITEM * reads, ITEM * reads, 4 * outputs, 4 * wide, 4 * wide  # bytes of a row, from READ to MIXED
        room = torch.empty(rows * sum(widths) + ALIGNED * len(widths), dtype=torch.uint8)
        buffers, place = [], room.data_ptr()
        for width in widths:
            buffers.append(place)
            place += -(-rows * width // ALIGNED) * ALIGNED
        barrier = meeting_place()
        places = 0, attention_code().address, address(table), address(self.spans), 0
        self.given = np.array([len(parts), len(texts), rows, stream, *places, *buffers, 0, 0, address(barrier)])
        self.given[SELF] = self.at = address(self.given)
        self.rows, self.stream, self.keeps, self.end = rows, stream, keeps, end
        weights = sum(product.panels.size for part in parts for product in (part.into.panels, part.out.panels))
        weights += end.into.panels.panels.size if end else 0
        self.code, self.work = pass_code(parts[0].into.door), rows * weights
        self.steps, self.places = np.arange(rows), [(text.positions, text.slots) for text in texts]
        self.paths = [(text.paths, text.depths) for text in texts]
        self.kinds: list[Kind] = kinds
        self.aimed: Aimed | None = None
        # Whatever has its address in `given`. Caches are not among it: they live as long as their texts, and keep programs themselves.
        self.alive = parts, table, windows, room, barrier

    def move(self, start: int, parents: Sequence[int] = ()) -> None:
        """To another place, for a chain of one text whose windows do not depend on it, or for a tree if it was made for one."""
        self.spans[0, START] = start
        (positions, slots), (paths, depths) = self.places[0], self.paths[0]
        if parents:
            lay_tree(parents, paths, depths)
        np.add(depths, start, out=positions)
        np.add(self.steps, start, out=slots)

    def aim(self, chains: Sequence) -> None:
        """At chains of other texts, or at other places, of as many rows in all. chains: span.Segment, whose windows differ by kind only."""
        if self.aimed is None:
            self.aimed = Aimed(self.rows, self.kinds)
        self.given[TEXTS] = len(chains)
        self.aimed.write(chains, self.spans)

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden (1, m, D) float32 -> (1, m, D)."""
        x = hidden.clone(memory_format=torch.contiguous_format)
        self.given[X] = x.data_ptr()
        in_parallel(self.code, self.given, self.work)
        return x

    def to_the_end(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of a program with an `end`: the output of the layers (1, m, D), what was kept (number of `keeps`, m, D), logits (m, V)."""
        seen, logits = torch.empty(len(self.keeps), self.rows, self.stream), torch.empty(self.rows, self.end.into.panels.width)
        self.given[SEEN], self.given[LOGITS] = seen.data_ptr(), logits.data_ptr()
        return self(hidden), seen, logits


def lay_tree(parents: Sequence[int], paths: np.ndarray, depths: np.ndarray) -> None:
    """Write the paths (m, m) and depths (m,) of a tree's rows, as step.Pass has them."""
    for row, parent in enumerate(parents):
        depths[row] = 0 if parent < 0 else depths[parent] + 1
        paths[row, : depths[row]] = paths[parent, : depths[row]]
        paths[row, depths[row]] = row


def lengthen(cache: RowCache, program: Program, length: int) -> None:
    for layer in program.cached:
        cache.lengths[layer] = length

"""Kernels on torch's own threads.

torch's products run on the threads of its OpenMP library, which wait in a loop for the next product. Threads of another pool, numba's or
Python's, would compete with them for the cores. So each thread's share is handed to that same library, through the entry point that
compilers use for `omp parallel`, which takes a few microseconds. Where torch uses another library, one thread does all the work.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import llvmlite.binding
import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .attention import attend
from .integers import RECORD
from .kept import kept
from .panels import multiply, multiply_integers
from .stealing import MOST, places_at
from .tiles import CHUNKS
from .vectors import CACHE_LINE

MAPS = Path("/proc/self/maps")
LINE = CACHE_LINE // 8  # whole numbers
FEW = 1 << 14  # pairs of a query and a place: with fewer, one thread is as fast
LIGHT = 1 << 18  # weights times rows: with fewer, waking a second thread costs more than it saves


def _library() -> ctypes.CDLL | None:
    lines = MAPS.read_text().splitlines() if MAPS.exists() else ()
    path = next((line.split(maxsplit=5)[5] for line in lines if "libgomp" in line), None)
    return ctypes.CDLL(path) if path else None


def _pointer(kind: types.Type, element: ir.Type):
    """A function for kernels: turns an address into a pointer to numbers of a type."""

    @intrinsic
    def at(typing, address):
        def generate(context, builder, signature, given):
            return builder.inttoptr(given[0], element.as_pointer())

        return types.CPointer(kind)(types.int64), generate

    return at


floats_at = _pointer(types.float32, ir.FloatType())
longs_at = _pointer(types.int64, ir.IntType(64))
words_at = _pointer(types.int32, ir.IntType(32))
bytes_at = _pointer(types.int8, ir.IntType(8))
halves_at = _pointer(types.uint16, ir.IntType(16))
blocks_at = _pointer(types.uint8, ir.IntType(8))
keys_at = _pointer(types.uint32, ir.IntType(32))
SHAPES = tuple((chunk.outputs, chunk.elements) for chunk in CHUNKS.values())  # of a chunk of a panel
OF_FLOATS, OF_HALVES, OF_BYTES, OF_BLOCKS = SHAPES

LIBRARY = _library()
if LIBRARY:
    for symbol in ("omp_get_thread_num", "omp_get_num_threads"):
        llvmlite.binding.add_symbol(symbol, ctypes.cast(getattr(LIBRARY, symbol), ctypes.c_void_p).value)
    LIBRARY.GOMP_parallel.argtypes, LIBRARY.GOMP_parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    this_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
    team = types.ExternalFunction("omp_get_num_threads", types.int32())  # may be fewer threads than were asked for
else:

    @njit(nogil=True)
    def this_thread():
        return np.int32(0)

    @njit(nogil=True)
    def team():
        return np.int32(1)


def address(array: np.ndarray) -> int:
    return torch.from_numpy(array).data_ptr()  # numpy takes five times as long


def meeting_place() -> np.ndarray:
    """Where the threads of a team meet (region.meet), and in the cache lines behind, the places of stealing.py."""
    return np.zeros((1 + MOST) * LINE, np.int64)


def in_parallel(code, given: np.ndarray, work: int) -> None:
    """Call a compiled function of one pointer on every thread. `work`: weights times rows."""
    if LIBRARY:
        LIBRARY.GOMP_parallel(code.address, address(given), _threads(work, LIGHT), 0)
    else:
        code.ctypes(given.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)))


def _attend(given):
    """One thread's share of `attend`. `given`: m, H, d, G, capacity, start, rows of paths, then eight addresses."""
    it = carray(given, 15)
    rows, heads, width, groups, capacity = it[0], it[1], it[2], it[3], it[4]
    queries = carray(floats_at(it[7]), (rows, heads, width))
    keys, values = carray(floats_at(it[8]), (capacity, groups, width)), carray(floats_at(it[9]), (capacity, groups, width))
    paths, depths, windows = carray(longs_at(it[10]), (it[6], rows)), carray(longs_at(it[11]), (rows,)), carray(longs_at(it[12]), (rows,))
    out = carray(floats_at(it[13]), (rows, heads * width))
    share, shares = np.int64(this_thread()), np.int64(team())  # a system may give fewer threads than were asked for
    attend(share, shares, places_at(it[14], shares), queries, keys, values, it[5], paths, depths, windows, out)


@intrinsic
def call(typing, code, arguments):
    """Call machine code by its address, with a tuple of whole numbers and addresses. It is then compiled once, and not again inside of
    whatever calls it."""
    count = len(arguments)

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * count)
        builder.call(builder.inttoptr(given[0], kind.as_pointer()), cgutils.unpack_tuple(builder, given[1], count))
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, count)), generate


def _floats(share, shares, places, rows, inputs, panels, chunks, x, weight, out, scale, offset):
    outputs = panels * OF_FLOATS[0]
    weights, scales = carray(floats_at(weight), (panels, chunks, *OF_FLOATS)), carray(floats_at(scale), (outputs,))
    multiply(share, shares, places, carray(floats_at(x), (rows, inputs)), weights, carray(floats_at(out), (rows, outputs)), scales)


def _halves(share, shares, places, rows, inputs, panels, chunks, x, weight, out, scale, offset):
    outputs = panels * OF_HALVES[0]
    weights, scales = carray(halves_at(weight), (panels, chunks, *OF_HALVES)), carray(floats_at(scale), (outputs,))
    multiply(share, shares, places, carray(floats_at(x), (rows, inputs)), weights, carray(floats_at(out), (rows, outputs)), scales)


def _bytes(share, shares, places, rows, inputs, panels, chunks, x, weight, out, scale, offset):
    outputs = panels * OF_BYTES[0]
    weights, scales = carray(bytes_at(weight), (panels, chunks, *OF_BYTES)), carray(floats_at(scale), (outputs,))
    rows_read, outs = carray(words_at(x), (rows, inputs)), carray(floats_at(out), (rows, outputs))
    multiply_integers(share, shares, places, rows_read, weights, outs, scales, scales)


def _blocks(share, shares, places, rows, inputs, panels, chunks, x, weight, out, scale, offset):
    outputs, facts = panels * OF_BLOCKS[0], (panels, chunks, OF_BLOCKS[0])
    scales, offsets = carray(halves_at(scale), facts), carray(halves_at(offset), facts)
    rows_read, outs = carray(words_at(x), (rows, inputs)), carray(floats_at(out), (rows, outputs))
    multiply_integers(share, shares, places, rows_read, carray(blocks_at(weight), (panels, chunks, *OF_BLOCKS)), outs, scales, offsets)


_KINDS = dict(zip(CHUNKS, (_floats, _halves, _bytes, _blocks)))


@cache
def product_code(kind: np.dtype):
    """One thread's share of a product with weights of this type: panels.multiply or multiply_integers, for `call`. Arguments: share,
    shares, address of places for stealing (or 0); rows, elements of a row, panels, chunks; addresses of x, weight, out, scale, offset (in
    4 bits only)."""
    return kept(cfunc, types.void(*[types.int64] * 12))(_KINDS[kind])


def multiply_share(given):
    """One thread's share. `given`: the product's code and its arguments."""
    it = carray(given, 11)
    share, shares = np.int64(this_thread()), np.int64(team())
    call(it[0], (share, shares, places_at(it[10], shares), it[1], it[2], it[3], it[4], it[5], it[6], it[7], it[8], it[9]))


@cache
def in_shares(share: Callable) -> Callable[[tuple[int, ...], tuple[np.ndarray, ...], int], None]:
    """A function that makes every thread do its share."""
    code = kept(cfunc, types.void(types.CPointer(types.int64)))(share)

    def run(numbers: tuple[int, ...], arrays: tuple[np.ndarray, ...], threads: int) -> None:
        given = np.array([*numbers, *(array.ctypes.data for array in arrays)], np.int64)
        LIBRARY.GOMP_parallel(code.address, given.ctypes.data, threads, 0)

    return run


def _threads(work: int, least: int) -> int:
    return 1 if LIBRARY is None or work < least else torch.get_num_threads()


def attend_by_threads(queries, keys, values, start, paths, depths, windows, out) -> None:
    """attention.attend over all rows and heads."""
    threads = _threads(len(depths) * (start + len(depths)) * queries.shape[1], FEW)
    if threads == 1:
        attend(0, 1, 0, queries, keys, values, start, paths, depths, windows, out)
    else:
        sizes = (*queries.shape, keys.shape[1], keys.shape[0], start, len(paths))
        in_shares(_attend)(sizes, (queries, keys, values, paths, depths, windows, out, meeting_place()), threads)


class PanelProduct:
    """The product with packed weights, on all threads."""

    def __init__(self, panels: np.ndarray, outputs: int, inputs: int, *facts: np.ndarray):
        """`facts`: scale, and in 4 bits offset."""
        self.panels, self.outputs, self.facts, chunk = panels, outputs, facts, CHUNKS[panels.dtype]
        self.width, self.group = len(panels) * chunk.outputs, chunk.inputs
        self.missing = panels.shape[1] * chunk.inputs - inputs  # inputs that pad the last chunk
        self.reads = panels.shape[1] * (RECORD if panels.itemsize == 1 else chunk.inputs)  # elements of a row

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Rows (m, inputs) float32, or (m, words) int32 for weights in 8 and 4 bits (integers.py) -> (m, outputs) float32."""
        if x.shape[1] < self.reads:
            x = np.pad(x, ((0, 0), (0, self.missing)))
        out = np.empty((len(x), self.width), np.float32)
        arrays = np.ascontiguousarray(x), self.panels, out, self.facts[0], self.facts[-1]
        numbers, threads = (*x.shape, *self.panels.shape[:2]), _threads(len(x) * self.panels.size, LIGHT)
        if threads == 1:
            product_code(self.panels.dtype).ctypes(0, 1, 0, *numbers, *(array.ctypes.data for array in arrays))
        else:
            in_shares(multiply_share)((product_code(self.panels.dtype).address, *numbers), (*arrays, meeting_place()), threads)
        return out if self.width == self.outputs else np.ascontiguousarray(out[:, : self.outputs])

    @property
    def padded(self) -> bool:
        return self.missing > 0 or self.width != self.outputs

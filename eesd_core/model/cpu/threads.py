"""Kernels on torch's own threads.

Products run on the threads of torch's OpenMP library, which wait in a loop for the next product. Threads of another pool, numba's or
Python's, would fight with them for the cores. So the share of every thread is handed to that same library, by the entry that compilers
use for `omp parallel`: a few microseconds. Where torch has another library, one thread does it all.
"""

import ctypes
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import llvmlite.binding
import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from .kernels import attend, kept, multiply, multiply_whole

MAPS = Path("/proc/self/maps")
FEW = 1 << 14  # pairs of a query and a place, or products: below, one thread is as fast


def _library() -> ctypes.CDLL | None:
    lines = MAPS.read_text().splitlines() if MAPS.exists() else ()
    path = next((line.split(maxsplit=5)[5] for line in lines if "libgomp" in line), None)
    return ctypes.CDLL(path) if path else None


def _pointer(kind: types.Type, element: ir.Type):
    """A function for kernels: the pointer to numbers of a kind at an address."""

    @intrinsic
    def at(typing, address):
        def generate(context, builder, signature, given):
            return builder.inttoptr(given[0], element.as_pointer())

        return types.CPointer(kind)(types.int64), generate

    return at


floats_at = _pointer(types.float32, ir.FloatType())
longs_at = _pointer(types.int64, ir.IntType(64))
shorts_at = _pointer(types.int16, ir.IntType(16))
bytes_at = _pointer(types.int8, ir.IntType(8))
this_thread = types.ExternalFunction("omp_get_thread_num", types.int32())


def _attend(given):
    """One thread's share. `given`: threads, m, H, d, G, capacity, start, rows of paths, then seven addresses."""
    it = carray(given, 15)
    rows, heads, width, groups, capacity = it[1], it[2], it[3], it[4], it[5]
    queries = carray(floats_at(it[8]), (rows, heads, width))
    keys, values = carray(floats_at(it[9]), (capacity, groups, width)), carray(floats_at(it[10]), (capacity, groups, width))
    paths, depths, windows = carray(longs_at(it[11]), (it[7], rows)), carray(longs_at(it[12]), (rows,)), carray(longs_at(it[13]), (rows,))
    out = carray(floats_at(it[14]), (rows, heads * width))
    attend(this_thread(), it[0], queries, keys, values, it[6], paths, depths, windows, out)


def _multiply_floats(given):
    """One thread's share. `given`: threads, m, K, N, then four addresses."""
    it = carray(given, 8)
    x, weight = carray(floats_at(it[4]), (it[1], it[2])), carray(floats_at(it[5]), (it[3], it[2]))
    multiply(this_thread(), it[0], x, weight, carray(floats_at(it[6]), (it[3],)), carray(floats_at(it[7]), (it[1], it[3])))


def _multiply_whole(given):
    it = carray(given, 8)
    x, weight = carray(shorts_at(it[4]), (it[1], it[2])), carray(bytes_at(it[5]), (it[3], it[2]))
    multiply_whole(this_thread(), it[0], x, weight, carray(floats_at(it[6]), (it[3],)), carray(floats_at(it[7]), (it[1], it[3])))


def _compiled(library: ctypes.CDLL, share) -> Callable[[tuple[int, ...], tuple[np.ndarray, ...]], None]:
    """A function that has every thread do its share."""
    llvmlite.binding.add_symbol(this_thread.symbol, ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p).value)
    code, parallel = kept(cfunc, types.void(types.CPointer(types.int64)))(share), library.GOMP_parallel
    parallel.argtypes, parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None

    def run(numbers: tuple[int, ...], arrays: tuple[np.ndarray, ...]) -> None:
        """`numbers`: of threads, then sizes."""
        given = np.array([*numbers, *(array.ctypes.data for array in arrays)], np.int64)
        parallel(code.address, given.ctypes.data, numbers[0], 0)

    return run


_found = _library()
_shares = cache(partial(_compiled, _found))


def _threads(work: int) -> int:
    return 1 if _found is None or work < FEW else torch.get_num_threads()


def attend_by_threads(queries, keys, values, start, paths, depths, windows, out) -> None:
    """As kernels.attend over all rows and groups."""
    threads = _threads(len(depths) * (start + len(depths)) * queries.shape[1])
    if threads == 1:
        attend(0, 1, queries, keys, values, start, paths, depths, windows, out)
    else:
        sizes = (threads, *queries.shape, keys.shape[1], keys.shape[0], start, len(paths))
        _shares(_attend)(sizes, (queries, keys, values, paths, depths, windows, out))


def multiply_by_threads(x, weight, scale, out) -> None:
    """As kernels.multiply, or multiply_whole, over all outputs."""
    threads, whole = _threads(weight.size), weight.dtype == np.int8
    if threads == 1:
        (multiply_whole if whole else multiply)(0, 1, x, weight, scale, out)
    else:
        _shares(_multiply_whole if whole else _multiply_floats)((threads, *x.shape, len(weight)), (x, weight, scale, out))

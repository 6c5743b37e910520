"""What a decoder layer computes between its products, as loops that numba compiles. Arithmetic is float32.

Between the products of a plain step lie some forty small torch operations a layer, each with more dispatch than arithmetic. Here they
are a few functions. Every row of a pass runs the same loop, whatever the number of rows and its place among them, so a verify pass repeats
plain steps bit for bit: by arithmetic, over any context.

Arrays have the types that products read and write: float32, bfloat16 viewed as uint16, or blocks of 8-bit numbers in int32 (integers.py).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

from .folds import dot
from .integers import GROUP, RECORD, close_block
from .kept import kept

ONE, HALF = np.float32(1), np.float32(0.5)
FREE = {"nnan", "ninf", "nsz", "arcp", "contract", "afn"}  # all of `fastmath` but leave to reorder sums: see folds.py
kernel = kept(njit, fastmath=FREE, nogil=True, error_model="numpy")


@intrinsic
def float_of_bits(typing, bits):
    return types.float32(types.int32), lambda context, builder, signature, given: builder.bitcast(given[0], ir.FloatType())


@intrinsic
def bits_of_float(typing, number):
    return types.int32(types.float32), lambda context, builder, signature, given: builder.bitcast(given[0], ir.IntType(32))


def wide(number):
    """To float32; uint16 holds bfloat16."""


@overload(wide, inline="always")
def _wide(number):
    if isinstance(number, types.Float):
        return lambda number: number
    return lambda number: float_of_bits(np.int32(number) << np.int32(16))


@register_jitable
def exp(x):
    """e^x of a float32, to 1e-7: powers of two by the exponent's bits, the rest by Cephes' polynomial. The library's exp is not
    vectorised."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.44269504) + HALF)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + ONE
    return p * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


def close_row(row, out, r):
    """Write a float32 row (n,) to out[r] as the next product reads it: float32, bfloat16 (rounded to nearest even), or blocks of 8-bit
    numbers."""


@overload(close_row)
def _close_row(row, out, r):
    if out.dtype == types.float32:

        def close(row, out, r):
            for i in range(len(row)):
                out[r, i] = row[i]

    elif out.dtype == types.uint16:

        def close(row, out, r):
            for i in range(len(row)):
                bits = bits_of_float(row[i])
                out[r, i] = np.uint16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))

    else:

        def close(row, out, r):
            here = out.ctypes.data + 4 * r * out.shape[1]
            whole = len(row) // GROUP
            for g in range(whole):
                close_block(row.ctypes.data + 4 * g * GROUP, here + 4 * g * RECORD)
            if whole * GROUP < len(row):
                last = np.zeros(GROUP, np.float32)
                for i in range(whole * GROUP, len(row)):
                    last[i - whole * GROUP] = row[i]
                close_block(last.ctypes.data, here + 4 * whole * RECORD)

    return close


@kernel
def close_rows(x, out):
    """x (m, n) float32 -> out, as a product reads it."""
    for r in range(x.shape[0]):
        close_row(x[r], out, r)


@register_jitable
def _norm_row(x, r, weight, eps, row):
    total = dot(x[r].ctypes.data, x[r].ctypes.data, x.shape[1])
    by = ONE / np.sqrt(total / np.float32(x.shape[1]) + eps)
    for i in range(x.shape[1]):
        row[i] = x[r, i] * by * weight[i]


@kernel
def norm(x, weight, eps, out):
    """RMS norm. x (m, D) float32 -> out, as a product reads it."""
    row = np.empty(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        _norm_row(x, r, weight, eps, row)
        close_row(row, out, r)


@kernel
def add(x, y):
    """x (m, D) float32 += y (m, D)."""
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[r, i] += wide(y[r, i])


@kernel
def add_norm(x, y, weight, eps, out):
    """`add`, then `norm`."""
    row = np.empty(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[r, i] += wide(y[r, i])
        _norm_row(x, r, weight, eps, row)
        close_row(row, out, r)


@kernel
def silu_times(y, out):
    """y (m, 2 F) holds gate and up -> silu(gate) * up, out (m, F) as a product reads it."""
    width = y.shape[1] // 2
    row = np.empty(width, np.float32)
    for r in range(y.shape[0]):
        for i in range(width):
            gate, up = wide(y[r, i]), wide(y[r, width + i])
            row[i] = gate / (ONE + exp(-gate)) * up
        close_row(row, out, r)


@kernel
def gather(table, ids, out):
    """Embeddings: rows `ids` (m,) of the table (V, D) -> out (m, D) float32."""
    for r in range(len(ids)):
        for i in range(table.shape[1]):
            out[r, i] = wide(table[ids[r], i])


@kernel
def turn(y, positions, slots, cos, sin, queries, keys, values, scaling):
    """Rotary positions, and writing to the cache. y (m, (H + 2 G) d) holds queries, keys and values of tokens at positions (m,).
    Writes queries (m, H, d), multiplied by `scaling`; keys and values go to places slots (m,) of the cache, (capacity, G, d). cos, sin
    (context, d / 2)."""
    heads, width = queries.shape[1], queries.shape[2]
    groups, half = keys.shape[1], queries.shape[2] // 2
    for r in range(y.shape[0]):
        position, slot = np.uint64(positions[r]), np.uint64(slots[r])
        for h in range(heads):
            for i in range(half):
                a, b = wide(y[r, h * width + i]) * scaling, wide(y[r, h * width + half + i]) * scaling
                queries[r, h, i] = a * cos[position, i] - b * sin[position, i]
                queries[r, h, half + i] = b * cos[position, i] + a * sin[position, i]
        for g in range(groups):
            first = (heads + g) * width
            for i in range(half):
                a, b = wide(y[r, first + i]), wide(y[r, first + half + i])
                keys[slot, g, i] = a * cos[position, i] - b * sin[position, i]
                keys[slot, g, half + i] = b * cos[position, i] + a * sin[position, i]
            first = (heads + groups + g) * width
            for i in range(width):
                values[slot, g, i] = wide(y[r, first + i])

"""What a decoder layer computes between its products, as loops that numba compiles. Arithmetic is float32.

Between the products of a plain step lie some forty small torch operations a layer, each with more dispatch than arithmetic. Here they
are four functions. Every row of a pass runs the same loop, whatever the number of rows and its place among them, so a verify pass repeats
plain steps bit for bit: by arithmetic, over any context.

Arrays have the types that products read and write: float32, bfloat16 viewed as uint16, or integers with one scale per row (`close_row`).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

from .kept import kept

ONE, HALF = np.float32(1), np.float32(0.5)
LEVELS = np.float32(8191)  # the largest integer of a row
LEAST = np.float32(1e-20)  # keeps the scale of a row of zeros above 0


kernel = kept(njit, fastmath=True, nogil=True, error_model="numpy")


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


def close_row(row, out, r, scale):
    """Write a float32 row (n,) to out[r] as the next product reads it: float32, bfloat16 (rounded to nearest even), or int16 integers
    that give the row when multiplied by scale[r]."""


@overload(close_row)
def _close_row(row, out, r, scale):
    if out.dtype == types.float32:

        def close(row, out, r, scale):
            for i in range(len(row)):
                out[r, i] = row[i]

    elif out.dtype == types.uint16:

        def close(row, out, r, scale):
            for i in range(len(row)):
                bits = bits_of_float(row[i])
                out[r, i] = np.uint16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))

    else:

        def close(row, out, r, scale):
            most = LEAST
            for i in range(len(row)):
                most = max(most, abs(row[i]))
            scale[r] = most / LEVELS
            by = LEVELS / most
            for i in range(len(row)):
                out[r, i] = np.int32(np.rint(row[i] * by))

    return close


@kernel
def close_rows(x, out, scale):
    """x (m, n) float32 -> out (m, n), scale (m,)."""
    for r in range(x.shape[0]):
        close_row(x[r], out, r, scale)


@register_jitable
def _norm_row(x, r, weight, eps, row):
    total = np.float32(0)
    for i in range(x.shape[1]):
        total += x[r, i] * x[r, i]
    by = ONE / np.sqrt(total / np.float32(x.shape[1]) + eps)
    for i in range(x.shape[1]):
        row[i] = x[r, i] * by * weight[i]


@kernel
def norm(x, weight, eps, out, scale):
    """RMS norm. x (m, D) float32 -> out (m, D), scale (m,)."""
    row = np.empty(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        _norm_row(x, r, weight, eps, row)
        close_row(row, out, r, scale)


@kernel
def add(x, y, by):
    """x (m, D) float32 += y (m, D) * by (m,)."""
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[r, i] += wide(y[r, i]) * by[r]


@kernel
def add_norm(x, y, by, weight, eps, out, scale):
    """`add`, then `norm`."""
    row = np.empty(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[r, i] += wide(y[r, i]) * by[r]
        _norm_row(x, r, weight, eps, row)
        close_row(row, out, r, scale)


@kernel
def silu_times(y, by, out, scale):
    """y (m, 2 F) times by (m,) holds gate and up -> silu(gate) * up, out (m, F), scale (m,)."""
    width = y.shape[1] // 2
    row = np.empty(width, np.float32)
    for r in range(y.shape[0]):
        for i in range(width):
            gate, up = wide(y[r, i]) * by[r], wide(y[r, width + i]) * by[r]
            row[i] = gate / (ONE + exp(-gate)) * up
        close_row(row, out, r, scale)


@kernel
def turn(y, by, positions, slots, cos, sin, queries, keys, values, scaling):
    """Rotary positions, and writing to the cache. y (m, (H + 2 G) d) times by (m,) holds queries, keys and values of tokens at positions
    (m,). Writes queries (m, H, d), multiplied by `scaling`; keys and values go to places slots (m,) of the cache, (capacity, G, d). cos,
    sin (context, d / 2)."""
    heads, width = queries.shape[1], queries.shape[2]
    groups, half = keys.shape[1], queries.shape[2] // 2
    for r in range(y.shape[0]):
        position, slot = np.uint64(positions[r]), np.uint64(slots[r])
        for h in range(heads):
            for i in range(half):
                a, b = wide(y[r, h * width + i]) * by[r] * scaling, wide(y[r, h * width + half + i]) * by[r] * scaling
                queries[r, h, i] = a * cos[position, i] - b * sin[position, i]
                queries[r, h, half + i] = b * cos[position, i] + a * sin[position, i]
        for g in range(groups):
            first = (heads + g) * width
            for i in range(half):
                a, b = wide(y[r, first + i]) * by[r], wide(y[r, first + half + i]) * by[r]
                keys[slot, g, i] = a * cos[position, i] - b * sin[position, i]
                keys[slot, g, half + i] = b * cos[position, i] + a * sin[position, i]
            first = (heads + groups + g) * width
            for i in range(width):
                values[slot, g, i] = wide(y[r, first + i]) * by[r]

"""Products of weights in 8 and in 4 bits with rows in 8 bits.

*Rows* are cut into blocks of GROUP inputs, as in GGUF's Q8_1. A block has RECORD 32-bit words: its scale (float32), the sum of its whole
numbers, and these, from -LEVELS to LEVELS, four in a word. close_row in kernels.py writes them.

*Weights* in 8 bits are whole numbers with one scale per output; in 4 bits numbers from 0 to 15 with a scale and an offset (float16) per
block of an output, as in Q4_1. They lie in panels of sixteen outputs, so that a vector holds four inputs of each of eight outputs: the
processor's instruction for neural networks (vpdpbusd, or three older ones) multiplies them with a word of the row and adds up the four
products of every output.

The sums of a block are whole numbers, thus exact, and blocks are added in their order. So a row's result is bit for bit the same in every
tile, by arithmetic. Ours.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .tiles import CHUNKS
from .vectors import (
    BYTE,
    CACHE_LINE,
    FEATURES,
    FLOAT,
    FLOATS,
    LANES,
    LONG,
    REGISTERS,
    SHORT,
    WORD,
    WORDS,
    fill,
    fma,
    folded,
    load,
    pick,
    prefetch,
    spread,
    store,
)

GROUP = 32  # inputs of a block
RECORD = 2 + GROUP // 4  # 32-bit words of a row's block
LEVELS = 127  # the largest whole number, of rows and of 8-bit weights
OUTPUTS = CHUNKS[np.dtype(np.int8)].outputs
HALVES = OUTPUTS // LANES  # vectors that hold one number for every output of a panel
VNNI = "avxvnni" in FEATURES or {"avx512vnni", "avx512vl"} <= FEATURES
MOST_ROWS = 4 if REGISTERS == 32 else 2  # of a tile
BYTES = ir.VectorType(BYTE, 4 * LANES)
LEAST = 1e-20  # keeps the scale of a block of zeros above 0


def words(inputs: int) -> int:
    """32-bit words of a row."""
    return -(-inputs // GROUP) * RECORD


@intrinsic
def close_block(typing, x, out):
    """Round GROUP float32 numbers to a block of a row. Both are addresses."""

    def generate(context, b, signature, given):
        x, out = (b.inttoptr(address, kind.as_pointer()) for address, kind in zip(given, (FLOAT, WORD)))
        parts = [load(b, b.gep(x, [LONG(i)]), FLOATS) for i in range(0, GROUP, LANES)]
        size = [b.and_(b.bitcast(part, WORDS), fill(WORDS, 0x7FFFFFFF)) for part in parts]
        most = b.bitcast(_larger(b, folded(b, size, _larger), b.bitcast(FLOAT(LEAST), WORD)), FLOAT)
        by = spread(b, b.fdiv(FLOAT(LEVELS), most))
        whole = [b.fptosi(_call(b, "llvm.rint.v8f32", FLOATS, b.fmul(part, by)), WORDS) for part in parts]
        b.store(b.fdiv(most, FLOAT(LEVELS)), b.bitcast(out, FLOAT.as_pointer()))
        b.store(folded(b, whole, lambda b, one, other: b.add(one, other)), b.gep(out, [LONG(1)]))
        for i, numbers in enumerate(whole):
            store(b, b.trunc(numbers, ir.VectorType(BYTE, LANES)), b.gep(out, [LONG(2 + LANES // 4 * i)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _larger(b: ir.IRBuilder, one, other):
    """Of sizes of float32 numbers, by their bits: then what is no number is the largest, and the scale is none either."""
    return b.select(b.icmp_signed(">", one, other), one, other)


def tile(rows: int):
    """A function for kernels, over `rows` rows from row r on and panel p: x (m, words), weight (panels, blocks, OUTPUTS, bytes of a block)
    -> out (m, N). Weights in 8 bits (int8): scale (N,) float32, and offset is not read. In 4 bits (uint8): scale and offset (panels,
    blocks, OUTPUTS), float16 as uint16."""

    def compute(typing, x, r, weight, p, scale, offset, out):
        def generate(context, builder, signature, given):
            arrays = [context.make_array(signature.args[i])(context, builder, given[i]) for i in (0, 2, 4, 5, 6)]
            kind = _FourBits if weight.dtype == types.uint8 else _EightBits
            kind(builder, *arrays).emit(rows, given[1], given[3])
            return context.get_dummy_value()

        return types.void(x, types.uint64, weight, types.uint64, scale, offset, out), generate

    return intrinsic(compute)


class _Tile:
    """`b` is llvmlite's builder."""

    size: int  # bytes of a block of a panel
    fetches: bool  # whether tiles of few rows gain by asking for memory ahead; the processor does it by itself for a single stream

    def __init__(self, b: ir.IRBuilder, x, weight, scale, offset, out):
        self.b, self.x, self.weight, self.scale, self.offset, self.out = b, x, weight, scale, offset, out

    def emit(self, rows: int, r, p) -> None:
        b = self.b
        blocks, width = cgutils.unpack_tuple(b, self.weight.shape, 4)[1], cgutils.unpack_tuple(b, self.out.shape, 2)[1]
        length = b.mul(blocks, LONG(RECORD))
        xs = [b.gep(self.x.data, [b.mul(b.add(r, LONG(i)), length)]) for i in range(rows)]
        panel = b.mul(blocks, LONG(self.size))
        weights = b.gep(b.bitcast(self.weight.data, BYTE.as_pointer()), [b.mul(p, panel)])
        totals = [[cgutils.alloca_once_value(b, fill(FLOATS, 0)) for _ in range(HALVES)] for _ in range(rows)]
        with cgutils.for_range(b, blocks) as loop:
            at = b.gep(weights, [b.mul(loop.index, LONG(self.size))])
            if self.fetches or rows >= MOST_ROWS:
                for place in range(0, self.size, CACHE_LINE):  # of the next panel, while this one is multiplied with all rows
                    prefetch(b, b.gep(at, [b.add(panel, LONG(place))]))
            block = [b.gep(x, [b.mul(loop.index, LONG(RECORD))]) for x in xs]
            sums = [[self.begin(x)] * HALVES for x in block]
            for step, parts in self.read(at):
                for x, row in zip(block, sums):
                    four = spread(b, b.load(b.gep(x, [LONG(2 + step)])))
                    row[:] = [self.add(total, part, four) for total, part in zip(row, parts)]
            facts = self.facts(b.mul(b.add(b.mul(p, blocks), loop.index), LONG(OUTPUTS)))
            for x, row, total in zip(block, sums, totals):
                self.close(x, row, facts, total)
        for half in range(HALVES):
            n = b.add(b.mul(p, LONG(OUTPUTS)), LONG(LANES * half))
            for i in range(rows):
                store(b, self.end(b.load(totals[i][half]), n), b.gep(self.out.data, [b.add(b.mul(b.add(r, LONG(i)), width), n)]))

    def scale_of(self, x):
        """Of a row's block."""
        return self.b.bitcast(self.b.load(x), FLOAT)

    def sum_of(self, x):
        return self.b.load(self.b.gep(x, [LONG(1)]))


class _EightBits(_Tile):
    """Weights are stored with 128 added, because vpdpbusd wants numbers without a sign on one side."""

    size, fetches = OUTPUTS * GROUP, False

    def begin(self, x):
        """What sums begin with: it takes the 128 away."""
        b = self.b
        return spread(b, b.neg(b.shl(self.sum_of(x), WORD(7)))) if VNNI else fill(WORDS, 0)

    def read(self, at):
        """Vectors of weights, step by step: four inputs each."""
        for step in range(GROUP // 4):
            yield step, [load(self.b, self.b.gep(at, [LONG(len(BYTES) * (HALVES * step + half))]), BYTES) for half in range(HALVES)]

    def add(self, total, weights, x):
        b = self.b
        if VNNI:
            return _dot(b, total, weights, x)
        signed = b.xor(weights, fill(BYTES, 128))
        if "avx2" not in FEATURES:
            return _dot_plain(b, total, b.sext(signed, _WIDE), x)
        size = _call(b, "llvm.abs.v32i8", BYTES, signed, ir.IntType(1)(0))
        return _dot(b, total, size, _call(b, "llvm.x86.avx2.psign.b", BYTES, b.bitcast(x, BYTES), signed))

    def facts(self, at):
        return None

    def close(self, x, sums: list, facts, totals: list) -> None:
        """Add a block's sums to the totals."""
        by = spread(self.b, self.scale_of(x))
        for each, total in zip(sums, totals):
            self.b.store(fma(self.b, self.b.sitofp(each, FLOATS), by, self.b.load(total)), total)

    def end(self, total, n):
        return self.b.fmul(total, load(self.b, self.b.gep(self.scale.data, [n]), FLOATS))


class _FourBits(_Tile):
    """A byte holds inputs i and i + 16 of a block, the first in its lower half."""

    size, fetches = OUTPUTS * GROUP // 2, True

    def begin(self, x):
        return fill(WORDS, 0)

    def read(self, at):
        b = self.b
        for step in range(GROUP // 8):
            both = [load(b, b.gep(at, [LONG(len(BYTES) * (HALVES * step + half))]), BYTES) for half in range(HALVES)]
            yield step, [b.and_(each, fill(BYTES, 15)) for each in both]
            yield step + GROUP // 8, [b.lshr(each, fill(BYTES, 4)) for each in both]

    def add(self, total, weights, x):
        if VNNI or "avx2" in FEATURES:
            return _dot(self.b, total, weights, x)
        return _dot_plain(self.b, total, self.b.zext(weights, _WIDE), x)

    def facts(self, at):
        """Scales and offsets of the panel's outputs in this block."""
        return [[_widened(self.b, self.b.gep(array.data, [self.b.add(at, LONG(LANES * half))])) for half in range(HALVES)]
                for array in (self.scale, self.offset)]  # fmt: skip

    def close(self, x, sums: list, facts, totals: list) -> None:
        b, by = self.b, self.scale_of(x)
        offset_by = spread(b, b.fmul(by, b.sitofp(self.sum_of(x), FLOAT)))
        for each, scale, offset, total in zip(sums, *facts, totals):
            product = fma(b, b.sitofp(each, FLOATS), b.fmul(scale, spread(b, by)), b.load(total))
            b.store(fma(b, offset, offset_by, product), total)

    def end(self, total, n):
        return total


def _dot(b: ir.IRBuilder, total, weights, x):
    """Add the products of weights without a sign, 4 * LANES bytes, and bytes of x with one, four by four. Without VNNI pairs of products
    must fit into 16 bits."""
    if VNNI:
        return _call(b, "llvm.x86.avx512.vpdpbusd.256", WORDS, total, b.bitcast(weights, WORDS), b.bitcast(x, WORDS))
    pairs = _call(b, "llvm.x86.avx2.pmadd.ub.sw", _SHORTS, weights, b.bitcast(x, BYTES))
    return b.add(total, _call(b, "llvm.x86.avx2.pmadd.wd", WORDS, pairs, fill(_SHORTS, 1)))


def _dot_plain(b: ir.IRBuilder, total, weights, x):
    """The same for any processor. weights: 4 * LANES words."""
    products = b.mul(weights, b.sext(b.bitcast(x, BYTES), _WIDE))
    for first in range(4):
        total = b.add(total, pick(b, products, range(first, 4 * LANES, 4)))
    return total


_SHORTS, _WIDE = ir.VectorType(SHORT, 2 * LANES), ir.VectorType(WORD, 4 * LANES)


def _call(b: ir.IRBuilder, name: str, result, *given):
    kind = ir.FunctionType(result, [each.type for each in given])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), given)


def _widened(b: ir.IRBuilder, at):
    """LANES float16 numbers, stored as uint16, as float32: their bits moved to the right places, times 2^112 for the exponent."""
    bits = b.zext(load(b, at, ir.VectorType(SHORT, LANES)), WORDS)
    size = b.bitcast(b.shl(b.and_(bits, fill(WORDS, 0x7FFF)), fill(WORDS, 13)), FLOATS)
    sign = b.shl(b.and_(bits, fill(WORDS, 0x8000)), fill(WORDS, 16))
    return b.bitcast(b.or_(b.bitcast(b.fmul(size, fill(FLOATS, 2.0**112)), WORDS), sign), FLOATS)

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

from functools import reduce

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
LONG_VNNI = {"avx512vnni", "avx512vl", "avx512bw"} <= FEATURES  # with vectors that hold a whole panel's outputs
VNNI = LONG_VNNI or "avxvnni" in FEATURES
MOST_ROWS = 8 if LONG_VNNI else 4 if REGISTERS == 32 else 2  # of a tile
# Sums of a row and an output that are added up at the end of a block, by rows of a tile; otherwise one. A product has to wait for the one
# before it, so few rows with one sum each would not keep the processor busy.
CHAINS = {1: 4, 2: 2, 3: 2} if LONG_VNNI else {}
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
    """`b` is llvmlite's builder. `parts` vectors of `lanes` numbers hold one number for every output of a panel."""

    size: int  # bytes of a block of a panel
    fetches: bool  # whether tiles of few rows gain by asking for memory ahead; the processor does it by itself for a single stream

    def __init__(self, b: ir.IRBuilder, x, weight, scale, offset, out):
        self.b, self.x, self.weight, self.scale, self.offset, self.out = b, x, weight, scale, offset, out
        self.lanes = lanes = OUTPUTS if LONG_VNNI else LANES
        self.parts = OUTPUTS // lanes
        self.bytes, self.shorts = ir.VectorType(BYTE, 4 * lanes), ir.VectorType(SHORT, 2 * lanes)
        self.sums, self.totals = ir.VectorType(WORD, lanes), ir.VectorType(FLOAT, lanes)

    def emit(self, rows: int, r, p) -> None:
        b, chains, zero = self.b, CHAINS.get(rows, 1), fill(self.sums, 0)
        blocks, width = cgutils.unpack_tuple(b, self.weight.shape, 4)[1], cgutils.unpack_tuple(b, self.out.shape, 2)[1]
        length = b.mul(blocks, LONG(RECORD))
        xs = [b.gep(self.x.data, [b.mul(b.add(r, LONG(i)), length)]) for i in range(rows)]
        panel = b.mul(blocks, LONG(self.size))
        weights = b.gep(b.bitcast(self.weight.data, BYTE.as_pointer()), [b.mul(p, panel)])
        totals = [[cgutils.alloca_once_value(b, fill(self.totals, 0)) for _ in range(self.parts)] for _ in range(rows)]
        with cgutils.for_range(b, blocks) as loop:
            at = b.gep(weights, [b.mul(loop.index, LONG(self.size))])
            if self.fetches or rows >= MOST_ROWS:
                for place in range(0, self.size, CACHE_LINE):  # of the next panel, while this one is multiplied with all rows
                    prefetch(b, b.gep(at, [b.add(panel, LONG(place))]))
            block = [b.gep(x, [b.mul(loop.index, LONG(RECORD))]) for x in xs]
            sums = [[[self.begin(x)] * self.parts, *[[zero] * self.parts] * (chains - 1)] for x in block]
            for step, parts in self.read(at):
                for x, row in zip(block, sums):
                    four = self.spread(b.load(b.gep(x, [LONG(2 + step)])))
                    row[step % chains] = [self.add(total, part, four) for total, part in zip(row[step % chains], parts)]
            sums = [[reduce(b.add, chain) for chain in zip(*row)] for row in sums]
            facts = self.facts(b.mul(b.add(b.mul(p, blocks), loop.index), LONG(OUTPUTS)))
            for x, row, total in zip(block, sums, totals):
                self.close(x, row, facts, total)
        for part in range(self.parts):
            n = b.add(b.mul(p, LONG(OUTPUTS)), LONG(self.lanes * part))
            for i in range(rows):
                store(b, self.end(b.load(totals[i][part]), n), b.gep(self.out.data, [b.add(b.mul(b.add(r, LONG(i)), width), n)]))

    def scale_of(self, x):
        """Of a row's block."""
        return self.b.bitcast(self.b.load(x), FLOAT)

    def sum_of(self, x):
        return self.b.load(self.b.gep(x, [LONG(1)]))

    def spread(self, number):
        return spread(self.b, number, self.lanes)

    def weights_at(self, at, step: int) -> list:
        """Of all outputs of a panel, (lanes) words in each vector."""
        places = (4 * self.lanes * (self.parts * step + part) for part in range(self.parts))
        return [load(self.b, self.b.gep(at, [LONG(place)]), self.bytes) for place in places]

    def dot(self, total, weights, x):
        """Add the products of weights without a sign, four bytes for each lane, and bytes of x with one, four by four. Without VNNI pairs
        of products must fit into 16 bits."""
        b = self.b
        if VNNI:
            name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
            return _call(b, name, self.sums, total, b.bitcast(weights, self.sums), b.bitcast(x, self.sums))
        pairs = _call(b, "llvm.x86.avx2.pmadd.ub.sw", self.shorts, weights, b.bitcast(x, self.bytes))
        return b.add(total, _call(b, "llvm.x86.avx2.pmadd.wd", self.sums, pairs, fill(self.shorts, 1)))

    def dot_plain(self, total, weights, x):
        """The same for any processor. weights: bytes with or without a sign, as words."""
        b = self.b
        products = b.mul(weights, b.sext(b.bitcast(x, self.bytes), weights.type))
        for first in range(4):
            total = b.add(total, pick(b, products, range(first, 4 * self.lanes, 4)))
        return total


class _EightBits(_Tile):
    """Weights are stored with 128 added, because vpdpbusd wants numbers without a sign on one side."""

    size, fetches = OUTPUTS * GROUP, False

    def begin(self, x):
        """What sums begin with: it takes the 128 away."""
        return self.spread(self.b.neg(self.b.shl(self.sum_of(x), WORD(7)))) if VNNI else fill(self.sums, 0)

    def read(self, at):
        """Vectors of weights, step by step: four inputs each."""
        for step in range(GROUP // 4):
            yield step, self.weights_at(at, step)

    def add(self, total, weights, x):
        b = self.b
        if VNNI:
            return self.dot(total, weights, x)
        signed = b.xor(weights, fill(self.bytes, 128))
        if "avx2" not in FEATURES:
            return self.dot_plain(total, b.sext(signed, ir.VectorType(WORD, 4 * self.lanes)), x)
        size = _call(b, "llvm.abs.v32i8", self.bytes, signed, ir.IntType(1)(0))
        return self.dot(total, size, _call(b, "llvm.x86.avx2.psign.b", self.bytes, b.bitcast(x, self.bytes), signed))

    def facts(self, at):
        return None

    def close(self, x, sums: list, facts, totals: list) -> None:
        """Add a block's sums to the totals."""
        by = self.spread(self.scale_of(x))
        for each, total in zip(sums, totals):
            self.b.store(fma(self.b, self.b.sitofp(each, self.totals), by, self.b.load(total)), total)

    def end(self, total, n):
        return self.b.fmul(total, load(self.b, self.b.gep(self.scale.data, [n]), self.totals))


class _FourBits(_Tile):
    """A byte holds inputs i and i + 16 of a block, the first in its lower half."""

    size, fetches = OUTPUTS * GROUP // 2, True

    def begin(self, x):
        return fill(self.sums, 0)

    def read(self, at):
        b = self.b
        for step in range(GROUP // 8):
            both = self.weights_at(at, step)
            yield step, [b.and_(each, fill(self.bytes, 15)) for each in both]
            yield step + GROUP // 8, [b.lshr(each, fill(self.bytes, 4)) for each in both]

    def add(self, total, weights, x):
        if VNNI or "avx2" in FEATURES:
            return self.dot(total, weights, x)
        return self.dot_plain(total, self.b.zext(weights, ir.VectorType(WORD, 4 * self.lanes)), x)

    def facts(self, at):
        """Scales and offsets of the panel's outputs in this block."""
        places = [self.b.add(at, LONG(self.lanes * part)) for part in range(self.parts)]
        return [[self._widened(self.b.gep(array.data, [place])) for place in places] for array in (self.scale, self.offset)]

    def _widened(self, at):
        """float16 numbers, stored as uint16, as float32: their bits moved to the right places, times 2^112 for the exponent."""
        b, words = self.b, self.sums
        bits = b.zext(load(b, at, ir.VectorType(SHORT, self.lanes)), words)
        size = b.bitcast(b.shl(b.and_(bits, fill(words, 0x7FFF)), fill(words, 13)), self.totals)
        sign = b.shl(b.and_(bits, fill(words, 0x8000)), fill(words, 16))
        return b.bitcast(b.or_(b.bitcast(b.fmul(size, fill(self.totals, 2.0**112)), words), sign), self.totals)

    def close(self, x, sums: list, facts, totals: list) -> None:
        b, by = self.b, self.scale_of(x)
        offset_by = self.spread(b.fmul(by, b.sitofp(self.sum_of(x), FLOAT)))
        for each, scale, offset, total in zip(sums, *facts, totals):
            product = fma(b, b.sitofp(each, self.totals), b.fmul(scale, self.spread(by)), b.load(total))
            b.store(fma(b, offset, offset_by, product), total)

    def end(self, total, n):
        return total


def _call(b: ir.IRBuilder, name: str, result, *given):
    kind = ir.FunctionType(result, [each.type for each in given])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), given)

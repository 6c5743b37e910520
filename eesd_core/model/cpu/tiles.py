"""Tiles: the innermost loop of a product, over a few rows and a few outputs whose sums stay in registers.

Written in LLVM IR with vectors of eight lanes, because a compiler that is free to vectorise a plain loop sums in another order for one row
than for four. Here a sum has one order in every tile: lane l adds up the products of inputs l, l + 8, l + 16 ..., and then the lanes are
added by halves. So a row's result is bit for bit the same in every tile, by arithmetic. Ours; the blocking is that of BLIS (Van Zee and
van de Geijn, 2015).

A chunk is the part of an output's weights that one step of the loop reads: 8 inputs in float32; 16 in uint16, which holds bfloat16, or in
int8; 32 in uint8, two 4-bit numbers a byte. panels.py lays chunks out in memory.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import BYTE, FLOAT, FLOATS, LANES, LONG, LONGS, SHORT, WORD, WORDS, fma, filled, load, pick, prefetch, spread

OUTPUTS = 8  # in a panel
CACHE_LINE = 64  # bytes


class Chunk(NamedTuple):
    inputs: int  # of one output
    elements: int  # array elements that hold them
    bytes: int


CHUNKS = {
    np.dtype(np.float32): Chunk(8, 8, 32), np.dtype(np.uint16): Chunk(16, 16, 32),
    np.dtype(np.int8): Chunk(16, 16, 16), np.dtype(np.uint8): Chunk(32, 16, 16),
}  # fmt: skip


def tile(rows: int, outputs: int):
    """A function for kernels, over `rows` rows from row r on and `outputs` outputs of panel p from `first` on: x (m, K), weight (panels,
    K / inputs, OUTPUTS, elements), scale -> out (m, N). `scale` is (N,), one per output. In 4 bits it has one per chunk of an output, laid
    out like the weight, and the result is added to what `out` holds."""

    def compute(typing, x, r, weight, p, first, scale, out):
        def generate(context, builder, signature, given):
            arrays = [context.make_array(signature.args[i])(context, builder, given[i]) for i in (0, 2, 5, 6)]
            _Tile(builder, np.dtype(str(weight.dtype)), *arrays).emit(rows, outputs, given[1], given[3], given[4])
            return context.get_dummy_value()

        return types.void(x, types.uint64, weight, types.uint64, types.uint64, scale, out), generate

    return intrinsic(compute)


@intrinsic
def begin_row(typing, sums, r, offset, p, out):
    """For 4-bit kernels: write the contribution of panel p's offsets to row r into `out` (m, N), all outputs of the panel at once, one per
    lane. sums (m, chunks): the sum of each chunk's inputs; offset (panels, chunks, OUTPUTS)."""

    def generate(context, builder, signature, given):
        b = builder
        held, offsets, outs = (context.make_array(signature.args[i])(context, b, given[i]) for i in (0, 2, 4))
        chunks, width = (cgutils.unpack_tuple(b, array.shape, 2)[1] for array in (held, outs))
        inputs = b.gep(held.data, [b.mul(given[1], chunks)])
        panel = b.gep(offsets.data, [b.mul(given[3], b.mul(chunks, LONG(OUTPUTS)))])
        total = cgutils.alloca_once_value(b, ir.Constant(FLOATS, [0] * LANES))
        with cgutils.for_range(b, chunks) as loop:
            by = spread(b, b.load(b.gep(inputs, [loop.index])))
            chunk = load(b, b.gep(panel, [b.mul(loop.index, LONG(OUTPUTS))]), FLOATS)
            b.store(fma(b, by, chunk, b.load(total)), total)
        place = b.gep(outs.data, [b.add(b.mul(given[1], width), b.mul(given[3], LONG(OUTPUTS)))])
        b.store(b.load(total), b.bitcast(place, FLOATS.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(sums, types.uint64, offset, types.uint64, out), generate


class _Tile:
    """`b` is llvmlite's builder."""

    def __init__(self, b: ir.IRBuilder, kind: np.dtype, x, weight, scale, out):
        self.b, self.kind, self.chunk = b, kind, CHUNKS[kind]
        self.x, self.weight, self.scale, self.out = x, weight, scale, out
        self.whole = kind == np.int8  # sums are integers; in 4 bits they become floats chunk by chunk

    def emit(self, rows: int, outputs: int, r, p, first) -> None:
        b, chunk = self.b, self.chunk
        inputs, width = (cgutils.unpack_tuple(b, array.shape, 2)[1] for array in (self.x, self.out))
        chunks = b.udiv(inputs, LONG(chunk.inputs))
        step = OUTPUTS * chunk.elements
        panel = b.mul(chunks, LONG(step))  # elements
        begin = b.gep(self.weight.data, [b.mul(p, panel)])
        weights = b.gep(begin, [b.mul(first, LONG(chunk.elements))])
        ahead = b.gep(begin, [b.add(panel, b.mul(first, b.mul(chunks, LONG(chunk.elements))))])
        scales = b.gep(self.scale.data, [b.add(b.mul(p, b.mul(chunks, LONG(OUTPUTS))), first)])  # used in 4 bits only
        xs = [b.gep(self.x.data, [b.mul(b.add(r, LONG(i)), inputs)]) for i in range(rows)]
        kind = WORDS if self.whole else FLOATS
        sums = [[cgutils.alloca_once_value(b, ir.Constant(kind, [0] * LANES)) for _ in range(outputs)] for _ in range(rows)]
        with cgutils.for_range(b, chunks) as loop:
            at = b.gep(weights, [b.mul(loop.index, LONG(step))])
            self._prefetch(b.gep(ahead, [b.mul(loop.index, LONG(outputs * chunk.elements))]), outputs)
            parts = [self._read(b.gep(at, [LONG(j * chunk.elements)])) for j in range(outputs)]
            by = []
            if self.kind == np.uint8:
                row = b.gep(scales, [b.mul(loop.index, LONG(OUTPUTS))])
                by = [spread(b, b.load(b.gep(row, [LONG(j)]))) for j in range(outputs)]
            for i in range(rows):
                self._add(b.gep(xs[i], [b.mul(loop.index, LONG(chunk.inputs))]), parts, by, sums[i])
        for j in range(outputs):
            n = b.add(b.add(b.mul(p, LONG(OUTPUTS)), first), LONG(j))
            for i in range(rows):
                place = b.gep(self.out.data, [b.add(b.mul(b.add(r, LONG(i)), width), n)])
                total = self._total(b.load(sums[i][j]))
                four = self.kind == np.uint8
                b.store(b.fadd(total, b.load(place)) if four else b.fmul(total, b.load(b.gep(self.scale.data, [n]))), place)

    def _prefetch(self, at, outputs: int) -> None:
        """Prefetch the next panel from memory while this one is multiplied with all rows. Tiles of a few outputs fetch it piece by piece in
        memory order, not each its own outputs: memory is read faster in one stream than in strides."""
        b, line = self.b, CACHE_LINE * self.chunk.elements // self.chunk.bytes
        for place in range(0, outputs * self.chunk.elements, line):
            prefetch(b, b.gep(at, [LONG(place)]))

    def _read(self, at) -> list:
        """A chunk, as vectors of the type that the rows have."""
        b = self.b
        if self.kind == np.float32:
            return [load(b, at, FLOATS)]
        if self.kind == np.uint16:  # pairs of inputs i and i + 8, the first in the lower half
            both = load(b, at, WORDS)
            return [b.bitcast(b.shl(both, filled(WORDS, 16)), FLOATS), b.bitcast(b.and_(both, filled(WORDS, 0xFFFF0000)), FLOATS)]
        held, shorts = ir.VectorType(BYTE, 16), ir.VectorType(SHORT, 16)
        numbers = load(b, at, held)
        if self.whole:
            return [b.sext(numbers, shorts)]
        return [b.zext(part, shorts) for part in (b.and_(numbers, filled(held, 15)), b.lshr(numbers, filled(held, 4)))]

    def _add(self, x, parts: list, by: list, sums: list) -> None:
        """Add one row's products with a chunk of every output."""
        b, kind = self.b, parts[0][0].type
        vectors = [load(b, b.gep(x, [LONG(i * kind.count)]), kind) for i in range(len(parts[0]))]
        for j, part in enumerate(parts):
            total = b.load(sums[j])
            if kind == FLOATS:
                for vector, weight in zip(vectors, part):
                    total = fma(b, vector, weight, total)
            else:
                pairs = [self._pairs(vector, weight) for vector, weight in zip(vectors, part)]
                whole = pairs[0] if len(pairs) == 1 else b.add(*pairs)
                total = fma(b, b.sitofp(whole, FLOATS), by[j], total) if by else b.add(total, whole)
            b.store(total, sums[j])

    def _pairs(self, x, weight):
        """Sums of neighbouring products: one instruction (vpmaddwd) where the processor has it."""
        b, wide = self.b, ir.VectorType(WORD, 16)
        products = b.mul(b.sext(x, wide), b.sext(weight, wide))
        return b.add(*(pick(b, products, range(first, 16, 2)) for first in (0, 1)))

    def _total(self, sums):
        """The sum of all lanes, as float32."""
        b = self.b
        if self.whole:
            sums = b.sext(sums, LONGS)
        while sums.type.count > 1:
            half = sums.type.count // 2
            add = b.add if self.whole else b.fadd
            sums = add(pick(b, sums, range(half)), pick(b, sums, range(half, 2 * half)))
        total = b.extract_element(sums, WORD(0))
        return b.sitofp(total, FLOAT) if self.whole else total


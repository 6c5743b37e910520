"""Tiles: the innermost loop of a product, over a few rows and a few outputs whose sums stay in registers. integers.py has those for weights
in 8 and in 4 bits.

Here a sum has one order in every tile: lane l adds up the products of inputs l, l + 8, l + 16 ..., and then the lanes are added by halves.
So a row's result is bit for bit the same in every tile, by arithmetic. Ours; the blocking is that of BLIS (Van Zee and van de Geijn, 2015).

A chunk is the part of an output's weights that one step of the loop reads. panels.py lays chunks out in memory.
"""

from itertools import chain
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import CACHE_LINE, FLOAT, FLOATS, LANES, LONG, WORDS, fill, fma, load, pick, prefetch, shuffle, store


class Chunk(NamedTuple):
    inputs: int  # of one output
    elements: int  # array elements that hold them
    bytes: int
    outputs: int  # of a panel


CHUNKS = {
    np.dtype(np.float32): Chunk(8, 8, 32, 8),
    np.dtype(np.uint16): Chunk(16, 16, 32, 8),  # bfloat16
    np.dtype(np.int8): Chunk(32, 32, 32, 16),
    np.dtype(np.uint8): Chunk(32, 16, 16, 16),  # two 4-bit numbers
}
OUTPUTS = CHUNKS[np.dtype(np.float32)].outputs


def tile(rows: int, outputs: int):
    """A function for kernels, over `rows` rows from row r on and `outputs` outputs of panel p from `first` on: x (m, K), weight (panels,
    K / inputs, OUTPUTS, elements), scale (N,) -> out (m, N)."""

    def compute(typing, x, r, weight, p, first, scale, out):
        def generate(context, builder, signature, given):
            arrays = [context.make_array(signature.args[i])(context, builder, given[i]) for i in (0, 2, 5, 6)]
            _Tile(builder, np.dtype(str(weight.dtype)), *arrays).emit(rows, outputs, given[1], given[3], given[4])
            return context.get_dummy_value()

        return types.void(x, types.uint64, weight, types.uint64, types.uint64, scale, out), generate

    return intrinsic(compute)


class _Tile:
    """`b` is llvmlite's builder."""

    def __init__(self, b: ir.IRBuilder, kind: np.dtype, x, weight, scale, out):
        self.b, self.kind, self.chunk = b, kind, CHUNKS[kind]
        self.x, self.weight, self.scale, self.out = x, weight, scale, out

    def emit(self, rows: int, outputs: int, r, p, first) -> None:
        b, chunk = self.b, self.chunk
        inputs, width = (cgutils.unpack_tuple(b, array.shape, 2)[1] for array in (self.x, self.out))
        chunks = b.udiv(inputs, LONG(chunk.inputs))
        step = OUTPUTS * chunk.elements
        panel = b.mul(chunks, LONG(step))  # elements
        begin = b.gep(self.weight.data, [b.mul(p, panel)])
        weights = b.gep(begin, [b.mul(first, LONG(chunk.elements))])
        ahead = b.gep(begin, [b.add(panel, b.mul(first, b.mul(chunks, LONG(chunk.elements))))])
        xs = [b.gep(self.x.data, [b.mul(b.add(r, LONG(i)), inputs)]) for i in range(rows)]
        sums = [[cgutils.alloca_once_value(b, fill(FLOATS, 0)) for _ in range(outputs)] for _ in range(rows)]
        with cgutils.for_range(b, chunks) as loop:
            at = b.gep(weights, [b.mul(loop.index, LONG(step))])
            self._prefetch(b.gep(ahead, [b.mul(loop.index, LONG(outputs * chunk.elements))]), outputs)
            parts = [self._read(b.gep(at, [LONG(j * chunk.elements)])) for j in range(outputs)]
            for i in range(rows):
                self._add(b.gep(xs[i], [b.mul(loop.index, LONG(chunk.inputs))]), parts, sums[i])
        n = b.add(b.mul(p, LONG(OUTPUTS)), first)
        scales = load(b, b.gep(self.scale.data, [n]), ir.VectorType(FLOAT, outputs))
        for i in range(rows):
            place = b.gep(self.out.data, [b.add(b.mul(b.add(r, LONG(i)), width), n)])
            store(b, b.fmul(totals(b, [b.load(total) for total in sums[i]]), scales), place)

    def _prefetch(self, at, outputs: int) -> None:
        """Prefetch the next panel from memory while this one is multiplied with all rows. Tiles of a few outputs fetch it piece by piece in
        memory order, not each its own outputs: memory is read faster in one stream than in strides."""
        b, line = self.b, CACHE_LINE * self.chunk.elements // self.chunk.bytes
        for place in range(0, outputs * self.chunk.elements, line):
            prefetch(b, b.gep(at, [LONG(place)]))

    def _read(self, at) -> list:
        """A chunk, as vectors of float32."""
        b = self.b
        if self.kind == np.float32:
            return [load(b, at, FLOATS)]
        both = load(b, at, WORDS)  # pairs of inputs i and i + 8, the first in the lower half
        return [b.bitcast(b.shl(both, fill(WORDS, 16)), FLOATS), b.bitcast(b.and_(both, fill(WORDS, 0xFFFF0000)), FLOATS)]

    def _add(self, x, parts: list, sums: list) -> None:
        """Add one row's products with a chunk of every output."""
        b = self.b
        vectors = [load(b, b.gep(x, [LONG(i * LANES)]), FLOATS) for i in range(len(parts[0]))]
        for part, total in zip(parts, sums):
            for vector, weight in zip(vectors, part):
                b.store(fma(b, vector, weight, b.load(total)), total)


# Lanes of two vectors, the second's numbered on: the first of every two that are added next. Behind the first step no lane changes halves.
STEPS = (4, (0, 1, 2, 3, 8, 9, 10, 11)), (2, (0, 1, 8, 9, 4, 5, 12, 13)), (1, (0, 2, 8, 10, 4, 6, 12, 14))


def totals(b: ir.IRBuilder, sums: list):
    """The sum of all lanes of 1, 2, 4 or 8 vectors, as one vector. Lanes l and l + 4 of each are added, then l and l + 2, then l and l + 1:
    of two vectors at once while there are two, since otherwise short products spend much of their time here."""
    half = len(sums) // 2
    vectors = list(chain(*zip(sums[:half], sums[half:]))) or sums
    for apart, lanes in STEPS:
        pairs = zip(vectors[::2], vectors[1::2] or vectors)
        vectors = [b.fadd(shuffle(b, *pair, lanes), shuffle(b, *pair, [lane + apart for lane in lanes])) for pair in pairs]
    return pick(b, vectors[0], [lane for first in (0, 4) for lane in range(first, first + half)] or [0])

"""Rows of numbers joined to one, always in the same order. A plain loop in a kernel has none: the code that numba has just compiled and the
code that it kept before may differ in it, and so would the last bits of a text's scores between a first start and later ones."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import FLOAT, FLOATS, LANES, LONG, fill, folded, larger, load


def _of_all(join, first: float):
    """A function for kernels, of the address of float32 numbers and their count, a positive multiple of 4 * LANES."""

    def found(typing, at, count):
        def generate(context, b, signature, given):
            numbers = b.inttoptr(given[0], FLOAT.as_pointer())
            joined = [cgutils.alloca_once_value(b, fill(FLOATS, first)) for _ in range(4)]
            with cgutils.for_range(b, b.udiv(given[1], LONG(4 * LANES))) as loop:
                for i, place in enumerate(joined):
                    new = load(b, b.gep(numbers, [b.add(b.mul(loop.index, LONG(4 * LANES)), LONG(i * LANES))]), FLOATS)
                    b.store(join(b, new, b.load(place)), place)
            return folded(b, [b.load(place) for place in joined], join)

        return types.float32(types.int64, types.int64), generate

    return intrinsic(found)


largest = _of_all(larger, float("-inf"))
summed = _of_all(lambda b, one, other: b.fadd(one, other), 0)

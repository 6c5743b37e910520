"""Rows of numbers joined to one, always in the same order. A plain loop that may be reordered has none: a function that several others
call is compiled into each of them, and which of its copies a process runs depends on what it has just compiled and what it kept before. The
last bits of a text's scores would too: a first start would not repeat later ones. So kernels sum by these functions, and are compiled
without leave to reorder."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import FLOAT, FLOATS, LANES, LONG, fill, fma, folded, larger, load

MULTIPLE = 4 * LANES  # numbers: four sums at a time, since an addition waits for the one before it


def _plus(b, one, other):
    return b.fadd(one, other)


def _of_all(join, first: float):
    """A function for kernels, of the address of float32 numbers and their count, a positive multiple of MULTIPLE."""

    def found(typing, at, count):
        def generate(context, b, signature, given):
            numbers = b.inttoptr(given[0], FLOAT.as_pointer())
            joined = [cgutils.alloca_once_value(b, fill(FLOATS, first)) for _ in range(4)]
            with cgutils.for_range(b, b.udiv(given[1], LONG(MULTIPLE))) as loop:
                for i, place in enumerate(joined):
                    new = load(b, b.gep(numbers, [b.add(b.mul(loop.index, LONG(MULTIPLE)), LONG(i * LANES))]), FLOATS)
                    b.store(join(b, new, b.load(place)), place)
            return folded(b, [b.load(place) for place in joined], join)

        return types.float32(types.int64, types.int64), generate

    return intrinsic(found)


largest = _of_all(larger, float("-inf"))
summed = _of_all(_plus, 0)


@intrinsic
def dot(typing, one, other, count):
    """A function for kernels, of the addresses of two rows of float32 numbers and their count: the sum of their products."""

    def generate(context, b, signature, given):
        rows = [b.inttoptr(at, FLOAT.as_pointer()) for at in given[:2]]
        sums = [cgutils.alloca_once_value(b, fill(FLOATS, 0)) for _ in range(4)]
        whole = b.and_(given[2], LONG(-MULTIPLE))
        with cgutils.for_range(b, b.udiv(given[2], LONG(MULTIPLE))) as loop:
            for i, place in enumerate(sums):
                at = b.add(b.mul(loop.index, LONG(MULTIPLE)), LONG(i * LANES))
                b.store(fma(b, *(load(b, b.gep(row, [at]), FLOATS) for row in rows), b.load(place)), place)
        total = cgutils.alloca_once_value(b, folded(b, [b.load(place) for place in sums], _plus))
        with cgutils.for_range(b, b.sub(given[2], whole)) as loop:
            product = b.fmul(*(b.load(b.gep(row, [b.add(whole, loop.index)])) for row in rows))
            b.store(b.fadd(b.load(total), product), total)
        return b.load(total)

    return types.float32(types.int64, types.int64, types.int64), generate

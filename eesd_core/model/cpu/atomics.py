"""Whole numbers in memory that several threads read and change at once, by their addresses, for compiled code."""

from numba import types
from numba.extending import intrinsic

from .vectors import LONG


@intrinsic
def change(typing, at, by):
    """Add to it. Returns what it was before."""

    def generate(context, builder, signature, given):
        return builder.atomic_rmw("add", builder.inttoptr(given[0], LONG.as_pointer()), given[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def look(typing, at):
    def generate(context, builder, signature, given):
        return builder.load_atomic(builder.inttoptr(given[0], LONG.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def put(typing, at, number):
    """Whoever sees it sees what this thread has put before, too."""

    def generate(context, builder, signature, given):
        builder.store_atomic(given[1], builder.inttoptr(given[0], LONG.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate

"""LLVM vectors of eight lanes or of sixteen, for loops whose sums must have one order whatever the processor and the number of rows: a
compiler that is free to vectorise a plain loop sums in another order for one row than for four. `b` is llvmlite's builder."""

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, config

LANES = 8
_HOST = (name for name, there in llvmlite.binding.get_host_cpu_features().items() if there)
FEATURES = frozenset(_HOST if config.CPU_FEATURES is None else (name.removeprefix("+") for name in config.CPU_FEATURES.split(",")))
BYTE, SHORT, WORD, LONG, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS, WORDS, LONGS = (ir.VectorType(kind, LANES) for kind in (FLOAT, WORD, LONG))

REGISTERS = 32 if "avx512vl" in FEATURES else 16  # for vectors: with more of them tiles are larger
CACHE_LINE = 64  # bytes


def fma(b: ir.IRBuilder, x, y, z):
    """x y + z, rounded once."""
    kind = ir.FunctionType(x.type, [x.type] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{x.type.count}f32"), [x, y, z])


def load(b: ir.IRBuilder, at, kind: ir.VectorType):
    return b.load(b.bitcast(at, kind.as_pointer()), align=1)


def store(b: ir.IRBuilder, vector, at) -> None:
    b.store(vector, b.bitcast(at, vector.type.as_pointer()), align=1)


def shuffle(b: ir.IRBuilder, one, other, lanes):
    """Lanes of two vectors; those of the second are numbered on."""
    return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(WORD, len(lanes)), list(lanes)))


def pick(b: ir.IRBuilder, vector, lanes):
    return shuffle(b, vector, ir.Constant(vector.type, ir.Undefined), lanes)


def spread(b: ir.IRBuilder, number, lanes: int = LANES):
    """A number in all lanes."""
    kind = ir.VectorType(number.type, lanes)
    return pick(b, b.insert_element(ir.Constant(kind, ir.Undefined), number, WORD(0)), [0] * lanes)


def fill(kind: ir.VectorType, number) -> ir.Constant:
    return ir.Constant(kind, [number] * kind.count)


def prefetch(b: ir.IRBuilder, at) -> None:
    """Ask for the cache line at a pointer, into the second-level cache."""
    kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), WORD, WORD, WORD])
    fetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    b.call(fetch, [b.bitcast(at, BYTE.as_pointer()), WORD(0), WORD(2), WORD(1)])


def larger(b: ir.IRBuilder, one, other):
    return b.select(b.fcmp_ordered(">", one, other), one, other)


def folded(b: ir.IRBuilder, vectors: list, join):
    """All lanes of all vectors joined to one number."""
    found = vectors[0]
    for vector in vectors[1:]:
        found = join(b, found, vector)
    while found.type.count > 1:
        half = found.type.count // 2
        found = join(b, pick(b, found, range(half)), pick(b, found, range(half, 2 * half)))
    return b.extract_element(found, WORD(0))

"""Weights in panels of a few outputs, and their product with any number of rows.

A plain step reads every weight once and is bound by memory; a verify pass multiplies each weight that it reads with every row. In a panel
the weights of eight outputs, or of sixteen in 8 and 4 bits, are interleaved chunk by chunk (tiles.py, integers.py): they are read as one
stream and stay in the nearest caches for all rows, while the next panel is fetched from memory. float32 weights that are bfloat16 numbers,
as in most checkpoints, take two bytes: the same numbers, half of the memory.

A row's sums have one order whatever the number of rows, so passes of one row, of several, and of a whole prompt agree bit for bit.
"""

import numpy as np
from numba import njit

from . import integers
from .kept import kept
from .stealing import next_piece, part_of
from .tiles import CHUNKS, OUTPUTS, tile
from .vectors import REGISTERS

MANY = 48  # rows that are multiplied with a panel before the next one: they fit into the second-level cache
ROOM = 32 << 20  # bytes taken from the system at once
ALIGNED = 64  # bytes
MORE = REGISTERS == 32
IN_TWOS, IN_FOURS = (8, 4) if MORE else (4, 2)  # outputs of a tile
_ones, _twos, _threes, _fours = tile(1, OUTPUTS), tile(2, IN_TWOS), tile(3, 4), tile(4, IN_FOURS)
_one, _two, _three, _four, _five, _six, _seven, _eight = (integers.tile(rows) for rows in range(1, 9))
_most = {2: _two, 4: _four, 8: _eight}[integers.MOST_ROWS]
_exact = kept(njit, nogil=True, error_model="numpy")  # without `fastmath`, which would allow sums to be reordered


class Store:
    """Memory for a model's weights in long stretches, because numpy asks for large pages only for those (huge_pages.py)."""

    def __init__(self):
        self._left = np.empty(0, np.uint8)

    def room(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = int(np.prod(shape)) * dtype.itemsize
        first = -self._left.ctypes.data % ALIGNED
        if first + count > len(self._left):
            self._left = np.empty(max(ROOM, count + ALIGNED), np.uint8)
            first = -self._left.ctypes.data % ALIGNED
        found, self._left = self._left[first : first + count], self._left[first + count :]
        return found.view(dtype).reshape(shape)


def in_two_bytes(weight: np.ndarray) -> bool:
    """Whether all numbers of float32 (N, K) are bfloat16 numbers."""
    return not np.bitwise_or.reduce(weight.view(np.uint32), axis=None) & np.uint32(0xFFFF)


def pack(weight: np.ndarray, store: Store) -> np.ndarray:
    """(N, K elements) -> (panels, chunks, outputs of a panel, elements of a chunk), padded with zeros. float32 weights that are bfloat16
    numbers become uint16. uint8 holds two 4-bit numbers a byte as in GGUF's blocks of 32: the first 16 in the lower halves."""
    outputs, width = weight.shape
    halved = weight.dtype == np.float32 and in_two_bytes(weight)
    dtype = np.dtype(np.uint16) if halved else weight.dtype
    elements, across = CHUNKS[dtype].elements, CHUNKS[dtype].outputs
    panels, chunks = -(-outputs // across), -(-width // elements)
    if (outputs, width) != (panels * across, chunks * elements):
        weight = np.pad(weight, ((0, panels * across - outputs), (0, chunks * elements - width)))
    packed = store.room((panels, chunks, across, elements), dtype)
    if halved:
        _lay_halves(weight.view(np.uint32), packed.view(np.uint32))
    elif dtype.itemsize == 1:  # four bytes of every output in turn
        parts = weight.reshape(panels, across, chunks, elements // 4, 4).transpose(0, 2, 3, 1, 4)
        packed.reshape(parts.shape)[:] = parts ^ (-128 if dtype == np.int8 else 0)
    else:
        packed[:] = weight.reshape(panels, across, chunks, elements).swapaxes(1, 2)
    return packed


def unpack(panels: np.ndarray, outputs: int, width: int) -> np.ndarray:
    """The inverse of `pack`: (N, K elements)."""
    count, chunks, across, elements = panels.shape
    if panels.dtype == np.uint16:
        pairs = panels.reshape(*panels.shape[:3], 8, 2).swapaxes(3, 4).reshape(panels.shape)
        panels = (pairs.astype(np.uint32) << 16).view(np.float32)
    elif panels.dtype.itemsize == 1:
        parts = panels.reshape(count, chunks, elements // 4, across, 4).swapaxes(2, 3)
        panels = (parts ^ (-128 if panels.dtype == np.int8 else 0)).astype(panels.dtype).reshape(panels.shape)
    return panels.swapaxes(1, 2).reshape(count * across, -1)[:outputs, :width]


@_exact
def _lay_halves(bits, packed):
    """Store the upper halves of inputs i and i + 8 of a chunk side by side. bits (N, K) -> packed (panels, chunks, OUTPUTS, 8)."""
    for p in range(packed.shape[0]):
        for c in range(packed.shape[1]):
            for j in range(packed.shape[2]):
                for i in range(packed.shape[3]):
                    low, high = bits[p * OUTPUTS + j, c * 16 + i], bits[p * OUTPUTS + j, c * 16 + 8 + i]
                    packed[p, c, j, i] = low >> np.uint32(16) | high & np.uint32(0xFFFF0000)


@_exact
def multiply(share, shares, places, x, weight, out, scale):
    """One of `shares` parts of a product: x (m, K) float32; weight as `pack` gives it; scale (N,) -> out (m, N). N includes the outputs
    that pad the last panel. places: an address for stealing.py, or 0."""
    rows = x.shape[0]
    for turn in range(shares if places else 1):
        owner = (share + turn) % shares
        first, panels = part_of(weight.shape[0], owner, shares)
        pieces = panels * (-(-rows // MANY))
        n = next_piece(places, share, owner, pieces, -1)
        while n >= 0:
            begin = n // panels * MANY
            end = min(begin + MANY, rows)
            _panel(np.uint64(begin), np.uint64(end), x, weight, np.uint64(first + n % panels), scale, out)
            n = next_piece(places, share, owner, pieces, n)


@_exact
def multiply_integers(share, shares, places, x, weight, out, scale, offset):
    """As `multiply`, for weights in 8 and in 4 bits: x (m, words of a row), scale and offset as integers.py has them."""
    rows = x.shape[0]
    for turn in range(shares if places else 1):
        owner = (share + turn) % shares
        first, panels = part_of(weight.shape[0], owner, shares)
        pieces = panels * (-(-rows // MANY))
        n = next_piece(places, share, owner, pieces, -1)
        while n >= 0:
            begin = n // panels * MANY
            end = min(begin + MANY, rows)
            _integer_panel(np.uint64(begin), np.uint64(end), x, weight, np.uint64(first + n % panels), scale, offset, out)
            n = next_piece(places, share, owner, pieces, n)


@njit(nogil=True, error_model="numpy", inline="always")
def _panel(begin, end, x, weight, p, scale, out):
    """Rows in fours, then the rest: three at once where they fit into registers, else two and one."""
    fours = begin + (end - begin) // np.uint64(4) * np.uint64(4)
    for r in range(begin, fours, np.uint64(4)):
        for n in range(np.uint64(0), np.uint64(OUTPUTS), np.uint64(IN_FOURS)):
            _fours(x, r, weight, p, n, scale, out)
    left, r = end - fours, fours
    if MORE and left == np.uint64(3):
        for n in range(np.uint64(0), np.uint64(OUTPUTS), np.uint64(4)):
            _threes(x, r, weight, p, n, scale, out)
        return
    if left >= np.uint64(2):
        for n in range(np.uint64(0), np.uint64(OUTPUTS), np.uint64(IN_TWOS)):
            _twos(x, r, weight, p, n, scale, out)
        r += np.uint64(2)
    if r < end:
        _ones(x, r, weight, p, np.uint64(0), scale, out)


@njit(nogil=True, error_model="numpy", inline="always")
def _integer_panel(begin, end, x, weight, p, scale, offset, out):
    """As many rows at once as fit into registers, then the rest at once."""
    most = np.uint64(integers.MOST_ROWS)
    whole = begin + (end - begin) // most * most
    for r in range(begin, whole, most):
        _most(x, r, weight, p, scale, offset, out)
    left = end - whole
    if most == np.uint64(8) and left == np.uint64(7):
        _seven(x, whole, weight, p, scale, offset, out)
    elif most == np.uint64(8) and left == np.uint64(6):
        _six(x, whole, weight, p, scale, offset, out)
    elif most == np.uint64(8) and left == np.uint64(5):
        _five(x, whole, weight, p, scale, offset, out)
    elif most == np.uint64(8) and left == np.uint64(4):
        _four(x, whole, weight, p, scale, offset, out)
    elif left == np.uint64(3):
        _three(x, whole, weight, p, scale, offset, out)
    elif left == np.uint64(2):
        _two(x, whole, weight, p, scale, offset, out)
    elif left == np.uint64(1):
        _one(x, whole, weight, p, scale, offset, out)

"""KV cache of fixed size with rollback by length.

Rolling back only changes a number: stale keys beyond the length are never read, and the next pass overwrites them. Layers may have
different lengths, because drafting runs ahead in the first layers; the engine makes them equal again at every round boundary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

BLOCK, SPAN, WHOLE = 64, 384, 1024  # positions: see KVCache.extent
ALIGNED = 64  # bytes: of a cache line; a vector that lies on two has to be read from both


class KVCache:
    """Stands in for transformers' cache: a layer calls `update` and reads nothing else. Batch size 1.

    Keys are stored with positions last, so that their product with queries has no transposed operand. In float32 that kernel is faster, and
    its sums do not depend on the number of rows, unlike those of the kernel for transposed operands.
    """

    keys_along = 3  # dimension of keys that holds positions

    def __init__(self, devices: list[torch.device], heads: int, capacity: int, head_dim: int, dtype: torch.dtype):
        """`devices`: the device of each layer. `capacity`: positions."""
        self.whole = WHOLE if dtype == torch.bfloat16 else 0
        self.capacity = self.extent(capacity)
        self.keys = [torch.zeros(1, heads, head_dim, self.capacity, dtype=dtype, device=device) for device in devices]
        self.values = [torch.zeros(1, heads, self.capacity, head_dim, dtype=dtype, device=device) for device in devices]
        self.lengths = [0] * len(devices)
        self.prompt: int | None = None  # tokens of the prompt; set where layers see fewer of the positions after it (layer_facts.py)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        """Append (1, heads, m, head_dim) to a layer. Returns views of its keys and values, (1, heads, extent(length), head_dim)."""
        start = self.lengths[layer]
        end = self.lengths[layer] = start + keys.shape[2]
        stored, also = self.keys[layer], self.values[layer]
        stored[:, :, :, start:end] = keys.transpose(2, 3)
        also[:, :, start:end] = values
        reach = self.extent(end)
        return stored[:, :, :, :reach].transpose(2, 3), also[:, :, :reach]

    def extent(self, length: int) -> int:
        """How many positions a pass reads: the length rounded up to whole blocks, or to whole spans if it is longer than one. The rest is
        masked.

        The product of probabilities and values sums over positions. To repeat a plain step bit for bit, a verify pass must sum as it does.
        With an odd number of positions, bf16 kernels sum in another order for one row than for several. float32 kernels split a long sum
        into parts of at most SPAN positions, which are all full only if the number of positions is a multiple of SPAN. bf16 kernels take up
        to WHOLE positions as one sum and split longer ones, so in bf16 a length of up to WHOLE positions is not rounded up beyond WHOLE.
        """
        unit = BLOCK if length <= SPAN else SPAN
        reach = -(-length // unit) * unit
        return min(reach, self.whole) if length <= self.whole else reach

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on, in every layer that is longer."""
        self.lengths = [n if n < length else length for n in self.lengths]

    def keep(self, start: int, rows: Sequence[int]) -> None:
        """Keep only these rows, in ascending order, of the pass written from `start` on, and close the gaps: a path becomes a chain."""
        if rows and rows[-1] >= len(rows):
            first = next(i for i, row in enumerate(rows) if row != i)  # rows before this one stay in place
            self._move([start + row for row in rows[first:]], start + first)
        self.truncate(start + len(rows))

    def _move(self, places: list[int], to: int) -> None:
        for stored, along in self._stores():
            stored.narrow(along, to, len(places)).copy_(stored.index_select(along, torch.tensor(places, device=stored.device)))

    @contextmanager
    def borrowed(self, start: int, rows: int) -> Iterator[None]:
        """Allows passes over up to `rows` rows from `start` on; afterwards the cache is as it was before."""
        lengths, parts = self.lengths, [stored.narrow(along, start, rows) for stored, along in self._stores()]
        copies = [part.clone() for part in parts]
        self.lengths = [start] * len(lengths)
        try:
            yield
        finally:
            self.lengths = lengths
            for part, copied in zip(parts, copies):
                part.copy_(copied)

    def _stores(self) -> list[tuple[Tensor, int]]:
        """Keys and values of every layer, each with the dimension that holds positions."""
        return [(keys, self.keys_along) for keys in self.keys] + [(values, 2) for values in self.values]

    def randomize(self, seed: int = 0) -> None:
        """Fill all places with random keys and values: a context for checks and timings that nobody has to compute."""
        for number, tensor in enumerate((*self.keys, *self.values)):
            tensor.normal_(generator=torch.Generator(tensor.device).manual_seed(seed + number))


def largest_difference(one: KVCache, other: KVCache) -> float:
    """Largest absolute difference between the keys and values that both hold. 0: equal bit for bit (except the sign of a zero)."""
    most, reach = 0.0, min(*one.lengths, *other.lengths)
    for (mine, along), (theirs, also) in zip(one._stores(), other._stores()):
        if reach:
            difference = mine.narrow(along, 0, reach).float() - theirs.narrow(also, 0, reach).float()
            most = max(most, difference.abs().max().item())
    return most


class SharedCache:
    """Stands in for the caches of several texts in one pass: splits what a layer passes to it, text by text."""

    def __init__(self, caches: Sequence[KVCache], rows: Sequence[int]):
        """`rows`: number of rows of each text."""
        self.caches, self.rows = caches, list(rows)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """As KVCache.update, for the rows of all texts. Returns a tuple of keys and one of values, text by text."""
        parts = zip(self.caches, keys.split(self.rows, 2), values.split(self.rows, 2))
        return tuple(zip(*(cache.update(*both, layer) for cache, *both in parts)))


class RowCache(KVCache):
    """For passes that attend row by row (cpu/step.py): float32, positions first. The system allocates memory as positions are written, so a
    long context costs nothing before it is used."""

    keys_along = 2

    def __init__(self, layers: int, heads: int, capacity: int, head_dim: int):
        self.capacity = capacity
        self.prompt: int | None = None
        count = layers * 2 * capacity * heads * head_dim
        room = np.zeros(count + ALIGNED // 4, np.float32)
        first = -room.ctypes.data % ALIGNED // 4
        self._all = room[first : first + count].reshape(layers, 2, capacity, heads, head_dim)
        self._stored = [tuple(both) for both in self._all]
        addresses = [[array.__array_interface__["data"][0] for array in both] for both in self._stored]
        self.addresses = np.array(addresses, np.int64)  # of every layer's keys and values, (layers, 2)
        self.lengths = [0] * layers
        self.programs: dict = {}  # of passes over a chain or a tree, by thread, rows and layers (cpu/step.py)

    @property
    def keys(self) -> list[Tensor]:
        return [self._seen(keys, self.capacity) for keys, _ in self._stored]

    @property
    def values(self) -> list[Tensor]:
        return [self._seen(values, self.capacity) for _, values in self._stored]

    def _move(self, places: list[int], to: int) -> None:
        self._all[:, :, to : to + len(places)] = self._all[:, :, places]

    def places(self, layer: int, start: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values, (capacity, heads, head_dim), for a pass over positions start .. start + rows - 1. Sets the layer's length."""
        self.lengths[layer] = start + rows
        return self._stored[layer]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        start = self.lengths[layer]
        end = self.lengths[layer] = start + keys.shape[2]
        views = []
        for stored, new in zip(self._stored[layer], (keys, values)):
            view = self._seen(stored, end)
            view[:, :, start:] = new
            views.append(view.to(new.dtype))
        return tuple(views)

    def extent(self, length: int) -> int:
        return length

    @staticmethod
    def _seen(stored: np.ndarray, length: int) -> Tensor:  # (1, heads, length, head_dim)
        return torch.from_numpy(stored[:length]).transpose(0, 1)[None]

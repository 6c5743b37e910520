"""KV cache of fixed size with rollback by length.

Rolling back moves a number: stale keys behind the length are never read and are overwritten by the next pass. Layers may have
different lengths, because drafting runs ahead in the first layers; the engine brings them together at every round boundary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

BLOCK, SPAN, WHOLE = 64, 384, 1024  # positions


class KVCache:
    """Stands in for transformers' cache: a layer calls `update` and reads nothing else. Batch size 1.

    Keys are stored with positions last, so that their product with queries has no transposed operand: in float32 that kernel sums alike
    for any number of rows, the other one does not, and it is faster too.
    """

    keys_along = 3  # dimension of keys in which positions are

    def __init__(self, devices: list[torch.device], heads: int, capacity: int, head_dim: int, dtype: torch.dtype):
        """`devices`: where each layer is."""
        self.whole = WHOLE if dtype == torch.bfloat16 else 0
        self.capacity = self.extent(capacity)
        self.keys = [torch.zeros(1, heads, head_dim, self.capacity, dtype=dtype, device=device) for device in devices]
        self.values = [torch.zeros(1, heads, self.capacity, head_dim, dtype=dtype, device=device) for device in devices]
        self.lengths = [0] * len(devices)
        self.prompt: int | None = None  # tokens of the prompt, where layers see less of the text behind it (layer_facts.py)

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
        """How many positions a pass looks at: the length, rounded up to whole blocks, and beyond a span to whole spans. The rest is masked.

        The product of probabilities and values sums over positions, and a verify pass must sum as a plain step does to repeat it bit for
        bit. With an odd number of positions bf16 kernels sum in another order for one row than for several; float32 kernels split a long
        sum into parts of at most a span, all of them whole only if the number of positions is a multiple of it. bf16 kernels take up to
        1,024 positions as one sum, and more of them in parts: a pass that needs no more looks no further.
        """
        unit = BLOCK if length <= SPAN else SPAN
        reach = -(-length // unit) * unit
        return min(reach, self.whole) if length <= self.whole else reach

    def truncate(self, length: int) -> None:
        """Forget everything behind `length`, in every layer that is longer."""
        self.lengths = [min(n, length) for n in self.lengths]

    def keep(self, start: int, rows: Sequence[int]) -> None:
        """Of the pass that was written from `start` on, keep these rows alone, rising, and close the gaps: a path becomes a chain."""
        first = next((i for i, row in enumerate(rows) if row != i), len(rows))  # up to here nothing moves
        if first < len(rows):
            self._move([start + row for row in rows[first:]], start + first)
        self.truncate(start + len(rows))

    def _move(self, places: list[int], to: int) -> None:
        for stored, along in self._stores():
            stored.narrow(along, to, len(places)).copy_(stored.index_select(along, torch.tensor(places, device=stored.device)))

    @contextmanager
    def borrowed(self, start: int, rows: int) -> Iterator[None]:
        """Passes over up to so many rows from `start` on, which read the cache and leave it as it was."""
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
        """Keys and values of every layer, and the dimension that their positions are in."""
        return [(keys, self.keys_along) for keys in self.keys] + [(values, 2) for values in self.values]

    def randomize(self, seed: int = 0) -> None:
        """Random keys and values in all places: a context for checks and timings that nobody has to compute."""
        for number, tensor in enumerate((*self.keys, *self.values)):
            tensor.normal_(generator=torch.Generator(tensor.device).manual_seed(seed + number))


def largest_difference(one: KVCache, other: KVCache) -> float:
    """Between the keys and values that both hold, over all layers; 0: equal bit for bit (but for the sign of a zero)."""
    most, reach = 0.0, min(*one.lengths, *other.lengths)
    for (mine, along), (theirs, also) in zip(one._stores(), other._stores()):
        if reach:
            difference = mine.narrow(along, 0, reach).float() - theirs.narrow(also, 0, reach).float()
            most = max(most, difference.abs().max().item())
    return most


class SharedCache:
    """Stands in for the caches of several texts in one pass: what a layer gives it is taken apart, text by text."""

    def __init__(self, caches: Sequence[KVCache], rows: Sequence[int]):
        """`rows` of each text."""
        self.caches, self.rows = caches, list(rows)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """As KVCache.update, for rows of all texts: a tuple of keys and one of values, text by text."""
        parts = zip(self.caches, keys.split(self.rows, 2), values.split(self.rows, 2))
        return tuple(zip(*(cache.update(*both, layer) for cache, *both in parts)))


class RowCache(KVCache):
    """For passes that take their rows one by one (cpu/step.py): float32, position by position. The system gives memory as positions are
    written, so a long context costs nothing before it is there."""

    keys_along = 2

    def __init__(self, layers: int, heads: int, capacity: int, head_dim: int):
        self.capacity = capacity
        self.prompt: int | None = None
        self._stored = [tuple(np.zeros((capacity, heads, head_dim), np.float32) for _ in range(2)) for _ in range(layers)]
        self.lengths = [0] * layers

    @property
    def keys(self) -> list[Tensor]:
        return [self._seen(keys, self.capacity) for keys, _ in self._stored]

    @property
    def values(self) -> list[Tensor]:
        return [self._seen(values, self.capacity) for _, values in self._stored]

    def places(self, layer: int, start: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a pass over positions start .. start + rows - 1 writes and reads: keys and values (capacity, heads, head_dim)."""
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

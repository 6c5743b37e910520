"""KV cache of fixed size with rollback by length.

Rolling back moves a number: stale keys behind the length are never read and are overwritten by the next pass. Layers may have
different lengths, because drafting runs ahead in the first layers; the engine brings them together at every round boundary.
"""

import torch
from torch import Tensor

BLOCK = 64  # positions


class KVCache:
    """Stands in for transformers' cache: a layer calls `update` and reads nothing else. Batch size 1."""

    def __init__(self, layers: int, heads: int, capacity: int, head_dim: int, dtype: torch.dtype, device: torch.device):
        self.capacity = -(-capacity // BLOCK) * BLOCK
        shape = (layers, 1, heads, self.capacity, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * layers

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        """Append (1, heads, m, head_dim) to a layer. Returns views of its keys and values, (1, heads, extent(length), head_dim)."""
        start = self.lengths[layer]
        end = self.lengths[layer] = start + keys.shape[2]
        self.keys[layer, :, :, start:end] = keys
        self.values[layer, :, :, start:end] = values
        reach = self.extent(end)
        return self.keys[layer, :, :, :reach], self.values[layer, :, :, :reach]

    def extent(self, length: int) -> int:
        """How many positions a pass looks at: the length, rounded up to whole blocks. What lies behind the length is masked.

        The product of probabilities and values sums over positions; with an odd number of them its bf16 kernels sum in another order
        for one row than for several, and a verify pass would not repeat a plain step bit for bit.
        """
        return -(-length // BLOCK) * BLOCK

    def truncate(self, length: int) -> None:
        """Forget everything behind `length`, in every layer that is longer."""
        self.lengths = [min(n, length) for n in self.lengths]

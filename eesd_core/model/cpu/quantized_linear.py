"""Linear layers in 8 and in 4 bits for a CPU: `--quantize q8` and `q4`.

*q8*: weights are whole numbers with one scale a row, and so are activations. Their sums are exact, so rows cannot depend on each other
or on their number. oneDNN's packed product is nearly as fast for eight rows as for one, where the processor has instructions for it
(VNNI); others add pairs of products in 16 bits, which overflow. That is tried out, and then numba's loop takes its place: it gives the
same bits.

*q4*: blocks of 32 weights, each 0 to 15 times the block's scale, plus an offset: the format of GGUF's Q4_1 and Q4_0, whose blocks are
used as they are (scale and offset rounded to bf16). The head has 8 bits: in 4 it changes every fifth likeliest token.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from .threads import multiply_by_threads

GROUP = 32  # weights of a block
LEVELS = 127


class Int8Linear(nn.Module):
    """Without a bias."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.outputs, self.inputs = weight.shape
        scale = weight.float().abs().amax(-1).clamp_min(1e-20) / LEVELS  # (N,)
        numbers = (weight.float() / scale[:, None]).round().to(torch.int8)
        exact = packed_product_is_exact()
        self.door = torch.uint8 if exact else torch.int16
        self.product = _packed(numbers, scale) if exact else _looped(numbers, scale)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.inputs).float()
        by = rows.abs().amax(-1, keepdim=True).clamp_min(1e-20) / LEVELS
        whole = (rows / by).round() + (128 if self.door == torch.uint8 else 0)
        return (self.product(whole.to(self.door)) * by).view(*x.shape[:-1], -1).to(x.dtype)


def _packed(numbers: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """oneDNN's product of uint8 (128 is nothing) and int8: x (m, K) -> (m, N) float32."""
    packed = torch.ops.onednn.qlinear_prepack(numbers, [8, numbers.shape[1]])
    zeros, product = torch.zeros(len(numbers), dtype=torch.int64), torch.ops.onednn.qlinear_pointwise.default
    return lambda x: product(x, 1.0, 128, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")


def _looped(numbers: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """The same for x int16, by numba."""
    weight, scale = numbers.numpy(), scale.numpy()

    def product(x: Tensor) -> Tensor:
        out = np.empty((len(x), len(weight)), np.float32)
        multiply_by_threads(x.numpy(), weight, scale, out)
        return torch.from_numpy(out)

    return product


@cache
def packed_product_is_exact() -> bool:
    """Whether the largest sums that can be come out right, for one row and several."""
    if not hasattr(torch.ops.onednn, "qlinear_prepack"):
        return False
    weight = torch.full((64, 512), LEVELS, dtype=torch.int8)
    weight[::2, 1::3] = -LEVELS
    product = _packed(weight, torch.ones(64))
    for rows in (1, 2, 4, 16):
        x = torch.full((rows, 512), 255, dtype=torch.uint8)
        if not torch.equal(product(x), (x.long() - 128).matmul(weight.long().T).float()):
            return False
    return True


class Int4Linear(nn.Module):
    """Without a bias. bf16 at its door: in float32 torch's product is twenty times slower."""

    door = torch.bfloat16

    def __init__(self, numbers: Tensor, scale: Tensor, middle: Tensor):
        """numbers (N, K) 0 to 15, int32; scale and middle, what the number 8 stands for, (N, K / GROUP)."""
        super().__init__()
        packed = torch._convert_weight_to_int4pack_for_cpu(numbers, 1)
        pairs = torch.stack([scale, middle], -1).transpose(0, 1).contiguous().bfloat16()  # (K / GROUP, N, 2)
        self.product = lambda x: torch._weight_int4pack_mm_for_cpu(x, packed, GROUP, pairs)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x.reshape(-1, x.shape[-1]).bfloat16()).view(*x.shape[:-1], -1).to(x.dtype)

    @classmethod
    def of(cls, weight: Tensor) -> "Int4Linear":
        """(N, K), rounded."""
        blocks = weight.float().unflatten(1, (-1, GROUP))  # (N, K / GROUP, GROUP)
        low, high = blocks.amin(-1), blocks.amax(-1)
        scale = ((high - low) / 15).clamp_min(1e-8)
        numbers = ((blocks - low[..., None]) / scale[..., None]).round().clamp(0, 15)
        return cls(numbers.to(torch.int32).flatten(1), scale, low + 8 * scale)

    @classmethod
    def of_blocks(cls, parts: Sequence[tuple[str, Tensor]]) -> "Int4Linear":
        """Of GGUF blocks as model/gguf.py gives them, one part's rows behind the other's: Q4_1 (scale d, offset m) or Q4_0 (d)."""
        numbers, scales, middles = [], [], []
        for kind, data in parts:
            block = data.unflatten(1, (-1, 20 if kind == "Q4_1" else 18))  # (N, K / GROUP, bytes)
            halves = block[..., -16:]
            numbers.append(torch.cat((halves & 15, halves >> 4), -1).to(torch.int32).flatten(1))
            scale = block[..., :2].contiguous().view(torch.float16).float()[..., 0]
            scales.append(scale)
            offset = block[..., 2:4].contiguous().view(torch.float16).float()[..., 0] + 8 * scale
            middles.append(offset if kind == "Q4_1" else torch.zeros_like(scale))
        return cls(torch.cat(numbers), torch.cat(scales), torch.cat(middles))


def fits_4_bits(weight: Tensor) -> bool:
    """What torch's product asks of a shape."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % GROUP == 0

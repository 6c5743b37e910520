"""Weights in 4 bits, in groups of 32, in the layout of GGUF's Q4_1: a group is stored as a scale d and a minimum m in float16 and 32
integers q from 0 to 15. A weight is d q + m. That is 5 bits per weight in all.

Weights that will be stored this way are trained with the rounding in the forward pass (`fake_quantize`). Gradients ignore the rounding
(straight-through estimator, Bengio et al. 2013, arXiv 1308.3432), so the weights adapt to it.
"""

import torch
from torch import Tensor

GROUP, BYTES = 32, 20  # weights in a group; its size in bytes: d, m, then two weights per byte


def fits_4_bits(weight: Tensor) -> bool:
    return weight.ndim == 2 and weight.shape[1] % GROUP == 0


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, in) -> q (n, in / 32, 32), d and m (n, in / 32, 1), all float32."""
    groups = weight.float().unflatten(-1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale, low = ((high - low) / 15).half().float(), low.half().float()
    q = ((groups - low) / scale.clamp_min(1e-7)).round_().clamp_(0, 15)
    return q, scale, low


def to_4_bits(weight: Tensor) -> Tensor:
    """(n, in) -> blocks, uint8 (n, in / 32 * 20)."""
    q, scale, low = _rounded(weight.detach())
    numbers = q.to(torch.uint8)
    packed = numbers[..., : GROUP // 2] | numbers[..., GROUP // 2 :] << 4  # lower halves: weights 0 to 15
    head = torch.cat([scale, low], -1).half().view(torch.uint8)  # (n, in / 32, 4)
    return torch.cat([head, packed], -1).flatten(1).contiguous()


def from_4_bits(blocks: Tensor) -> Tensor:
    """uint8 (n, in / 32 * 20) -> float32 (n, in)."""
    groups = blocks.unflatten(-1, (-1, BYTES))
    scale, low = groups[..., :4].contiguous().view(torch.float16).float().split(1, -1)
    packed = groups[..., 4:]
    return (torch.cat([packed & 15, packed >> 4], -1).float() * scale + low).flatten(1)


def fake_quantize(weight: Tensor) -> Tensor:
    """The weight as it will be read back from a file: (n, in) -> (n, in) float32. The gradient passes unchanged."""
    with torch.no_grad():
        q, scale, low = _rounded(weight)
        change = q.mul_(scale).add_(low).flatten(1) - weight
    return weight + change

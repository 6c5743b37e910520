"""Linear layers in 8 and in 4 bits for a CPU: `--quantize q8` and `q4`.

*q8*: weights are integers with one scale per row, and so are activations. Their sums are exact, so a row cannot depend on other rows or on
their number. On processors with VNNI instructions, oneDNN's packed 8-bit product is nearly as fast for eight rows as for one. Other
processors add pairs of products in 16 bits, which overflow. A test at run time detects this, and our own product takes over (panels.py),
with 14-bit activations, which cost nothing extra there.

*q4*: blocks of 32 weights, each an integer from 0 to 15 times the block's scale, plus an offset: the format of GGUF's Q4_1 and Q4_0, whose
blocks are used as they are. Processors that compute in bf16 use torch's product (scale and offset rounded to bf16). Others use ours, with
14-bit activations; torch's took two to three times as long there. The head has 8 bits: 4 bits would change the most likely token in one
case out of five.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UserError
from .kernels import close_rows
from .panels import Store, pack
from .threads import PanelProduct

GROUP = 32  # weights in a block
LEVELS, FINE = 127, 8191  # the largest integer of a weight or of uint8 activations, and of int16 activations
MOST_INPUTS = 8 * (2**31 // (LEVELS * FINE))  # of our product: each of eight lanes sums an eighth of them in 32 bits


class Int8Linear(nn.Module):
    """Weight (N, K) without a bias. Raises UserError for more inputs than its 32-bit sums can hold."""

    def __init__(self, weight: Tensor, store: Store | None = None):
        super().__init__()
        self.outputs, self.inputs = weight.shape
        scale = weight.float().abs().amax(-1).clamp_min(1e-20) / LEVELS  # (N,)
        numbers = (weight.float() / scale[:, None]).round().to(torch.int8)
        exact = packed_product_is_exact()
        if not exact and self.inputs > MOST_INPUTS:
            raise UserError(f"q8 takes layers of at most {MOST_INPUTS:,} inputs on this processor: leave the model unquantised")
        self.door = torch.uint8 if exact else torch.int16
        self.panels = None if exact else _ours(numbers, scale, store)  # for region.py
        self.product = _packed(numbers, scale) if exact else _by_torch(self.panels)

    def forward(self, x: Tensor) -> Tensor:
        whole, by = _whole(x.reshape(-1, self.inputs).float(), self.door)
        return (self.product(whole) * by).view(*x.shape[:-1], -1).to(x.dtype)


def _whole(rows: Tensor, door: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows (m, K) float32 as integers, and the factors (m, 1) that turn these back into the rows (kernels.close_row)."""
    whole, by = torch.empty(rows.shape, dtype=door), torch.empty(len(rows), 1)
    close_rows(rows.detach().contiguous().numpy(), whole.numpy(), by.view(-1).numpy())
    return whole, by


def _packed(numbers: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """oneDNN's product of uint8 activations (128 means zero) and int8 weights: x (m, K) -> (m, N) float32."""
    packed = torch.ops.onednn.qlinear_prepack(numbers, [8, numbers.shape[1]])
    zeros, product = torch.zeros(len(numbers), dtype=torch.int64), torch.ops.onednn.qlinear_pointwise.default
    return lambda x: product(x, 1.0, 128, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")


def _by_torch(product: PanelProduct) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.from_numpy(product(x.numpy()))


def _ours(numbers: Tensor, scale: Tensor, store: Store | None = None) -> PanelProduct:
    """Our product of int16 activations and int8 weights: x (m, K) -> (m, N) float32."""
    panels = pack(numbers.numpy(), store or Store())
    missing = len(panels) * panels.shape[2] - len(scale)
    return PanelProduct(panels, *numbers.shape, np.pad(scale.numpy(), (0, missing)))


@cache
def packed_product_is_exact() -> bool:
    """Whether oneDNN's product computes the largest possible sums correctly, for one row and for several."""
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
    """Without a bias."""

    def __init__(self, numbers: Tensor, scale: Tensor, middle: Tensor, store: Store | None = None):
        """numbers (N, K) int32 from 0 to 15; scale and middle (N, K / GROUP). `middle` is the weight that the number 8 stands for."""
        super().__init__()
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.door = torch.bfloat16 if native else torch.int16
        self.panels = None if native else _our_blocks(numbers, scale, middle, store)  # for region.py
        self.product = _torchs_blocks(numbers, scale, middle) if native else _by_torch(self.panels)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.door == torch.bfloat16:
            out = self.product(rows.bfloat16())
        else:
            whole, by = _whole(rows.float(), self.door)
            out = self.product(whole) * by
        return out.view(*x.shape[:-1], -1).to(x.dtype)

    @classmethod
    def of(cls, weight: Tensor, store: Store | None = None) -> "Int4Linear":
        """From a weight (N, K), by rounding."""
        blocks = weight.float().unflatten(1, (-1, GROUP))  # (N, K / GROUP, GROUP)
        low, high = blocks.amin(-1), blocks.amax(-1)
        scale = ((high - low) / 15).clamp_min(1e-8)
        numbers = ((blocks - low[..., None]) / scale[..., None]).round().clamp(0, 15)
        return cls(numbers.to(torch.int32).flatten(1), scale, low + 8 * scale, store)

    @classmethod
    def of_blocks(cls, parts: Sequence[tuple[str, Tensor]], store: Store | None = None) -> "Int4Linear":
        """From GGUF blocks as model/gguf.py gives them, with the rows of all parts concatenated: Q4_1 (scale d, offset m) or Q4_0 (d)."""
        numbers, scales, middles = [], [], []
        for kind, data in parts:
            block = data.unflatten(1, (-1, 20 if kind == "Q4_1" else 18))  # (N, K / GROUP, bytes)
            halves = block[..., -16:]
            numbers.append(torch.cat((halves & 15, halves >> 4), -1).to(torch.int32).flatten(1))
            scale = block[..., :2].contiguous().view(torch.float16).float()[..., 0]
            scales.append(scale)
            offset = block[..., 2:4].contiguous().view(torch.float16).float()[..., 0] + 8 * scale
            middles.append(offset if kind == "Q4_1" else torch.zeros_like(scale))
        return cls(torch.cat(numbers), torch.cat(scales), torch.cat(middles), store)


def _torchs_blocks(numbers: Tensor, scale: Tensor, middle: Tensor) -> Callable[[Tensor], Tensor]:
    """x (m, K) bfloat16 -> (m, N). In float32 torch's product is twenty times slower."""
    packed = torch._convert_weight_to_int4pack_for_cpu(numbers, 1)
    pairs = torch.stack([scale, middle], -1).transpose(0, 1).contiguous().bfloat16()  # (K / GROUP, N, 2)
    return lambda x: torch._weight_int4pack_mm_for_cpu(x, packed, GROUP, pairs)


def _our_blocks(numbers: Tensor, scale: Tensor, middle: Tensor, store: Store | None = None) -> PanelProduct:
    """x (m, K) int16 -> (m, N) float32. N is a multiple of 16, so no panel needs padding."""
    store, (low, high) = store or Store(), numbers.to(torch.uint8).unflatten(1, (-1, 2, 16)).unbind(2)
    panels = pack((low | high << 4).flatten(1).numpy(), store)

    def of_panels(facts: Tensor) -> np.ndarray:  # (N, K / GROUP) -> (panels, K / GROUP, outputs of a panel)
        held = store.room((len(panels), panels.shape[1], panels.shape[2]), np.dtype(np.float32))
        held[:] = facts.numpy().reshape(len(panels), panels.shape[2], -1).swapaxes(1, 2)
        return held

    return PanelProduct(panels, *numbers.shape, of_panels(scale), of_panels(middle - 8 * scale))


def fits_4_bits(weight: Tensor) -> bool:
    """Whether the shape suits torch's 4-bit product and ours."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % GROUP == 0

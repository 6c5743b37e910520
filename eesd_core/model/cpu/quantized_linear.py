"""Linear layers in 8 and in 4 bits for a CPU: `--quantize q8` and `q4`.

*q8*: weights are integers with one scale per row. *q4*: blocks of 32 weights, each an integer from 0 to 15 times the block's scale, plus an
offset: the format of GGUF's Q4_1 and Q4_0, whose blocks are used as they are. In both, activations are 14-bit integers with one scale per
row, and sums of their products are exact, so a row cannot depend on other rows or on their number.

The products are ours (panels.py). torch has some for processors with VNNI or bf16 instructions, but a whole pass in one parallel region
(region.py) takes half the time of a pass that calls them. The head has 8 bits: 4 bits would change the most likely token in one case out of
five.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UserError
from .kernels import close_rows
from .panels import Store, pack
from .threads import PanelProduct

GROUP = 32  # weights in a block
LEVELS, FINE = 127, 8191  # the largest integer of a weight and of an activation
MOST_INPUTS = 8 * (2**31 // (LEVELS * FINE))  # of a product: each of eight lanes sums an eighth of them in 32 bits


class _Quantized(nn.Module):
    """Rows of integers times `panels`."""

    door = torch.int16

    def __init__(self, panels: PanelProduct):
        super().__init__()
        self.panels = panels  # for region.py
        self.product = lambda x: torch.from_numpy(panels(x.numpy()))  # (m, K) int16 -> (m, N) float32

    def forward(self, x: Tensor) -> Tensor:
        whole, by = _whole(x.reshape(-1, x.shape[-1]).float())
        return (self.product(whole) * by).view(*x.shape[:-1], -1).to(x.dtype)


class Int8Linear(_Quantized):
    """Weight (N, K) without a bias. Raises UserError for more inputs than its 32-bit sums can hold."""

    def __init__(self, weight: Tensor, store: Store | None = None):
        if weight.shape[1] > MOST_INPUTS:
            raise UserError(f"q8 takes layers of at most {MOST_INPUTS:,} inputs: leave the model unquantised")
        scale = weight.float().abs().amax(-1).clamp_min(1e-20) / LEVELS  # (N,)
        numbers = (weight.float() / scale[:, None]).round().to(torch.int8)
        super().__init__(_of_bytes(numbers, scale, store or Store()))
        self._parts: dict[tuple[int, int], PanelProduct] = {}

    def part(self, low: int, high: int) -> PanelProduct:
        """The product with some of the inputs, which fill whole chunks."""
        if (low, high) not in self._parts:
            chunks = slice(low // self.panels.group, high // self.panels.group)
            panels = np.ascontiguousarray(self.panels.panels[:, chunks])
            self._parts[low, high] = PanelProduct(panels, self.panels.outputs, high - low, *self.panels.facts)
        return self._parts[low, high]


def _whole(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, K) float32 as integers, and the factors (m, 1) that turn these back into the rows (kernels.close_row)."""
    whole, by = torch.empty(rows.shape, dtype=torch.int16), torch.empty(len(rows), 1)
    close_rows(rows.detach().contiguous().numpy(), whole.numpy(), by.view(-1).numpy())
    return whole, by


def _of_bytes(numbers: Tensor, scale: Tensor, store: Store) -> PanelProduct:
    panels = pack(numbers.numpy(), store)
    missing = len(panels) * panels.shape[2] - len(scale)
    return PanelProduct(panels, *numbers.shape, np.pad(scale.numpy(), (0, missing)))


class Int4Linear(_Quantized):
    """Without a bias."""

    def __init__(self, numbers: Tensor, scale: Tensor, middle: Tensor, store: Store | None = None):
        """numbers (N, K) int32 from 0 to 15; scale and middle (N, K / GROUP). `middle` is the weight that the number 8 stands for."""
        super().__init__(_of_blocks(numbers, scale, middle, store or Store()))

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


def _of_blocks(numbers: Tensor, scale: Tensor, middle: Tensor, store: Store) -> PanelProduct:
    """x (m, K) int16 -> (m, N) float32. N is a multiple of 16, so no panel needs padding."""
    low, high = numbers.to(torch.uint8).unflatten(1, (-1, 2, 16)).unbind(2)
    panels = pack((low | high << 4).flatten(1).numpy(), store)

    def of_panels(facts: Tensor) -> np.ndarray:  # (N, K / GROUP) -> (panels, K / GROUP, outputs of a panel)
        held = store.room((len(panels), panels.shape[1], panels.shape[2]), np.dtype(np.float32))
        held[:] = facts.numpy().reshape(len(panels), panels.shape[2], -1).swapaxes(1, 2)
        return held

    return PanelProduct(panels, *numbers.shape, of_panels(scale), of_panels(middle - 8 * scale))


def fits_4_bits(weight: Tensor) -> bool:
    """Whether the shape suits the product."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % GROUP == 0

"""Linear layers in 8 and in 4 bits for a CPU: `--quantize q8` and `q4`.

*q8*: weights are whole numbers with one scale per output. *q4*: blocks of 32 weights, each a number from 0 to 15 times the block's scale,
plus an offset: the format of GGUF's Q4_1 and Q4_0, whose blocks are used as they are. In both, activations have 8 bits, with a scale for
every 32 of them (integers.py). Sums of their products are exact, so a row cannot depend on other rows or on their number.

The products are ours (panels.py). torch has some for processors with VNNI or bf16 instructions, but a whole pass in one parallel region
(region.py) takes half the time of a pass that calls them. The head has 8 bits: 4 bits would change the most likely token in one case out of
five.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .integers import GROUP, LEVELS, words
from .kernels import close_rows
from .panels import Store, pack
from .threads import PanelProduct

SMALLEST = 2.0**-14  # positive number that float16 holds with full precision


class _Quantized(nn.Module):
    """Rows of 8-bit numbers times `panels`."""

    door = torch.int32

    def __init__(self, panels: PanelProduct):
        super().__init__()
        self.panels = panels  # for region.py
        self.product = lambda x: torch.from_numpy(panels(x.numpy()))  # (m, words) int32 -> (m, N) float32

    def forward(self, x: Tensor) -> Tensor:
        return self.product(closed(x.reshape(-1, x.shape[-1]).float())).view(*x.shape[:-1], -1).to(x.dtype)


class Int8Linear(_Quantized):
    """Weight (N, K) without a bias."""

    def __init__(self, weight: Tensor, store: Store | None = None):
        scale = weight.float().abs().amax(-1).clamp_min(1e-20) / LEVELS  # (N,)
        numbers = (weight.float() / scale[:, None]).round().to(torch.int8)
        super().__init__(_of_bytes(numbers, scale, store or Store()))
        self._parts: dict[tuple[int, int], PanelProduct] = {}

    def part(self, low: int, high: int) -> PanelProduct:
        """The product with some of the inputs, which fill whole blocks."""
        if (low, high) not in self._parts:
            chunks = slice(low // self.panels.group, high // self.panels.group)
            panels = np.ascontiguousarray(self.panels.panels[:, chunks])
            self._parts[low, high] = PanelProduct(panels, self.panels.outputs, high - low, *self.panels.facts)
        return self._parts[low, high]


def closed(rows: Tensor) -> Tensor:
    """Rows (m, K) float32 as products in 8 and 4 bits read them: (m, words)."""
    out = torch.empty(len(rows), words(rows.shape[1]), dtype=torch.int32)
    close_rows(rows.detach().contiguous().numpy(), out.numpy())
    return out


def _of_bytes(numbers: Tensor, scale: Tensor, store: Store) -> PanelProduct:
    panels = pack(numbers.numpy(), store)
    missing = len(panels) * panels.shape[2] - len(scale)
    return PanelProduct(panels, *numbers.shape, np.pad(scale.numpy(), (0, missing)))


class Int4Linear(_Quantized):
    """Without a bias."""

    def __init__(self, numbers: Tensor, scale: Tensor, offset: Tensor, store: Store | None = None):
        """numbers (N, K) uint8 from 0 to 15; scale and offset (N, K / GROUP) float16."""
        super().__init__(_of_blocks(numbers, scale, offset, store or Store()))

    @classmethod
    def of(cls, weight: Tensor, store: Store | None = None) -> "Int4Linear":
        """From a weight (N, K), by rounding."""
        blocks = weight.float().unflatten(1, (-1, GROUP))  # (N, K / GROUP, GROUP)
        low, high = blocks.amin(-1).half(), blocks.amax(-1)
        scale = ((high - low) / 15).clamp_min(SMALLEST).half()
        numbers = ((blocks - low[..., None].float()) / scale[..., None].float()).round().clamp(0, 15)
        return cls(numbers.to(torch.uint8).flatten(1), scale, low, store)

    @classmethod
    def of_blocks(cls, parts: Sequence[tuple[str, Tensor]], store: Store | None = None) -> "Int4Linear":
        """From GGUF blocks as model/gguf.py gives them, with the rows of all parts concatenated: Q4_1 (scale d, offset m) or Q4_0 (d)."""
        numbers, scales, offsets = [], [], []
        for kind, data in parts:
            block = data.unflatten(1, (-1, 20 if kind == "Q4_1" else 18))  # (N, K / GROUP, bytes)
            halves = block[..., -16:]
            numbers.append(torch.cat((halves & 15, halves >> 4), -1).flatten(1))
            scale, offset = (block[..., i : i + 2].contiguous().view(torch.float16)[..., 0] for i in (0, 2))
            scales.append(scale)
            offsets.append(offset if kind == "Q4_1" else -8 * scale)
        return cls(torch.cat(numbers), torch.cat(scales), torch.cat(offsets), store)


def _of_blocks(numbers: Tensor, scale: Tensor, offset: Tensor, store: Store) -> PanelProduct:
    """N is a multiple of 16, so no panel needs padding."""
    low, high = numbers.unflatten(1, (-1, 2, GROUP // 2)).unbind(2)
    panels = pack((low | high << 4).flatten(1).numpy(), store)

    def of_panels(facts: Tensor) -> np.ndarray:  # (N, K / GROUP) -> (panels, K / GROUP, outputs of a panel)
        held = store.room((len(panels), panels.shape[1], panels.shape[2]), np.dtype(np.uint16))
        held[:] = facts.numpy().view(np.uint16).reshape(len(panels), panels.shape[2], -1).swapaxes(1, 2)
        return held

    return PanelProduct(panels, *numbers.shape, of_panels(scale), of_panels(offset))


def fits_4_bits(weight: Tensor) -> bool:
    """Whether the shape suits the product."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % GROUP == 0

"""Linear layers with weights stored as the processor's matrix kernels want them.

On a CPU with native bf16, `F.linear` reorders the weight into the kernel's blocked layout on every call, which for a single token takes
several times as long as the product itself. With weights packed once at loading, the same kernel (oneDNN) gives bit-identical results.

In float32, `F.linear` uses one kernel for a single row and another for several, so the last bits of a sum depend on the number of rows.
MKL's packed products use the same kernel for both on processors with AVX512: a verify pass then repeats plain steps bit for bit, and costs
a tenth less. Every shape is tested. Where a test fails, our own products take over (PanelLinear, by numba), or oneDNN's where numba is
missing. Weights that are bfloat16 numbers go straight to ours: they take half of the memory, which bounds a plain step.

Each class is a module, for torch, and has a `product` for step.py: rows (m, K) of dtype `door` -> (m, N) float32 or bfloat16.
quantized_linear.py has the integer ones.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...limits import MAX_ROWS

PACKED_FOR = (MAX_ROWS, 256)  # rows: MKL chooses kernel and threads by them; with few outputs only the larger number treats rows alike
SIZES = (2, 3, 4, 5, 8, MAX_ROWS)  # numbers of rows tested when a layer is packed; the self-check tests every number
LONGEST = 1024  # inputs that oneDNN's bf16 kernels take as one sum; how they split longer ones depends on the number of rows


class PackedLinear(nn.Module):
    """By oneDNN. In bf16 a sum over more than LONGEST inputs is split into equal parts, which are added in float32."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight, bias, product = linear.weight.detach(), linear.bias, torch.ops.mkldnn._linear_pointwise.default
        self.door, parts = weight.dtype, _parts(weight)
        if parts == 1:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
            self.product = lambda x: product(x, packed, bias, "none", [], "")
            return
        pieces = [torch.ops.mkldnn._reorder_linear_weight(piece.contiguous()) for piece in weight.chunk(parts, 1)]

        def by_parts(x: Tensor) -> Tensor:
            sums = [product(part, piece, None, "none", [], "").float() for part, piece in zip(x.chunk(parts, -1), pieces)]
            return sum(sums[1:], sums[0] if bias is None else sums[0] + bias)

        self.product = by_parts

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x.to(self.door)).to(x.dtype)


def _parts(weight: Tensor) -> int:
    least = -(-weight.shape[1] // LONGEST)
    found = next((n for n in range(least, 2 * least + 1) if weight.shape[1] % n == 0), 1)
    return found if weight.dtype == torch.bfloat16 else 1


class PackedFloatLinear(nn.Module):
    """float32, by MKL. A weight packed for one number of rows gives right results for any other."""

    door = torch.float32

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        weight = linear.weight.detach()
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), rows)
        shape = weight.new_empty(1).expand(weight.shape)  # the operator reads only the shape of the plain weight
        bias, product = linear.bias, torch.ops.mkl._mkl_linear.default
        self.forward = self.product = lambda x: product(x, packed, shape, bias, x.numel() // x.shape[-1])


class PanelLinear(nn.Module):
    """float32, by our own tiles (panels.py), which treat all rows alike by construction. Weights that are bfloat16 numbers take two bytes.
    `store`: a panels.Store."""

    door = torch.float32

    def __init__(self, linear: nn.Linear, store=None):
        super().__init__()
        from .panels import Store, pack, unpack
        from .threads import PanelProduct

        weight, bias = linear.weight.detach().contiguous(), linear.bias
        shape, panels = weight.shape, pack(weight.numpy(), store or Store())
        times = PanelProduct(panels, *shape, np.ones(panels.shape[0] * panels.shape[2], np.float32))

        self.panels = times if bias is None else None  # for region.py

        def product(x: Tensor) -> Tensor:
            if x.requires_grad:
                return nn.functional.linear(x, torch.from_numpy(unpack(panels, *shape)), bias)
            out = torch.from_numpy(times(x.contiguous().numpy()))
            return out if bias is None else out.add_(bias)

        self.product = product
        self.forward = lambda x: product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], shape[0])


def product_of(module: nn.Module):
    """The product of a linear layer, packed or not, and the dtype that it reads."""
    if isinstance(module, nn.Linear):
        return (lambda x: linear(x, module.weight, module.bias)), module.weight.dtype
    return module.product, module.door


def can_pack(module: nn.Module) -> bool:
    """Whether the module is on a CPU and torch has the packed operators (torch.compile uses them); bf16 needs a CPU that computes in it."""
    weight = next(module.parameters(), None)
    if weight is None or weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    native = weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return native or (weight.dtype == torch.float32 and torch.backends.mkl.is_available())


@torch.no_grad()
def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer inside `module` in place, where possible. The model can then no longer be saved or trained."""
    if not can_pack(module):
        return
    found: dict[torch.Size, Callable[[nn.Linear], nn.Module]] = {}
    ours = _ours() if find_spec("numba") else None
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                shape = child.weight.shape
                if shape not in found:
                    found[shape] = _best(child, ours)
                setattr(parent, name, found[shape](child))


def _ours() -> Callable[[nn.Linear], nn.Module]:
    from .panels import Store

    return partial(PanelLinear, store=Store())


def _best(linear: nn.Linear, ours: Callable[[nn.Linear], nn.Module] | None) -> Callable[[nn.Linear], nn.Module]:
    """The fastest packing that treats rows alike; a layer without one stays as it is."""
    if linear.weight.dtype == torch.bfloat16:
        return PackedLinear
    if ours and _in_two_bytes(linear.weight):
        return ours
    ways = [*(partial(PackedFloatLinear, rows=rows) for rows in PACKED_FOR), ours or PackedLinear]
    return next((way for way in ways if treats_rows_alike(way(linear), linear.in_features)), lambda linear: linear)


def _in_two_bytes(weight: Tensor) -> bool:
    from .panels import in_two_bytes

    return in_two_bytes(weight.detach().contiguous().numpy())


def treats_rows_alike(linear: nn.Module, width: int) -> bool:
    """Whether a row gives bit-identical results alone and at any place among several rows, for the numbers of rows in SIZES."""
    row = torch.randn(1, 1, width, generator=torch.Generator().manual_seed(0))
    row = row.to(next((parameter.dtype for parameter in linear.parameters()), torch.float32))
    single = linear(row)
    return all(torch.equal(linear(row.expand(1, m, width).contiguous()), single.expand(1, m, -1)) for m in SIZES)

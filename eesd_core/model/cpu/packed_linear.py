"""Linear layers with weights stored as the processor's matrix kernels want them.

On a CPU with native bf16, `F.linear` brings the weight into the kernel's blocked order on every call, which for a single token takes
several times as long as the product itself. Packed once at load, the same kernel (oneDNN) gives bit-identical results.

In float32, `F.linear` takes one row by another kernel than several, so that the last bits of a sum depend on how many rows there are.
MKL's packed products take one kernel for them all: a verify pass then repeats plain steps bit for bit, and costs a tenth less. That is
tried out for every shape; where it does not hold, the layers stay as they are.
"""

import torch
from torch import nn

from ...limits import MAX_ROWS

PACKED_FOR = (MAX_ROWS, 256)  # rows: MKL chooses kernel and threads by them; with few outputs only the larger one treats rows alike


class PackedLinear(nn.Module):
    """bf16, by oneDNN."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        packed, bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous()), linear.bias
        product = torch.ops.mkldnn._linear_pointwise.default
        self.forward = lambda x: product(x, packed, bias, "none", [], "")


class PackedFloatLinear(nn.Module):
    """float32, by MKL. A weight packed for one number of rows is right for any other."""

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        weight = linear.weight.detach()
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), rows)
        shape = weight.new_empty(1).expand(weight.shape)  # all that the operator asks of the plain weight
        bias, product = linear.bias, torch.ops.mkl._mkl_linear.default
        self.forward = lambda x: product(x, packed, shape, bias, x.numel() // x.shape[-1])


def can_pack(module: nn.Module) -> bool:
    """On a CPU, with a torch build that has the packed operators (torch.compile uses them), and bf16 only where the CPU computes in it."""
    weight = next(module.parameters(), None)
    if weight is None or weight.device.type != "cpu":
        return False
    if weight.dtype == torch.float32:
        return torch.backends.mkl.is_available() and hasattr(torch.ops.mkl, "_mkl_linear")
    operators = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return weight.dtype == torch.bfloat16 and operators and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@torch.no_grad()
def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer inside `module`, in place, where that is possible. The model can then no longer be saved or trained."""
    if not can_pack(module):
        return
    found: dict[torch.Size, int | None] = {}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, _pack(child, found))


def _pack(linear: nn.Linear, found: dict[torch.Size, int | None]) -> nn.Module:
    """`found`: rows that a shape is to be packed for, None where no packing treats rows alike."""
    shape = linear.weight.shape
    if linear.weight.dtype == torch.bfloat16:
        return PackedLinear(linear)
    if shape not in found:
        found[shape] = next((rows for rows in PACKED_FOR if treats_rows_alike(PackedFloatLinear(linear, rows), shape[1])), None)
    return linear if found[shape] is None else PackedFloatLinear(linear, found[shape])


def treats_rows_alike(linear: nn.Module, width: int) -> bool:
    """Whether a pass over m rows is bit for bit m passes over one, for float32 rows of a width and m up to the largest verify pass."""
    x = torch.randn(1, MAX_ROWS, width, generator=torch.Generator().manual_seed(0))
    single = torch.cat([linear(x[:, j : j + 1]) for j in range(MAX_ROWS)], dim=1)
    return all(torch.equal(linear(x[:, :m]), single[:, :m]) for m in range(2, MAX_ROWS + 1))

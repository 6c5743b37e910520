"""Linear layers with weights stored as the processor's bf16 matrix kernels want them.

On a CPU with native bf16, `F.linear` brings the weight into the kernel's blocked order on every call, which for a single token takes
several times as long as the product itself. Packed once at load, the same kernel gives bit-identical results.
"""

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def can_pack(module: nn.Module) -> bool:
    """Only bf16 weights on a CPU that computes in bf16, with a torch build that has oneDNN's packed operators (as torch.compile uses)."""
    weight = next(module.parameters())
    operators = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and operators and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@torch.no_grad()
def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer inside `module`, in place, where that is possible. The model can then no longer be saved or trained."""
    if not can_pack(module):
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child))

"""Parts of the target that a head begins with: copies of its own, dense, of what training then changes."""

import copy

import torch
from accelerate.hooks import remove_hook_from_module
from torch import Tensor, nn

from ..errors import UserError
from ..model.quantize import dense_state
from ..model.target import Target


def mlp_width(target: Target, source: nn.Module, wanted: int) -> int:
    """Of a copy's MLP: `wanted`, or without a wish half of the source's, where it is of Llama's kind and can be narrower; 0: it stays as it
    is. Raises UserError for a wish that cannot be met."""
    if hasattr(getattr(source, "mlp", None), "gate_proj"):
        return wanted or max(32, target.config.intermediate_size // 2)
    if wanted:
        raise UserError(f"MLPs of {target.name} are not made narrower: leave the setting mlp out")
    return 0


def empty_layer(target: Target, source: nn.Module, number: int, mlp: int = 0) -> nn.Module:
    """A decoder layer as `source` is, number `number` of a head, without weights. `mlp`: the width of its MLP; 0: the source's."""
    config = target.config
    if mlp:
        config = copy.deepcopy(config)
        config.intermediate_size = mlp
    with torch.device("meta"):
        layer = type(source)(config, list(target.layers).index(source))
    attention = getattr(layer, target.family.attention)
    attention.layer_idx, attention.config = number, target.config  # the target says how attention is computed, also when that changes
    layer.kind = source.kind
    return layer


def layer_weights(target: Target, source: nn.Module, mlp: int = 0) -> dict[str, Tensor]:
    """What `empty_layer` begins with: the weights of `source`; of a narrower MLP, its first units."""
    weights = {name: tensor.to(target.dtype) for name, tensor in dense_state(source).items()}
    for name, tensor in weights.items():
        if mlp and name.startswith("mlp."):
            weights[name] = (tensor[:, :mlp] if "down" in name else tensor[:mlp]).contiguous()
    return weights


def copied_norm(target: Target) -> nn.Module:
    """The target's final norm."""
    return remove_hook_from_module(copy.deepcopy(target.norm), recurse=True)

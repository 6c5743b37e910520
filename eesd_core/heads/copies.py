"""Dense copies of the target's parts, from which the training of a head starts."""

import copy

import torch
from accelerate.hooks import remove_hook_from_module
from torch import Tensor, nn

from ..errors import UserError
from ..model.quantize import dense_state
from ..model.target import Target


def mlp_width(target: Target, source: nn.Module, wanted: int) -> int:
    """MLP width of a copied layer: `wanted`, or if that is 0 half of the source's. Only Llama-like MLPs can be made narrower; for others it
    returns 0, which keeps the source's width. Raises UserError if `wanted` is given for such an MLP."""
    if hasattr(getattr(source, "mlp", None), "gate_proj"):
        return wanted or max(32, target.config.intermediate_size // 2)
    if wanted:
        raise UserError(f"MLPs of {target.name} are not made narrower: leave the setting mlp out")
    return 0


def empty_layer(target: Target, source: nn.Module, number: int, mlp: int = 0) -> nn.Module:
    """A decoder layer like `source` without weights, as layer `number` of a head. `mlp`: the width of its MLP; 0: the source's."""
    config = target.config
    if mlp:
        config = copy.deepcopy(config)
        config.intermediate_size = mlp
    with torch.device("meta"):
        layer = type(source)(config, list(target.layers).index(source))
    attention = getattr(layer, target.family.attention)
    attention.layer_idx, attention.config = number, target.config  # shared, so a later change of the attention implementation applies too
    layer.kind = source.kind
    return layer


def layer_weights(target: Target, source: nn.Module, mlp: int = 0) -> dict[str, Tensor]:
    """Initial weights for `empty_layer`: those of `source`. A narrower MLP gets the first units."""
    weights = {name: tensor.to(target.dtype) for name, tensor in dense_state(source).items()}
    for name, tensor in weights.items():
        if mlp and name.startswith("mlp."):
            weights[name] = (tensor[:, :mlp] if "down" in name else tensor[:mlp]).contiguous()
    return weights


def copied_norm(target: Target) -> nn.Module:
    """A copy of the target's final norm."""
    return remove_hook_from_module(copy.deepcopy(target.norm), recurse=True)

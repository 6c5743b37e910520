"""How the greedy twin (exit_layer.py) is stored in its exit layer's file: as the difference from the layer in 8 bits, or, in a file of
4-bit weights, as its own weights."""

from torch import Tensor

from ..model.quantize import from_8_bits, to_8_bits

TWIN, SCALE = "greedy.", ".scale"  # prefix of the twin's tensor names; suffix of the names of their 8-bit scales


def difference(twin: dict[str, Tensor], layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors to store for a twin. `layer`: its exit layer's weights as stored, so that their rounding is compensated."""
    stored = {}
    for name, tensor in twin.items():
        stored[TWIN + name], stored[TWIN + name + SCALE] = to_8_bits(tensor.float() - layer[name].float())
    return stored


def restored(tensors: dict[str, Tensor], layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """The twin's weights, float32, from `difference`'s tensors and the layer's weights. Raises KeyError if tensors are missing."""
    return {name: t.float() + from_8_bits(tensors[TWIN + name], tensors[TWIN + name + SCALE]) for name, t in layer.items()}


def without_twin(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(TWIN)}

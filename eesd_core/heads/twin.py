"""The twin that drafts when decoding is greedy (exit_layer.py), among the tensors of one file: as the difference from its layer, in 8 bits;
in a file of 4 bits, as its own weights."""

from torch import Tensor

from ..model.quantize import from_8_bits, to_8_bits

TWIN, SCALE = "greedy.", ".scale"  # before and behind the names of the twin's tensors


def difference(twin: dict[str, Tensor], layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is stored of a twin beside its layer, as that is stored."""
    stored = {}
    for name, tensor in twin.items():
        stored[TWIN + name], stored[TWIN + name + SCALE] = to_8_bits(tensor.float() - layer[name].float())
    return stored


def restored(tensors: dict[str, Tensor], layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """The twin's weights, float32. Raises KeyError for half a twin."""
    return {name: t.float() + from_8_bits(tensors[TWIN + name], tensors[TWIN + name + SCALE]) for name, t in layer.items()}


def without_twin(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(TWIN)}

"""Low-rank changes of a model's weights (LoRA, arXiv 2106.09685), merged at loading: W + B A.

For every module that it changes, a file holds `NAME.lora_A.weight` (r, in) and `NAME.lora_B.weight` (out, r); B includes the scale.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ..errors import UserError

A, B = ".lora_A.weight", ".lora_B.weight"


def changed_by(path: Path) -> set[str]:
    """Names of the weights that a file changes."""
    with safe_open(path, "pt") as file:
        return {name.removesuffix(A) + ".weight" for name in file.keys() if name.endswith(A)}  # noqa: SIM118 (it is no dict)


@torch.no_grad()
def merge_lora(model: nn.Module, path: Path) -> None:
    """Changes the model's weights in place. Raises UserError for a file that was not made for this model."""
    changes = load_file(path)
    for name in sorted(changes):
        if name.endswith(B):
            continue
        module = name.removesuffix(A)
        try:
            weight = model.get_submodule(module).weight
            weight.copy_(weight.float() + changes.pop(module + B).float() @ changes[name].float())
        except (AttributeError, KeyError, RuntimeError):
            raise UserError(f"{path} does not fit this model (at {name}): restore the file, for example with git checkout") from None

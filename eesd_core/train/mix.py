"""Weights on the straight line between two models of one training history ("model soups", Wortsman et al. 2022, arXiv 2203.05482).

What one stage of training gained and another lost can often be had together somewhere in between. Exit layers are mixed alike.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import UserError
from ..heads.exit_layer import FACTS, TWIN, WEIGHTS, ExitLayer
from ..model.load import load_target

MODEL = "model.safetensors"


def mix(first: Path, second: Path, share: float, out: Path) -> None:
    """Write (1 - share) of `first` and `share` of `second` to `out`; everything besides the weights is the second's. Raises UserError."""
    if not 0 <= share <= 1:
        raise UserError(f"the share of the second model must be between 0 and 1, not {share:g}")
    mixed = {name: _mixed(first / name, second / name, share) for name in (MODEL, WEIGHTS)}
    out.mkdir(parents=True, exist_ok=True)
    for file in second.iterdir():
        if file.is_file():
            shutil.copy(file, out / file.name)
    for name, weights in mixed.items():
        save_file(weights, out / name, metadata={"format": "pt"})
    target = load_target(out, "cpu", "float32", alone=True)
    facts = json.loads((second / FACTS).read_text())
    layer = ExitLayer(target, facts["exit_after"], weights=mixed[WEIGHTS])
    layer.save(out, target, facts["training"] | {"mixed": {"from": [first.name, second.name], "share_of_second": share}})


def _without_twin(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Between two twins in 8 bits there is nothing: the mixed exit layer has none."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(TWIN)}


def _mixed(first: Path, second: Path, share: float) -> dict[str, torch.Tensor]:
    try:
        ours, theirs = (_without_twin(load_file(file)) for file in (first, second))
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{first.parent} and {second.parent} must both hold {first.name} ({problem})") from None
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        raise UserError(f"{first} and {second} differ in shapes: mix models of one training history")
    between = {name: ours[name].float() + share * (theirs[name].float() - ours[name].float()) for name in ours}
    return {name: weights.to(ours[name].dtype) for name, weights in between.items()}

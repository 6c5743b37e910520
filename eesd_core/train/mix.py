"""Weights on the straight line between two models of one training history ("model soups", Wortsman et al. 2022, arXiv 2203.05482).

A mixture often keeps most of what the later stage of training gained, and of what it lost. Exit layers are mixed in the same way.
"""

import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..heads import files
from ..heads.exit_layer import ExitLayer
from ..model.load import load_target
from ..replacing import replaced

MODEL = "model.safetensors"


def mix(first: Path, second: Path, share: float, out: Path) -> None:
    """Write (1 - share) of `first` and `share` of `second` to `out`; everything except the weights is the second's. Raises UserError."""
    if not 0 <= share <= 1:
        raise UserError(f"the share of the second model must be between 0 and 1, not {share:g}")
    try:
        model = _mixed(*(load_file(folder / MODEL) for folder in (first, second)), share)
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{first} and {second} must both hold {MODEL} ({problem})") from None
    before, after = files.read(first), files.read(second)
    weights = _mixed(before.weights, after.weights, share)
    out.mkdir(parents=True, exist_ok=True)
    for file in second.iterdir():
        if file.is_file():
            shutil.copy(file, out / file.name)
    with replaced(out / MODEL) as part:
        save_file(model, part, metadata={"format": "pt"})
    target = load_target(out, "cpu", "float32", alone=True)
    layer = ExitLayer(target, after.exit_after, weights=weights, layers=after.layers, taps=after.taps)  # without a twin
    layer.save(out, target, after.facts["training"] | {"mixed": {"from": [first.name, second.name], "share_of_second": share}})


def _mixed(ours: dict[str, Tensor], theirs: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Raises UserError where names or shapes differ."""
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        raise UserError("the two models differ in shapes: mix models of one training history")
    between = {name: ours[name].float() + share * (theirs[name].float() - ours[name].float()) for name in ours}
    return {name: weights.to(ours[name].dtype) for name, weights in between.items()}

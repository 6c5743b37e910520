"""The table of trained heads other than the exit layer. A new kind is a file of its own and a row here. A kind's module is imported only
when it is needed."""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..model.target import Target
    from .base import Head
    from .trained import TrainedHead

KINDS = {
    "feature": "feature.FeatureHead",
    "chimera": "chimera.ChimeraHead",
    "block": "block.BlockHead",
    "glide": "glide.GlideHead",
    "hidden-transfer": "hidden_transfer.HiddenTransferHead",
}
HEAD_WEIGHTS, HEAD_FACTS = "head.safetensors", "head.json"  # a head's files (files.py)


def kind_of(name: str) -> type["TrainedHead"]:
    """The class of a kind of head. Raises UserError for a name that is not in the table."""
    if name not in KINDS:
        raise UserError(f"unknown kind of head {name[:40]!r}: choose exit, {', '.join(KINDS)}")
    module, _, kind = KINDS[name].partition(".")
    return getattr(import_module(f".{module}", __package__), kind)


def kinds_in(folder: Path | None) -> list[str]:
    """Kinds of heads that `folder` has, each in FOLDER/KIND/."""
    return [kind for kind in KINDS if folder and any((folder / kind / name).exists() for name in (HEAD_FACTS, HEAD_WEIGHTS))]


def load_heads(
    folder: Path | None, target: "Target", exit_layer: "Head | None" = None, kinds: Collection[str] = tuple(KINDS)
) -> dict[str, "TrainedHead"]:  # fmt: skip
    """Load the heads of these kinds in FOLDER/KIND/, by kind. A head whose shortlist equals the exit layer's shares it. Raises UserError
    for files that are broken or made for another model."""
    there = [kind for kind in kinds_in(folder) if kind in kinds]
    return {kind: kind_of(kind).load(folder / kind, target, exit_layer and exit_layer.shortlist) for kind in there}

"""From names to a ready engine: target, exit layer, self-check."""

from pathlib import Path

from .engine import Engine
from .exactness import self_check
from .model.exit_layer import ExitLayer
from .model.load import EMBEDDED, load_target
from .model.packed import pack_linears


def load_engine(
    model: str | None = None, exit_layer: str | None = None, device: str = "auto", dtype: str = "auto", need_exit_layer: bool = True
) -> Engine:
    """The exit layer is looked for in the model's own folder unless another is given. Raises UserError."""
    target = load_target(model or EMBEDDED, device, dtype)
    layer = ExitLayer.load(Path(exit_layer or model or EMBEDDED), target) if need_exit_layer else None
    for module in filter(None, (target.model, layer)):
        pack_linears(module)
    return Engine(target, layer, self_check(target))

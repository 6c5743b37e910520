"""Controllers: when to stop drafting. Plain Python numbers, no tensors."""

from ..errors import UserError
from .base import Controller, Decision
from .beta import BetaController
from .fixed import FixedController

CONTROLLERS = {"beta": BetaController, "fixed": FixedController}


def make_controller(name: str, **settings) -> Controller:
    """Raises UserError for an unknown name or setting."""
    if name not in CONTROLLERS:
        raise UserError(f"unknown controller {name!r}: choose one of {', '.join(CONTROLLERS)}")
    try:
        return CONTROLLERS[name](**settings)
    except TypeError:
        raise UserError(f"controller {name!r} does not take the settings {', '.join(settings)}") from None


__all__ = ["CONTROLLERS", "BetaController", "Controller", "Decision", "FixedController", "make_controller"]

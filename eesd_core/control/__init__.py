"""Controllers: when to stop drafting. Plain Python numbers, no tensors."""

from inspect import signature

from ..errors import UserError
from .base import Controller, Costs, Decision, Facts, Outcome, Plan, Seeded
from .beta import BetaController
from .calibrated import CalibratedController
from .fixed import FixedController
from .heuristic import HeuristicController
from .tapout import TapOutController
from .threshold import AdaptiveThresholdController, EntropyController, ThresholdController
from .throughput import ThroughputController
from .ucb import UcbController

CONTROLLERS = {
    controller.name: controller
    for controller in (
        BetaController, CalibratedController, ThroughputController, FixedController, HeuristicController, ThresholdController,
        AdaptiveThresholdController, EntropyController, UcbController, TapOutController,
    )
}  # fmt: skip


def make_controller(name: str, **settings) -> Controller:
    """Make a controller from its name and settings. Raises UserError for an unknown name or setting."""
    if name not in CONTROLLERS:
        raise UserError(f"unknown controller {name!r}: choose one of {', '.join(CONTROLLERS)}")
    known = signature(CONTROLLERS[name]).parameters
    if unknown := [setting for setting in settings if setting not in known]:
        raise UserError(f"the controller {name} has no setting {unknown[0]!r}: it takes {', '.join(known)}")
    return CONTROLLERS[name](**settings)


def parse_controller(text: str, seed: int = 0) -> tuple[str, dict]:
    """Name and settings from one word: `throughput`, `fixed:4`, `beta:draw=round:forget=0.95`. A bare number sets the controller's knob.

    `seed` goes to controllers that use random numbers. Raises UserError for what `make_controller` would refuse.
    """
    name, *parts = text.split(":")
    kind = CONTROLLERS.get(name)
    settings: dict = {"seed": seed} if kind and issubclass(kind, Seeded) else {}
    for part in parts:
        setting, equals, value = part.partition("=")
        settings |= {setting: _number(value)} if equals else {getattr(kind, "knob", ""): _number(setting)}
    make_controller(name, **settings)
    return name, settings


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


__all__ = [
    "CONTROLLERS", "Controller", "Costs", "Decision", "Facts", "FixedController", "Outcome", "Plan", "make_controller", "parse_controller",
]  # fmt: skip

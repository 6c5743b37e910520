"""The drafter that others mix with copies: the better of those with a trained head."""

from .base import Drafter, Parts
from .early_exit import EarlyExitDrafter
from .feature import FeatureDrafter


def trained_drafter(parts: Parts, rows: int) -> Drafter:
    """The feature drafter where the engine has such a head, unless the exit layer has agreed more often with the target on texts that
    neither was trained on. A feature head without that figure is used: somebody gave it. `rows`: see EarlyExitDrafter."""
    head = parts.heads.get("feature")
    better = head and _agreement(head.facts, 1.0) >= _agreement(parts.exit_layer.facts, 0.0)
    drafter = (FeatureDrafter if better else EarlyExitDrafter)(parts, rows)
    drafter.name = "feature" if better else "early-exit"
    return drafter


def _agreement(facts: dict, unknown: float) -> float:
    return facts.get("training", {}).get("held_out_agreement", unknown)

"""Drafters: who proposes tokens. They never accept any."""

from .base import Context, Draft, Drafter
from .early_exit import EarlyExitDrafter
from .none import NoDrafter

__all__ = ["Context", "Draft", "Drafter", "EarlyExitDrafter", "NoDrafter"]

"""No drafts: the engine with this drafter is vanilla decoding."""

from collections.abc import Generator

from torch import Tensor

from ..control import Controller
from ..events import DraftToken
from .base import Context, Draft


class NoDrafter:
    name = "none"
    shares_layers, draft_share = 0, 0.0

    def begin(self, context: Context, states: Tensor) -> None:
        pass

    def propose(self, context: Context, controller: Controller, budget: int) -> Generator[DraftToken, None, Draft]:
        return Draft([], None, "none", 0.0)
        yield  # makes this a generator

    def commit(self, length: int) -> None:
        pass

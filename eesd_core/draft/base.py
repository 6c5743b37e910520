"""The drafter's interface and what passes through it."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..candidates import Candidates
from ..control import Controller
from ..events import DraftToken, StopReason
from ..model.cache import KVCache
from ..sampling import Sampler


@dataclass(slots=True)
class Context:
    """What a run has so far. The last of `ids` is *pending*: written, but not yet run through the target (not in `cache`)."""

    ids: list[int]
    cache: KVCache
    sampler: Sampler
    candidates: Candidates | None = None  # who wants to see the target's choices
    round: int = 0

    @property
    def start(self) -> int:
        """Position of the pending token = number of positions cached at a round boundary."""
        return len(self.ids) - 1


@dataclass(slots=True)
class Draft:
    ids: list[int]
    states: Tensor | None  # (1, k + 1, D) after `shares_layers` layers for the pending token and every draft; None: full verify
    reason: StopReason
    seconds: float  # computing time spent on drafting
    q: Tensor | None = None  # (k, V) the laws that the drafts were drawn from; None: definite choices


class Drafter(Protocol):
    name: str
    shares_layers: int  # how many of the target's first layers drafting has already run when verification begins
    draft_share: float  # guess of a draft step's time over a plain step's, where it is not measured at load (shares_layers = 0)

    def begin(self, context: Context, states: Tensor) -> None:
        """After prefill. states (1, n, D): hidden states after `shares_layers` layers of the n cached positions."""

    def propose(self, context: Context, controller: Controller, budget: int) -> Generator[DraftToken, None, Draft]:
        """Draft at most `budget` tokens, saying each one as it comes."""

    def commit(self, length: int) -> None:
        """The round is over and `length` positions are valid: roll back what lies behind."""

"""The controller's interface. It sees numbers and never tensors, so it can be tested, replayed and simulated without a model."""

from typing import NamedTuple, Protocol

MAX_DRAFT = 15  # a verify pass then has 16 rows at most: one tile, and inside what the row-invariance check covers


class Decision(NamedTuple):
    """Go on drafting or stop, with the terms that decided it (shown on the page and kept in the trace)."""

    go: bool
    terms: dict[str, float]


class Controller(Protocol):
    name: str

    def start_round(self) -> int:
        """Most drafts this round may have."""

    def keep_drafting(self, i: int, confidence: float, entropy: float) -> Decision:
        """Asked after draft token i (0-based), with the drafter's largest probability and its entropy in nats."""

    def observe(self, drafted: int, accepted: int) -> None:
        """A round's outcome. Tested are the accepted drafts and, if accepted < drafted, one rejected; the rest were never judged."""

    def snapshot(self) -> dict:
        """State as plain numbers."""

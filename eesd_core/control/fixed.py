"""A constant draft length. Length 0 never drafts: that is vanilla decoding."""

from .base import MAX_DRAFT, Costs, Decision, Outcome, Stateful, check_whole


class FixedController(Stateful):
    name, knob = "fixed", "length"

    def __init__(self, length: int = 4):
        self.length = check_whole("the draft length", length, 0, MAX_DRAFT)

    def start_round(self, costs: Costs) -> int:
        return self.length

    def keep_drafting(self, i: int, confidence: float, entropy: float, lead: float) -> Decision:
        return Decision(i + 1 < self.length, {})

    def observe(self, outcome: Outcome) -> None:
        """A constant learns nothing."""

    def snapshot(self) -> dict:
        return {"controller": self.name, "length": self.length}

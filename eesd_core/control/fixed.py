"""A constant draft length. Length 0 never drafts: that is vanilla decoding."""

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Stateful, check_whole


class FixedController(Stateful):
    name, knob = "fixed", "length"

    def __init__(self, length: int = 4):
        self.length = check_whole("the draft length", length, 0, MAX_DRAFT)

    def start_round(self, costs: Costs) -> Plan:
        return Plan(self.length)

    def keep_drafting(self, facts: Facts) -> Decision:
        return Decision(facts.depth + 1 < self.length, {})

    def observe(self, outcome: Outcome) -> None:
        """A constant learns nothing."""

    def snapshot(self) -> dict:
        return {"controller": self.name, "length": self.length}

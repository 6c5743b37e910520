"""Rules that stop when the drafter is unsure. The unsure token itself is kept: it is already drafted, and verifying it costs little.

`threshold`: stop when the confidence is below a constant (Kangaroo; transformers' `assistant_confidence_threshold`, 0.4 by default).
`adaptive-threshold`: adjust the threshold so that a wanted share of all drafts is accepted (Self-SD, Zhang et al. 2024; the constants are
from its published code, which compares the draft token's own probability instead of the largest one).
`entropy`: stop when the entropy H of the draft distribution is high, because 1 - sqrt(factor x H) is a lower bound on the acceptance:
stop when sqrt(factor x H) > bound (AdaEDL, Agrawal et al. 2024; SVIP, Zhang et al. 2024, whose published constants these are; H in nats).
"""

from math import sqrt

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Stateful, check_limit, check_number


class ThresholdController(Stateful):
    name, knob = "threshold", "threshold"

    def __init__(self, threshold: float = 0.4, limit: int = MAX_DRAFT):
        self.threshold, self.limit = check_number("the threshold", threshold, 0.0, 1.0), check_limit(limit)

    def start_round(self, costs: Costs) -> Plan:
        return Plan(self.limit)

    def keep_drafting(self, facts: Facts) -> Decision:
        return Decision(facts.confidence >= self.threshold, {"confidence": facts.confidence, "threshold": self.threshold})

    def observe(self, outcome: Outcome) -> None:
        """A constant learns nothing."""

    def snapshot(self) -> dict:
        return {"controller": self.name, "threshold": self.threshold}


class AdaptiveThresholdController(ThresholdController):
    name, knob = "adaptive-threshold", "wanted"
    changes = ("threshold", "rate")

    def __init__(self, wanted: float = 0.9, threshold: float = 0.6, limit: int = 12):
        """`wanted`: target for the share of accepted drafts. `threshold`: initial value."""
        super().__init__(threshold, limit)
        self.wanted = self.rate = check_number("the wanted acceptance rate", wanted, 0.0, 1.0)

    def observe(self, outcome: Outcome) -> None:
        if not outcome.drafted:
            return
        self.rate = 0.5 * self.rate + 0.5 * outcome.accepted / outcome.drafted
        step = 0.01 if self.rate < self.wanted else 0.0 if outcome.drafted == self.limit else -0.01
        self.threshold = min(1.0, max(0.0, 0.9 * self.threshold + 0.1 * (self.threshold + step)))

    def snapshot(self) -> dict:
        return super().snapshot() | {"rate": self.rate}


class EntropyController(Stateful):
    name, knob = "entropy", "bound"

    def __init__(self, bound: float = 0.3, factor: float = 0.15, limit: int = MAX_DRAFT):
        self.bound, self.factor = check_number("the bound", bound, 0.0, 10.0), check_number("the factor", factor, 0.0, 10.0)
        self.limit = check_limit(limit)

    def start_round(self, costs: Costs) -> Plan:
        return Plan(self.limit)

    def keep_drafting(self, facts: Facts) -> Decision:
        root = sqrt(self.factor * facts.entropy)
        return Decision(root <= self.bound, {"root": root, "bound": self.bound})

    def observe(self, outcome: Outcome) -> None:
        """A constant learns nothing."""

    def snapshot(self) -> dict:
        return {"controller": self.name, "bound": self.bound}

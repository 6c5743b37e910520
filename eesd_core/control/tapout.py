"""TapOut: a bandit over stop rules (arXiv 2511.02017). An arm is a rule, and UCB1 chooses one for every round.

Arms and reward are ours, because we do not know the paper's first-hand. The arms are the rules of threshold.py. A round's reward is the
mean of accepted / limit (rewards long accepted drafts) and accepted / drafted (penalises wasted drafts). A rule learns only from the
rounds it was chosen for.
"""

from math import log, sqrt

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, check_limit, check_number
from .threshold import AdaptiveThresholdController, EntropyController, ThresholdController


class TapOutController:
    name, knob = "tapout", "width"

    def __init__(self, width: float = 1.0, limit: int = MAX_DRAFT):
        """`width`: factor on UCB1's confidence term."""
        self.width, self.limit = check_number("the width", width, 0.0, 100.0), check_limit(limit)
        self.rules = {
            "threshold 0.4": ThresholdController(0.4, limit),
            "threshold 0.8": ThresholdController(0.8, limit),
            "adaptive-threshold": AdaptiveThresholdController(limit=limit),
            "entropy": EntropyController(limit=limit),
        }
        self.rounds, self.rewards = dict.fromkeys(self.rules, 0), dict.fromkeys(self.rules, 0.0)
        self.rule = next(iter(self.rules))

    def start_round(self, costs: Costs) -> Plan:
        untried = [name for name, rounds in self.rounds.items() if not rounds]
        self.rule = untried[0] if untried else max(self.rules, key=self._bound)
        return self.rules[self.rule].start_round(costs)

    def keep_drafting(self, facts: Facts) -> Decision:
        return self.rules[self.rule].keep_drafting(facts)

    def observe(self, outcome: Outcome) -> None:
        if outcome.drafted:
            self.rules[self.rule].observe(outcome)
            self.rounds[self.rule] += 1
            self.rewards[self.rule] += (outcome.accepted / self.limit + outcome.accepted / outcome.drafted) / 2

    def snapshot(self) -> dict:
        means = {name: self.rewards[name] / rounds if rounds else None for name, rounds in self.rounds.items()}
        return {"controller": self.name, "rule": self.rule, "rounds": dict(self.rounds), "rewards": means}

    def state(self) -> dict:
        changes = {"rule": self.rule, "rounds": dict(self.rounds), "rewards": dict(self.rewards)}
        return changes | {"rules": {name: rule.state() for name, rule in self.rules.items()}}

    def restore(self, state: dict) -> None:
        self.rule, self.rounds, self.rewards = state["rule"], dict(state["rounds"]), dict(state["rewards"])
        for name, rule in self.rules.items():
            rule.restore(state["rules"][name])

    def _bound(self, rule: str) -> float:
        rounds = self.rounds[rule]
        return self.rewards[rule] / rounds + self.width * sqrt(2 * log(sum(self.rounds.values())) / rounds)

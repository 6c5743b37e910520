"""An upper-confidence bandit over draft lengths, as a baseline (after UCB1, Auer et al. 2002, and UCBSpec of BanditSpec, Hou et al. 2025).

An arm is a draft length k. Its value is the tokens per second of the rounds that used it. Every round plays the arm with the highest

    tokens_k / seconds_k  +  width x sqrt(2 ln(rounds) / rounds_k)

in units of the speed without drafts. Each round updates one length only, although its outcome says something about the others too.
"""

from math import log, sqrt

from .base import Costs, Decision, Facts, Outcome, Plan, Stateful, check_limit, check_number


class UcbController(Stateful):
    name, knob = "ucb", "width"
    changes = ("tokens", "time", "rounds", "length", "times")

    def __init__(self, width: float = 0.5, limit: int = 8):
        """`width`: factor on the confidence term. `limit`: the arms are the lengths 0 to limit."""
        self.width, self.limit = check_number("the width", width, 0.0, 100.0), check_limit(limit)
        self.tokens, self.time = [0.0] * (self.limit + 1), [0.0] * (self.limit + 1)  # time: see Costs.relative
        self.rounds = [0] * (self.limit + 1)
        self.length = 0
        self.times: list[float] = []

    def start_round(self, costs: Costs) -> Plan:
        self.times = costs.relative(self.limit)
        untried = [k for k, rounds in enumerate(self.rounds) if not rounds]
        self.length = untried[0] if untried else max(range(self.limit + 1), key=self._bound)
        return Plan(self.length)

    def keep_drafting(self, facts: Facts) -> Decision:
        return Decision(facts.depth + 1 < self.length, {})

    def observe(self, outcome: Outcome) -> None:
        self.tokens[self.length] += outcome.accepted + 1
        self.time[self.length] += self.times[outcome.drafted]
        self.rounds[self.length] += 1

    def snapshot(self) -> dict:
        return {"controller": self.name, "length": self.length, "rounds": list(self.rounds)}

    def _bound(self, k: int) -> float:
        return self.tokens[k] / self.time[k] + self.width * sqrt(2 * log(sum(self.rounds)) / self.rounds[k])

"""The rule of transformers' assisted generation (`num_assistant_tokens_schedule="heuristic"`): if all drafts of a round were accepted,
draft two tokens more in the next, else one less, but at least one.

In transformers the first round drafts 20 tokens and there is no upper limit. Here the length starts at 1 and has a limit.
"""

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Stateful, check_limit, check_whole


class HeuristicController(Stateful):
    name, knob = "heuristic", "start"
    changes = ("length",)

    def __init__(self, start: int = 1, limit: int = MAX_DRAFT):
        self.limit = check_limit(limit)
        self.length = check_whole("the first draft length", start, 1, self.limit)

    def start_round(self, costs: Costs) -> Plan:
        return Plan(self.length)

    def keep_drafting(self, facts: Facts) -> Decision:
        return Decision(facts.depth + 1 < self.length, {})

    def observe(self, outcome: Outcome) -> None:
        if not outcome.drafted:  # the drafter proposed nothing, or there was no room
            return
        all_accepted = outcome.accepted == outcome.drafted
        self.length = min(self.length + 2, self.limit) if all_accepted else max(self.length - 1, 1)

    def snapshot(self) -> dict:
        return {"controller": self.name, "length": self.length}

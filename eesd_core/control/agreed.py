"""When several processes run one model (model/parallel.py), all of them must run the same rounds.

Every process computes the same logits, so they choose the same tokens. Controllers, however, use measured times, which differ between
processes. So the first process decides for all.
"""

from ..model.parallel import first_ones
from .base import Controller, Costs, Decision, Facts, Outcome, Plan


class Agreed:
    """Wraps a controller: the decisions of the first process hold in all processes."""

    def __init__(self, controller: Controller):
        self.controller, self.name = controller, controller.name

    def start_round(self, costs: Costs) -> Plan:
        return Plan(*first_ones(tuple(self.controller.start_round(costs))))

    def keep_drafting(self, facts: Facts) -> Decision:
        return Decision(*first_ones(tuple(self.controller.keep_drafting(facts))))

    def observe(self, outcome: Outcome) -> None:
        self.controller.observe(outcome)

    def snapshot(self) -> dict:
        return self.controller.snapshot()

    def state(self) -> dict:
        return self.controller.state()

    def restore(self, state: dict) -> None:
        self.controller.restore(state)


def agreed(controller: Controller, shards: int) -> Controller:
    return Agreed(controller) if shards > 1 else controller

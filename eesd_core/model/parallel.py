"""One model over several processes (tensor parallelism by transformers, started with `torchrun`): all of them run the same rounds.

Every process computes the same logits and so makes the same choices, but controllers look at clocks. The first process decides.
"""

import torch.distributed as dist

from ..control import Controller, Costs, Decision, Outcome


class Agreed:
    """A controller that decides in the first process and tells the others."""

    def __init__(self, controller: Controller):
        self.controller, self.name = controller, controller.name

    def start_round(self, costs: Costs) -> int:
        return _told(self.controller.start_round(costs))

    def keep_drafting(self, *facts) -> Decision:
        return Decision(*_told(tuple(self.controller.keep_drafting(*facts))))

    def observe(self, outcome: Outcome) -> None:
        self.controller.observe(outcome)

    def snapshot(self) -> dict:
        return self.controller.snapshot()


def agreed(controller: Controller, shards: int) -> Controller:
    return Agreed(controller) if shards > 1 else controller


def is_first() -> bool:
    """Whether this process is the one that prints."""
    return not dist.is_initialized() or dist.get_rank() == 0


def _told(value):
    """The first process's value."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]

"""CaPE: how many candidates a place gets depends on how sure the drafter was there (of GliDe with a CaPE, arXiv 2402.02082).

The published table: with t the drafter's largest probability, place i has table[10 t] candidates, the spine's own one among them. They have
no children. The paper drafts four tokens, so four is the usual length here too. Ours: the exit layer drafts, rows have an end, to which the
likeliest candidates come first, and with `priced` a candidate of the table must also be worth its row, as those of early-exit are.
"""

from collections.abc import Sequence

from .base import Node, Parts, Room, Text
from .early_exit import EarlyExitDrafter
from .tree import grow

TABLE = (8, 8, 8, 6, 6, 6, 4, 4, 2, 2, 2)  # candidates for t of 0 to 0.1, 0.1 to 0.2 ... and 1


class CapeDrafter(EarlyExitDrafter):
    width = max(TABLE)

    def __init__(self, parts: Parts, rows: int = 16, priced: int = 0):
        """`rows`: candidates may fill up a verify pass to so many. `priced` 1: each must be worth its row too."""
        super().__init__(parts, rows)
        self.priced = priced

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return candidates(nodes, room, bool(self.priced))


def candidates(spine: Sequence[Node], room: Room, priced: bool = False) -> list[Node]:
    """Beside a spine whose places have their ranked tokens, as many as the table says. `priced`: those that are worth their row."""
    listed = [node._replace(ranked=node.ranked[: TABLE[int(10 * node.facts.confidence)]]) for node in spine]
    return grow(listed, room if priced else Room(room.depth, (-1.0,) * len(room.prices)))

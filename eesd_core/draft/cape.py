"""CaPE: the less sure the drafter was at a place, the more candidates the place gets (from GliDe with a CaPE, arXiv 2402.02082).

The published table gives a place table[10 t] candidates, where t is the drafter's largest probability there. The spine's token is one of
them, and the others have no children. The paper drafts four tokens, so four is the default length here too. Ours: the exit layer drafts;
the number of rows is limited, and the likeliest candidates come first; with `priced` a candidate must also be worth its row (tree.py).
"""

from collections.abc import Sequence

from .base import Node, Parts, Room, Text
from .early_exit import EarlyExitDrafter
from .tree import grow

TABLE = (8, 8, 8, 6, 6, 6, 4, 4, 2, 2, 2)  # candidates for t in [0, 0.1), [0.1, 0.2) ... and for t = 1


class CapeDrafter(EarlyExitDrafter):
    width = max(TABLE)

    def __init__(self, parts: Parts, rows: int = 16, priced: int = 0):
        """`rows`: candidates may fill up a verify pass to this many rows. `priced` 1: each must also be worth its row."""
        super().__init__(parts, rows)
        self.priced = priced

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return candidates(nodes, room, bool(self.priced))


def candidates(spine: Sequence[Node], room: Room, priced: bool = False) -> list[Node]:
    """Candidates beside a spine with ranked tokens, as many as the table says. `priced`: only those that are worth their row."""
    listed = [node._replace(ranked=node.ranked[: TABLE[int(10 * node.facts.confidence)]]) for node in spine]
    return grow(listed, room if priced else Room(room.depth, (-1.0,) * len(room.prices)))

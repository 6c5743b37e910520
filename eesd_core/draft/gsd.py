"""Graph-structured drafting (GSD, arXiv 2407.16207), the other way round: siblings get children without a draft step.

GSD merges equal tokens of different branches to save draft steps. An exit layer's draft steps are cheap, and rows to verify are not saved
by merging. So here a merge gives what a sibling lacks: where the text goes on alike ("a big dog", "the big dog"), the spine's continuation
hangs below the sibling too. A sibling that stands further down the spine goes on as the spine does there, any other goes on with the place
behind its own. Ours. The graph is unrolled as it grows, always down the spine, so there are no cycles.
"""

from collections.abc import Sequence

from torch import Tensor

from ..verify import Verdict
from .base import Node, Parts, Room, Text
from .early_exit import EarlyExitDrafter
from .tree import Ranked, Trust, grow, judged


class GsdDrafter(EarlyExitDrafter):
    def __init__(self, parts: Parts, rows: int = 8):
        """`rows`: siblings and their continuations may fill up a verify pass to so many."""
        super().__init__(parts, rows)
        self.trust = Trust()  # in what hangs below a sibling

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        alias: dict[int, int] = {}  # node beside the spine -> the place on the spine that it stands for

        def merged(tree: Sequence[Node], number: int) -> Ranked:
            if number < len(nodes):
                return ()
            node = tree[number]
            if node.parent in alias:
                place = alias[node.parent] + 1
            else:
                depth = node.facts.depth
                place = next((i for i in range(depth + 1, len(nodes)) if nodes[i].id == node.id), depth)
            alias[number] = place
            if place + 1 >= len(nodes):
                return ()
            id, chance = nodes[place + 1].ranked[0]
            return ((id, self.trust(chance)),)

        return grow(nodes, room, merged)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        super().commit(text, nodes, verdict, seen)
        if verdict is not None:
            below = {number for number, node in enumerate(nodes) if node.facts.sibling}
            self.trust.learn((node.facts.confidence, hit) for node, hit in judged(nodes, verdict) if node.parent in below)

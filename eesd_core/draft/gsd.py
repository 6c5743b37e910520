"""Graph-structured drafting (GSD, arXiv 2407.16207) with its merge reversed: siblings get children without a draft step.

GSD merges equal tokens of different branches to save draft steps. Draft steps of an exit layer are cheap, and merging saves no rows to
verify. So here the merge adds children to siblings: alternatives often continue alike ("a big dog", "the big dog"), so the spine's
continuation is attached below the sibling too. If the sibling's token occurs further down the spine, it continues as the spine does there.
Otherwise it continues with the spine's next place. This is ours. Attachments always move down the spine, so there are no cycles.
"""

from collections.abc import Sequence

from torch import Tensor

from ..verify import Verdict
from .base import Node, Parts, Room, Text
from .early_exit import EarlyExitDrafter
from .tree import Ranked, Trust, grow, judged


class GsdDrafter(EarlyExitDrafter):
    def __init__(self, parts: Parts, rows: int = 8):
        """`rows`: siblings and their continuations may fill up a verify pass to this many rows."""
        super().__init__(parts, rows)
        self.trust = Trust()  # for nodes below a sibling

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        alias: dict[int, int] = {}  # node beside the spine -> the spine place that it is merged with

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

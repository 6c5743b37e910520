"""Ouroboros' way with one model: phrases of a pool as suffixes behind the exit layer's draft (arXiv 2402.13720; see pool.py).

As published, the last drafted token's phrases are alternative suffixes, which count only where every draft was accepted. Ours: the exit
layer in the place of a small draft model, its siblings in the same tree, and a row only for what is worth it.
"""

from collections.abc import Sequence

from torch import Tensor

from ..verify import Verdict
from .base import Node, Parts, Room, Text
from .early_exit import EarlyExitDrafter
from .pool import Pool, Pooled
from .tree import Ranked, grow, path_to


class OuroborosDrafter(Pooled, EarlyExitDrafter):
    def __init__(self, parts: Parts, phrase: int = 4, rows: int = 8):
        """`phrase`: tokens of one, which are looked up by one token. `rows`: suffixes and siblings may fill up a verify pass to so many."""
        super().__init__(parts, rows)
        self.pool = Pool(1, phrase)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        super().begin(text, seen)
        self.pool.see(text)

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        last = len(nodes) - 1

        def suffix(tree: Sequence[Node], number: int) -> Ranked:
            ids = path_to(tree, number)
            return self.pool.after([nodes[last].id], ids[len(nodes) :]) if ids[: len(nodes)] == path_to(nodes, last) else ()

        return grow(nodes, room, suffix)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        super().commit(text, nodes, verdict, seen)
        spine = sum(not node.facts.sibling for node in nodes)
        self.pool.round(text, nodes, verdict, spine)  # suffixes stand behind it

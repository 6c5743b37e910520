"""Ouroboros with a single model: phrases from a pool extend the exit layer's draft (arXiv 2402.13720; see pool.py).

As published, phrases that begin behind the last drafted token are alternative suffixes, which count only if every draft is accepted.
Ours: the exit layer replaces the small draft model, its siblings are in the same tree, and a node gets a row only if it is worth it.
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
        """`phrase`: length of a phrase in tokens; phrases are looked up by one token. `rows`: suffixes and siblings may fill up a verify
        pass to this many rows."""
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
        self.pool.round(text, nodes, verdict, spine)  # only suffixes, which stand behind the spine, tell about the pool

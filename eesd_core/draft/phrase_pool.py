"""The phrase-pool drafter: whole drafts from a pool of phrases, without a model (after Ouroboros, arXiv 2402.13720; see pool.py).

Ours: Ouroboros appends phrases to the draft of a small model (as draft/ouroboros.py does). Here the phrases are the draft: the best one is
the spine, and the others with the same key are branches beside it. If the last tokens are no key of the pool, nothing is drafted.
"""

from collections.abc import Sequence

from torch import Tensor

from ..control import Facts
from ..verify import Verdict
from .base import MOST_LEAD, Drafter, Node, Parts, Room, Text
from .pool import Pool, Pooled
from .tree import grow, path_to


class PhrasePoolDrafter(Pooled, Drafter):
    cost_guess = 0.001

    def __init__(self, parts: Parts, phrase: int = 4, key: int = 2, rows: int = 8):
        """`phrase`: length of a phrase in tokens. `key`: tokens that it is looked up by. `rows`: siblings may fill up a verify pass to this
        many rows; 1: a chain."""
        self.target, self.rows, self.pool = parts.target, rows, Pool(key, phrase)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self.pool.see(text)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        ranked, depth = self.pool.after(text.ids, [node.id for node in nodes]), len(nodes)
        if not ranked:
            return []
        id, chance = ranked[0]
        return [Node(id, depth - 1, None, Facts(depth, chance, 0.0, MOST_LEAD), ranked=ranked)]

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room, lambda tree, number: self.pool.after(text.ids, path_to(tree, number)))

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.pool.round(text, nodes, verdict)

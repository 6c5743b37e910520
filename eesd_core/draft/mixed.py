"""Two drafters in one: prompt lookup while it has lately been right, the exit layer otherwise. Ours.

Copying costs almost nothing and gives long correct drafts where a text repeats itself; the exit layer works everywhere. The copy is known
in every round, so its accuracy is learned whether it was drafted or not. It is the spine while its first token has been right at least as
often as the exit layer's. Otherwise it is added beside the exit layer's spine, if it is worth its rows.
"""

from collections.abc import Sequence

from torch import Tensor

from ..verify import Verdict
from .base import Node, Parts, Room, Text, certain, whole_draft
from .early_exit import EarlyExitDrafter
from .prompt_lookup import PromptLookupDrafter
from .tree import grow, hang

MEMORY = 0.2  # weight of the newest round in `right`


class MixedDrafter(EarlyExitDrafter):
    def __init__(self, parts: Parts, rows: int = 8):
        """`rows`: siblings and copies may fill up a verify pass to this many rows; 1: a chain."""
        super().__init__(parts, rows)
        self.lookup, self.copy, self.copying = PromptLookupDrafter(parts, least=2), [], False
        self.right = {"copy": 0.5, "exit": 0.5}  # running share of rounds whose first draft token was right

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if not nodes:
            self.copy = whole_draft(self.lookup, text)
            self.copying = bool(self.copy) and self.right["copy"] >= self.right["exit"]
        if not self.copying:
            return super().extend(text, nodes, room)
        depth = len(nodes)
        if depth == len(self.copy):
            return []
        return [certain(self.copy[depth], depth, self.right["copy"])]

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room) if self.copying else hang(nodes, room, [(self.copy, self.right["copy"])])

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        first = self.verified + 1  # place of the first token that this round wrote
        super().commit(text, nodes, verdict, seen)
        self.lookup.commit(text, nodes, verdict, seen)
        if verdict is None or not nodes:
            return
        if self.copy:
            self._learn("copy", self.copy[0] == text.ids[first])
        if not self.copying:
            self._learn("exit", nodes[0].id == text.ids[first])

    def _learn(self, who: str, right: bool) -> None:
        self.right[who] += MEMORY * (right - self.right[who])

    def snapshot(self) -> dict:
        return {"copying": self.copying, **self.right}

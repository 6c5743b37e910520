"""Two drafters in one: prompt lookup where the text repeats itself, a trained head elsewhere. Ours.

Copying costs almost nothing and gives long correct drafts. How far a copy will go is foreseen from how far it has come: where n tokens
before it agree with those before its source, the next one agrees with a chance of about 1 - 1/n (measured in replies that sum up a text or
answer from it: 0.5 for 2 tokens, 0.65 for 3, 0.81 for 5, 0.91 for 12). The text shows in every round whether the copy was right, whoever
drafted, and the chances are corrected by that. So a long copy follows an accepted one, and none the end of a copy. A copy ends where the
next token is no longer worth its row (tree.py).

The copy is the spine if it promises more tokens than the head's drafts have lately given. Otherwise it is added beside the head's spine, if
it is worth its rows.
"""

from collections.abc import Sequence
from itertools import accumulate, takewhile
from math import log
from operator import mul

from torch import Tensor

from ..control import Facts
from ..verify import Verdict
from .base import Drafter, Node, Parts, Room, Text
from .prompt_lookup import PromptLookupDrafter
from .trained import trained_drafter
from .tree import Trust, hang

MEMORY = 0.2  # weight of the newest round in `given`


class MixedDrafter(Drafter):
    copies = True

    def __init__(self, parts: Parts, rows: int = 1):
        """`rows`: siblings and copies may fill up a verify pass to this many rows; 1: a chain."""
        self.head, self.rows = trained_drafter(parts, rows), rows
        self.reuses, self.taps, self.cost_guess = self.head.reuses, self.head.taps, self.head.cost_guess
        self.lookup, self.trust = PromptLookupDrafter(parts, least=2), Trust()
        self.given = 1.0  # tokens that a draft of the head has lately given
        self.copy: list[int] = []  # of this round, from the place `first` on
        self.agreed, self.first = 0, 0  # tokens before the copy that agree with those before its source
        self.copying, self.promised = False, 0.0  # the copy is this round's spine; tokens that it is expected to give

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self.head.begin(text, seen)

    def free(self, text: Text, room: Room) -> bool:
        self.first, self.copy = len(text.ids), self.lookup.whole_draft(text)
        self.agreed = self.lookup.agreed(text) if self.copy else 0
        right = accumulate(map(self._chance, range(len(self.copy))), mul)  # that the copy is right up to each token
        worth = list(takewhile(lambda row: row[0] > row[1], zip(right, room.prices)))
        self.promised = sum(chance for chance, _ in worth)
        self.copying = self.promised > self.given
        if self.copying:
            self.copy = self.copy[: len(worth)]
        return self.copying

    def _stated(self, depth: int) -> float:
        return 1 - 1 / (self.agreed + depth)

    def _chance(self, depth: int) -> float:
        """That the copy's token at this depth is right, if those before it are."""
        return self.trust(self._stated(depth))

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if not self.copying:
            return self.head.extend(text, nodes, room)
        return [] if nodes else [self._copied(depth) for depth in range(min(len(self.copy), room))]

    def _copied(self, depth: int) -> Node:
        """The lead tells its chance. Its confidence is 1: rules that stop where a head is unsure save steps, and a copy takes none."""
        chance = min(self._chance(depth), 0.999)
        return Node(self.copy[depth], depth - 1, None, Facts(depth, 1.0, 0.0, max(log(chance / (1 - chance)), 0.0)))

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return [] if self.copying else hang(nodes, room, [(self.copy, self._chance(0))] if self.copy else [])

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor | None:
        return self.head.finish(text, nodes)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.head.commit(text, nodes, verdict, seen)
        self.lookup.commit(text, nodes, verdict, seen)
        if verdict is None:
            self.copy = []
            return
        right = [copied == written for copied, written in zip(self.copy, text.ids[self.first :])]
        judged = right.index(False) + 1 if False in right else len(right)
        self.trust.learn((self._stated(depth), right[depth]) for depth in range(judged))
        if nodes and not self.copying:
            self.given += MEMORY * (verdict.accepted - self.given)

    def snapshot(self) -> dict:
        return {"copying": self.copying, "promised": self.promised, "given": self.given}

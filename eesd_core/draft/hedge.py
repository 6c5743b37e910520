"""Choosing among drafters with full information (HedgeSpec, "Not-a-Bandit", arXiv 2510.20064).

After a verify pass every drafter can be scored, whether it drafted or not: its draft is compared with the text. So no exploration is
needed. The weights follow the Hedge algorithm: they grow with what a drafter would have gained, and each round's drafter is drawn by
weight.

Ours: the drafters are a trained head (trained.py), prompt lookup, a phrase pool and the recycling table. The last three run no model, so
their drafts are known in every round. The head must read all verified tokens before it drafts again anyway, and that pass shows what it
would have drafted. It waits until the head drafts again or has missed REACH tokens. The drafts of the others end where the next token is
not worth its row, and those not chosen are added beside the spine where they are. Old gains decay, because texts change.
"""

from collections.abc import Sequence
from itertools import takewhile
from math import exp
from operator import eq

from torch import Tensor

from ..control.base import Random64
from ..verify import Verdict
from .base import Drafter, Node, Parts, Room, Text, certain
from .phrase_pool import PhrasePoolDrafter
from .prompt_lookup import PromptLookupDrafter
from .recycling import RecyclingDrafter
from .trained import trained_drafter
from .tree import hang

REACH = 6  # number of tokens of a draft that are scored
RATE, FADES = 8.0, 0.95  # Hedge's learning rate; decay of old gains per scored round
MEMORY = 0.1  # weight of the newest round in `first`


class HedgeDrafter(Drafter):
    copies = True

    def __init__(self, parts: Parts, rows: int = 8):
        """`rows`: drafts of the other drafters may fill up a verify pass to this many rows; 1: a chain."""
        self.head, self.rows = trained_drafter(parts, rows), rows
        self.reuses, self.taps, self.cost_guess = self.head.reuses, self.head.taps, self.head.cost_guess
        self.others: dict[str, Drafter] = {
            "prompt-lookup": PromptLookupDrafter(parts), "phrase-pool": PhrasePoolDrafter(parts), "recycling": RecyclingDrafter(parts),
        }  # fmt: skip
        self.own, self.ranks = self.head.name, self.others["recycling"].ranks
        self.price = self.cost_guess or (self.reuses + 1) / parts.target.depth  # time of the head's draft step, in plain steps
        self.gains = {self.own: 1.0} | dict.fromkeys(self.others, 0.0)  # the head leads at first
        self.first = dict.fromkeys((self.own, *self.others), 0.5)  # running share of rounds whose first draft token was right
        self.random, self.chosen = Random64(0), self.own
        self.place = 0  # of the first token that this round writes
        self.drafts: dict[str, list[int]] = {}  # this round's drafts of the other drafters
        self.waiting: list[tuple[int, dict[str, list[int]]]] = []  # (first place, drafts) of rounds that cannot be scored yet
        self.right: dict[int, bool] = {}  # place -> would the head have drafted its token
        self.known = 0  # places before this one are in `right`, or are no longer asked for

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        for drafter in (self.head, *self.others.values()):
            drafter.begin(text, seen)
        self.known = len(text.ids)

    def free(self, text: Text, room: Room) -> bool:
        self.place = len(text.ids)
        self.drafts = {name: other.whole_draft(text) for name, other in self.others.items()}
        self.chosen = self._draw([self.own, *(name for name, ids in self.drafts.items() if ids)])
        if self.chosen != self.own:
            chance = self.first[self.chosen]
            worth = takewhile(lambda row: chance ** (row[0] + 1) > row[1], enumerate(room.prices))
            self.drafts[self.chosen] = self.drafts[self.chosen][: max(1, len(list(worth)))]
        return self.chosen != self.own

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if self.chosen == self.own:
            if not nodes:
                self._catch_up(text, 1)
            return self.head.extend(text, nodes, room)
        ids, chance = self.drafts[self.chosen], self.first[self.chosen]
        return [] if nodes else [certain(id, depth, chance) for depth, id in enumerate(ids[:room])]

    def _draw(self, names: list[str]) -> str:
        best = max(self.gains[name] for name in names)
        weights = [exp(RATE * (self.gains[name] - best)) for name in names]
        return self.random.choices(names, weights)[0]

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return hang(nodes, room, [(ids, self.first[name]) for name, ids in self.drafts.items() if name != self.chosen])

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor | None:
        for other in self.others.values():
            other.finish(text, nodes)
        return self.head.finish(text, nodes)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        for drafter in (self.head, *self.others.values()):
            drafter.commit(text, nodes, verdict, seen)
        if verdict is None:
            self.waiting, self.right, self.drafts, self.known = [], {}, {}, len(text.ids)
            return
        place = self.place
        if self.chosen == self.own:
            spine = [node.id for node in nodes if not node.facts.sibling]
            judged = next((i + 1 for i, id in enumerate(spine) if i < len(text.ids) - place and id != text.ids[place + i]), len(spine))
            self.right |= {place + i: spine[i] == text.ids[place + i] for i in range(min(judged, len(text.ids) - place))}
        if nodes:
            self.waiting.append((place, self.drafts))
        self._catch_up(text, REACH)

    def _catch_up(self, text: Text, least: int) -> None:
        """If at least so many places are unknown, the head reads the verified tokens that it has not read, and `right` records whether it
        would have drafted those behind them. Then drafts are scored."""
        while self.known in self.right:
            self.known += 1
        if len(text.ids) - self.known >= least:
            first, ids = self.head.read_on(text)
            for place, id in enumerate(ids, first):
                self.right.setdefault(place, text.ids[place] == id)
            self.known = len(text.ids)
        self._score(text)

    def _score(self, text: Text) -> None:
        """Scores the drafts of earlier rounds, once REACH places from their first one on are known."""
        while self.waiting and self.waiting[0][0] + REACH <= self.known:
            place, drafts = self.waiting.pop(0)
            runs = {self.own: [self.right.get(at, False) for at in range(place, place + REACH)]}
            runs |= {name: [*map(eq, ids, text.ids[place : place + REACH])] for name, ids in drafts.items()}
            for name, right in runs.items():
                accepted = right.index(False) if False in right else len(right)
                gain = (1 + accepted) / (1 + REACH) / (1 + self.price * (accepted + 1) * (name == self.own))
                self.gains[name] = FADES * self.gains[name] + gain
                self.first[name] += MEMORY * ((accepted > 0) - self.first[name])
            self.right = {at: hit for at, hit in self.right.items() if at > place}

    def snapshot(self) -> dict:
        return {"drafter": self.chosen, "gains": dict(self.gains), "first": dict(self.first)}

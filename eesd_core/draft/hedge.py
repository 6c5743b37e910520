"""Choosing among drafters with full information (HedgeSpec, "Not-a-Bandit", arXiv 2510.20064).

After a verify pass every drafter can be scored, whether it drafted or not: its draft is compared with the text. So no exploration is
needed. The weights follow the Hedge algorithm: they grow with what a drafter would have gained, and each round's drafter is drawn by
weight.

Ours: the drafters are the exit layer, prompt lookup, a phrase pool and the recycling table. The last three run no model, so their drafts
are known in every round. The exit layer must read all verified tokens before it drafts again anyway, and that pass shows what it would
have drafted. The drafts of the others are added beside the spine if they are worth a row. Old gains decay, because texts change.
"""

from collections.abc import Sequence
from math import exp

from torch import Tensor

from ..control.base import Random64
from ..sampling import DRAFT, SHARED, stream
from ..verify import Verdict
from .base import Drafter, Node, Parts, Room, Text, certain, whole_draft
from .early_exit import EarlyExitDrafter
from .phrase_pool import PhrasePoolDrafter
from .prompt_lookup import PromptLookupDrafter
from .recycling import RecyclingDrafter
from .tree import hang

EXIT, REACH = "early-exit", 6  # REACH: number of tokens of a draft that are scored
RATE, FADES = 8.0, 0.95  # Hedge's learning rate; decay of old gains per scored round
MEMORY = 0.1  # weight of the newest round in `first`


class HedgeDrafter(EarlyExitDrafter):
    def __init__(self, parts: Parts, rows: int = 8):
        """`rows`: drafts of the other drafters may fill up a verify pass to this many rows; 1: a chain."""
        super().__init__(parts, rows)
        self.others: dict[str, Drafter] = {
            "prompt-lookup": PromptLookupDrafter(parts), "phrase-pool": PhrasePoolDrafter(parts), "recycling": RecyclingDrafter(parts),
        }  # fmt: skip
        self.price = (self.reuses + 1) / self.target.depth  # time of the exit layer's draft step, in plain steps
        self.gains = {EXIT: 1.0} | dict.fromkeys(self.others, 0.0)  # the exit layer leads at first
        self.first = dict.fromkeys((EXIT, *self.others), 0.5)  # running share of rounds whose first draft token was right
        self.random, self.chosen = Random64(0), EXIT
        self.drafts: dict[str, list[int]] = {}  # this round's drafts of the other drafters
        self.waiting: list[tuple[int, dict[str, list[int]]]] = []  # (first place, drafts) of rounds that cannot be scored yet
        self.right: dict[int, bool] = {}  # place -> would the exit layer have drafted its token

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        super().begin(text, seen)
        for other in self.others.values():
            other.begin(text, seen)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if not nodes:
            self.drafts = {name: whole_draft(other, text) for name, other in self.others.items()}
            self.chosen = self._draw([EXIT, *(name for name, ids in self.drafts.items() if ids)])
        if self.chosen == EXIT:
            return super().extend(text, nodes, room)
        ids, depth = self.drafts[self.chosen], len(nodes)
        if depth == len(ids):
            return []
        return [certain(ids[depth], depth, self.first[self.chosen])]

    def _draw(self, names: list[str]) -> str:
        best = max(self.gains[name] for name in names)
        weights = [exp(RATE * (self.gains[name] - best)) for name in names]
        return self.random.choices(names, weights)[0]

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return hang(nodes, room, [(ids, self.first[name]) for name, ids in self.drafts.items() if name != self.chosen])

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor:
        for other in self.others.values():
            other.finish(text, nodes)
        return super().finish(text, nodes)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        place = self.verified + 1  # of the first token that this round wrote
        super().commit(text, nodes, verdict, seen)
        for other in self.others.values():
            other.commit(text, nodes, verdict, seen)
        if verdict is None:
            self.waiting, self.right, self.drafts = [], {}, {}
            return
        if self.chosen == EXIT:
            spine = [node.id for node in nodes if not node.facts.sibling]
            judged = next((i + 1 for i, id in enumerate(spine) if i < len(text.ids) - place and id != text.ids[place + i]), len(spine))
            self.right |= {place + i: spine[i] == text.ids[place + i] for i in range(min(judged, len(text.ids) - place))}
        if nodes:
            self.waiting.append((place, self.drafts))
        self._catch_up(text)
        self._score(text)

    def _catch_up(self, text: Text) -> None:
        """The exit layer reads the verified tokens that it has not read, and `right` records whether it would have drafted them."""
        gap, end, sampler, listed = self.cache.lengths[0], text.start, text.sampler, self.words and self.words.ids
        if gap >= end:
            return
        hidden = self.exit_layer.hidden(self.target, self.states[:, gap:end], self.cache, gap, self._deep(gap, end, text.start))
        logits = self.exit_layer.logits(self.target, hidden, self.words)  # (end - gap, V) or over the list
        noise = stream(DRAFT, text.round) if sampler.sampling.rejects else SHARED
        found = sampler.rank(logits, range(gap + 1, end + 1), 1, noise, listed)
        for place, (best,) in enumerate(found.ids, gap + 1):
            self.right.setdefault(place, text.ids[place] == best)

    def _score(self, text: Text) -> None:
        """Scores the drafts of earlier rounds, once the text covers REACH tokens from their first place on."""
        while self.waiting and self.waiting[0][0] + REACH <= len(text.ids):
            place, drafts = self.waiting.pop(0)
            places = range(place, place + REACH)
            runs = {EXIT: [self.right.get(at, False) for at in places]}
            runs |= {name: [id == text.ids[at] for at, id in zip(places, ids)] for name, ids in drafts.items()}
            for name, right in runs.items():
                accepted = next((i for i, hit in enumerate(right) if not hit), len(right))
                gain = (1 + accepted) / (1 + REACH) / (1 + self.price * (accepted + 1) * (name == EXIT))
                self.gains[name] = FADES * self.gains[name] + gain
                self.first[name] += MEMORY * ((accepted > 0) - self.first[name])
            self.right = {at: hit for at, hit in self.right.items() if at > place}

    def snapshot(self) -> dict:
        return {"drafter": self.chosen, "gains": dict(self.gains), "first": dict(self.first)}

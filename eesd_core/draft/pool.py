"""A pool of phrases that have followed one or two tokens (Ouroboros, arXiv 2402.13720).

As published, the key of a phrase is the tokens before it. A key has at most 20 phrases, newest last, and a phrase that occurs again moves
to the end. Ours: phrases come from the text (prompt included) and from rejected drafts followed by the target's own choice, which the
verify pass has anyway. The chance of a token is the share of weight of the phrases that continue with it; newer phrases weigh more.
"""

from collections.abc import Callable, Sequence

from ..model.target import Target
from ..verify import Verdict
from .base import Node, Text
from .tree import Trust, judged, path_to

MOST = 20  # phrases per key
FADES = 0.7  # weight of a phrase / weight of the next newer one
SHOWN = 8  # phrases in a snapshot

Phrase = tuple[int, ...]


class Pool:
    def __init__(self, key: int = 2, length: int = 4):
        """`key`: number of tokens that a phrase is looked up by. `length`: of a phrase, in tokens."""
        self.key, self.length = key, length
        self.phrases: dict[Phrase, list[Phrase]] = {}  # key -> its phrases, newest last
        self.rounds = 0  # so far; like the next two lines only for display
        self.seen: dict[tuple[Phrase, Phrase], int] = {}  # (key, phrase) -> round in which it last occurred
        self.hits: dict[tuple[Phrase, Phrase], int] = {}  # (key, phrase) -> how many of its tokens the text has then gone on with
        self.entered = 0  # phrases that begin before this place of the text are in the pool
        self.trust = Trust()
        self.last: Phrase = ()  # the text's last tokens, the current key

    def after(self, key: Sequence[int], begun: Sequence[int]) -> tuple[tuple[int, float], ...]:
        """Tokens that may come next and their chances, best first: from the phrases of this key that start with `begun`."""
        begun, weight, found = tuple(begun), 1.0, {}
        for phrase in reversed(self.phrases.get(tuple(key[-self.key :]), ())):
            if phrase[: len(begun)] == begun and len(phrase) > len(begun):
                next_id = phrase[len(begun)]
                found[next_id] = found.get(next_id, 0.0) + weight
                weight *= FADES
        total = sum(found.values())
        best = sorted(found.items(), key=lambda item: -item[1])
        return tuple((id, self.trust(weight / total)) for id, weight in best)

    def see(self, text: Text) -> None:
        """Enters the new part of the text. A text that was cut back is entered again from the start; its old phrases stay as guesses."""
        ids = text.ids
        self.entered = self._enter(ids, self.entered if self.entered <= len(ids) else 0)
        self.last = tuple(ids[-self.key :])

    def round(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, least: int = 0) -> None:
        """Learns from a round (see Drafter.commit): from rejected branches, from the text, and for `trust` from the judged nodes at depth
        `least` or deeper."""
        if verdict is not None:
            self._count(text.ids[-verdict.accepted - 1 :])
            self.trust.learn((node.facts.confidence, hit) for node, hit in judged(nodes, verdict) if node.facts.depth >= least)
            self.learn(nodes, verdict)
        self.see(text)

    def learn(self, nodes: Sequence[Node], verdict: Verdict) -> None:
        """Enters every branch that was not accepted to its end, followed by the target's choice behind it."""
        if not verdict.choices or len(verdict.choices) <= len(nodes):
            return  # rejection sampling makes no choices behind a rejected draft
        path, parents = set(verdict.path), {node.parent for node in nodes}
        for number in range(len(nodes)):
            if number not in path and number not in parents:  # a leaf
                branch = [*self.last, *path_to(nodes, number), verdict.choices[number + 1]]
                self._enter(branch, 0)

    def _enter(self, ids: Sequence[int], first: int) -> int:
        """Enters the complete phrases that begin at place `first` or later. Returns the first place whose phrase is not complete yet."""
        place = max(first, self.key)
        while place + self.length <= len(ids):
            key, phrase = tuple(ids[place - self.key : place]), tuple(ids[place : place + self.length])
            kept = self.phrases.setdefault(key, [])
            if phrase in kept:
                kept.remove(phrase)
            kept.append(phrase)
            for old in kept[:-MOST]:
                self.seen.pop((key, old), None)
                self.hits.pop((key, old), None)
            del kept[:-MOST]
            self.seen[key, phrase] = self.rounds
            place += 1
        return place

    def state(self) -> list:
        return [[list(key), [list(phrase) for phrase in kept]] for key, kept in self.phrases.items()]

    def restore(self, state: list) -> None:
        self.phrases = {tuple(key): [tuple(phrase) for phrase in kept] for key, kept in state}

    def snapshot(self, piece: Callable[[int], str]) -> dict:
        """How much the pool holds, and the newest phrases of the current key: text, age in rounds, hits. `piece` gives a token's text."""
        pool = []
        for phrase in reversed(self.phrases.get(self.last, [])[-SHOWN:]):
            at = self.last, phrase
            age = self.rounds - self.seen.get(at, self.rounds)
            pool.append({"text": "".join(map(piece, phrase)), "age": age, "hits": self.hits.get(at, 0)})
        return {"keys": len(self.phrases), "phrases": sum(map(len, self.phrases.values())), "pool": pool}

    def _count(self, written: Sequence[int]) -> None:
        """A round wrote these tokens behind the current key."""
        self.rounds += 1
        for phrase in self.phrases.get(self.last, ()):
            right = next((i for i, (ours, theirs) in enumerate(zip(phrase, written)) if ours != theirs), min(len(phrase), len(written)))
            if right:
                self.hits[self.last, phrase] = self.hits.get((self.last, phrase), 0) + right


class Pooled:
    """Mixin for drafters whose learned state is a pool."""

    pool: Pool
    target: Target

    def state(self) -> dict:
        return {"phrases": self.pool.state()}

    def restore(self, state: dict) -> None:
        self.pool.restore(state["phrases"])

    def snapshot(self) -> dict:
        return self.pool.snapshot(self.target.codec.piece)

"""A pool of phrases (Ouroboros, arXiv 2402.13720): what came, or nearly came, behind a token or two.

As there, phrases are kept by what stands before them, newest last, at most 20; one that comes again moves to the end. Ours: they are fed
from the text (the prompt too) and from what was drafted in vain, with the target's own choice behind it, which the verify pass has anyway.
The chance of a token is the weight of the phrases that go on with it, a newer one counting more.
"""

from collections.abc import Sequence

from ..verify import Verdict
from .base import Node, Text
from .tree import Trust, judged, path_to

MOST = 20  # phrases of a key
FADES = 0.7  # weight of a phrase over the next newer one's

Phrase = tuple[int, ...]


class Pool:
    def __init__(self, key: int = 2, length: int = 4):
        """`key`: tokens that a phrase is looked up by; `length`: of a phrase."""
        self.key, self.length = key, length
        self.phrases: dict[Phrase, list[Phrase]] = {}
        self.entered = 0  # places of the text that phrases have begun at
        self.trust = Trust()
        self.last: Phrase = ()  # the tokens that a phrase would be looked up by

    def after(self, key: Sequence[int], begun: Sequence[int]) -> tuple[tuple[int, float], ...]:
        """What may follow: the phrases of this key that begin so, by their next tokens, the best first, each with its chance."""
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
        """The text has grown. One that was taken back is entered anew: old phrases are guesses all the same."""
        ids = text.ids
        self.entered = self._enter(ids, self.entered if self.entered <= len(ids) else 0)
        self.last = tuple(ids[-self.key :])

    def round(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, least: int = 0) -> None:
        """After a round (see Drafter.commit): how far chances hold, by the nodes that are at least so deep, what was drafted in vain, and
        the text."""
        if verdict is not None:
            self.trust.learn((node.facts.confidence, hit) for node, hit in judged(nodes, verdict) if node.facts.depth >= least)
            self.learn(nodes, verdict)
        self.see(text)

    def learn(self, nodes: Sequence[Node], verdict: Verdict) -> None:
        """Every branch that was not accepted to its end, with the target's choice behind it."""
        if not verdict.choices or len(verdict.choices) <= len(nodes):
            return  # by rejection the target has no choice behind what was rejected
        path, parents = set(verdict.path), {node.parent for node in nodes}
        for number in range(len(nodes)):
            if number not in path and number not in parents:  # a leaf
                branch = [*self.last, *path_to(nodes, number), verdict.choices[number + 1]]
                self._enter(branch, 0)

    def _enter(self, ids: Sequence[int], first: int) -> int:
        """Phrases that begin at places from `first` on, whole ones only. Returns the first place at which none could begin yet."""
        place = max(first, self.key)
        while place + self.length <= len(ids):
            key, phrase = tuple(ids[place - self.key : place]), tuple(ids[place : place + self.length])
            kept = self.phrases.setdefault(key, [])
            if phrase in kept:
                kept.remove(phrase)
            kept.append(phrase)
            del kept[:-MOST]
            place += 1
        return place

    def state(self) -> list:
        return [[list(key), [list(phrase) for phrase in kept]] for key, kept in self.phrases.items()]

    def restore(self, state: list) -> None:
        self.phrases = {tuple(key): [tuple(phrase) for phrase in kept] for key, kept in state}

    def snapshot(self) -> dict:
        return {"keys": len(self.phrases), "phrases": sum(map(len, self.phrases.values()))}


class Pooled:
    """What drafters with a pool have in common: what they have learned is in it."""

    pool: Pool

    def state(self) -> dict:
        return {"phrases": self.pool.state()}

    def restore(self, state: dict) -> None:
        self.pool.restore(state["phrases"])

    def snapshot(self) -> dict:
        return self.pool.snapshot()

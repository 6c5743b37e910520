"""A drafter made worse on purpose, to show how controllers react. From a given new token on, a share of the drafts is replaced by tokens
drawn uniformly from the whole vocabulary. The text stays the same, because drafts never change it.

The reported confidence stays that of the undisturbed drafter.
"""

from collections.abc import Sequence

from torch import Tensor

from ..sampling import DRAFT, random_bits, stream, uniform
from ..verify import Verdict
from .base import Drafter, Law, Node, Parts, Text
from .early_exit import EarlyExitDrafter

KEY = 0x5EED  # keeps these random numbers apart from those that choose the text's tokens


class DisturbedDrafter(Drafter):
    def __init__(self, parts: Parts, share: float, first: int = 0):
        """`share`: share of drafts that become random. `first`: number, from 0, of the first new token whose draft may become random."""
        self.drafter, self.share, self.first = EarlyExitDrafter(parts), share, first
        self.drafter.keeps_law = True
        self.name = f"disturbed:{share:g}:{first}"
        self.vocab, self.reuses, self.taps = parts.target.vocab, self.drafter.reuses, self.drafter.taps

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self.prompt_length = len(text.ids)
        self.drafter.begin(text, seen)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        return [self._disturb(text, node) for node in self.drafter.extend(text, nodes, room)]

    def _disturb(self, text: Text, node: Node) -> Node:
        place = len(text.ids) + node.facts.depth
        if place < self.prompt_length + self.first:
            return node
        # Like all draft noise it is also keyed by the round, so a place that is drafted again after a rejection gets new numbers.
        seed, key = text.sampler.sampling.seed ^ KEY, stream(DRAFT, text.round)
        replaced = uniform(seed, place, key) < self.share
        id = random_bits(seed, place, 1, key) % self.vocab if replaced else node.id
        probs = (1 - self.share) * node.law.over(self.vocab) + self.share / self.vocab  # rejection sampling needs the true distribution
        return node._replace(id=id, law=Law(None, probs), probability=float(probs[id]))

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor:
        return self.drafter.finish(text, nodes)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.drafter.commit(text, nodes, verdict, seen)

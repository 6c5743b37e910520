"""FFN-SkipLLM as a drafter: for each token, feed-forward layers that would change little are skipped (arXiv 2404.03865).

As published it writes the text itself, which then differs from the full model's. Here it drafts and the full model verifies. In the middle
half of the layers, if a feed-forward layer hardly changes the state (by cosine), those of the next few layers are skipped. The cosine is
only known after a feed-forward layer has run, and attention always runs. Three quarters of a small model's layer are feed-forward, so the
gain is small at any acceptance rate: with 60 % of them skipped, a draft step costs 0.64 of a plain one.
"""

from collections.abc import Sequence

from torch import Tensor

from .base import Node, Parts, Text, last_id
from .choose import choose
from .clasp import nearness
from .layer_skip import SkippingDrafter, remaining
from .skip_set import SkipSet


class FfnSkipDrafter(SkippingDrafter):
    cost_guess = 0.7

    def __init__(self, parts: Parts, cosine: float = 0.95, skipped: int = 2):
        """`cosine`: above this value the next `skipped` feed-forward layers are skipped."""
        super().__init__(parts)
        self.cosine, self.skipped = cosine, skipped
        every, depth = frozenset(range(self.target.depth)), self.target.depth
        self.attentions = remaining(self.target, SkipSet(frozenset(), every))
        self.feeds = remaining(self.target, SkipSet(every, frozenset()))
        self.middle = range(depth // 4, depth - depth // 4)
        self.ran = [0] * depth  # how often each layer's feed-forward part ran
        self.steps = 0

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        position = text.start + len(nodes)
        hidden = self._run(self.target.embed([last_id(text, nodes)], position), text, position)
        return [choose(text, nodes, self.target.logits(hidden))]

    def _run(self, hidden: Tensor, text: Text, position: int) -> Tensor:  # (1, 1, D)
        to_skip, self.steps = 0, self.steps + 1
        for number, (attention, feed) in enumerate(zip(self.attentions, self.feeds)):
            hidden = self.target.run([attention], hidden, text.cache, position)
            if to_skip and number in self.middle:
                to_skip -= 1
                continue
            before, hidden = hidden, self.target.run([feed], hidden, text.cache, position)
            self.ran[number] += 1
            if number in self.middle and nearness(before[0, 0], hidden[0, 0]) > self.cosine:
                to_skip = self.skipped
        return hidden

    def snapshot(self) -> dict:
        """For each layer, the share of draft steps that skipped its feed-forward part."""
        return {"skipped": [1 - ran / self.steps if self.steps else 0.0 for ran in self.ran]}

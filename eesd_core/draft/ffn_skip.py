"""FFN-SkipLLM as a drafter: feed-forward layers are left out where they change little, token by token (arXiv 2404.03865).

As published it writes the text itself, and not the text that the whole model writes. Here it drafts, and the whole model verifies. In the
middle half of the layers, where the state behind a feed-forward layer is nearly the one before it (by cosine), those of the next few
layers are skipped. To know the cosine one of them must run, and attention always runs: on a small model three quarters of a layer are
feed-forward, so this cannot pay much at any acceptance (with 60 % of them skipped a draft step costs 0.64 of a plain one).
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
        """`cosine`: above it the next feed-forward layers are skipped; `skipped`: how many."""
        super().__init__(parts)
        self.cosine, self.skipped = cosine, skipped
        every, depth = frozenset(range(self.target.depth)), self.target.depth
        self.attentions = remaining(self.target, SkipSet(frozenset(), every))
        self.feeds = remaining(self.target, SkipSet(every, frozenset()))
        self.middle = range(depth // 4, depth - depth // 4)
        self.ran = [0] * depth  # of every layer's feed-forward part, how often it ran
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
        """Of every layer's feed-forward part, the share of draft steps that skipped it."""
        return {"skipped": [1 - ran / self.steps if self.steps else 0.0 for ran in self.ran]}

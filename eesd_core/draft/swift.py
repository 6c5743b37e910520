"""SWIFT: layer skipping whose set of skipped sub-layers is searched for while the text is written (arXiv 2410.06916).

Every few rounds another set of the same size is tried. The model without these sub-layers reads the last tokens of the text, and the score
is the share of them that it would have written itself. The set with the best score drafts. Trials count on the lane's own clock.

Ours: the window has at most 24 written tokens, because texts are short (the paper uses 32 or 50). Proposals alternate between random sets
and neighbours of the best set; the paper takes a Bayesian step at every 25th. The best score decays, so that one easy passage does not end
the search; the paper keeps the best ever seen. As in the paper, 45 % of the sub-layers are skipped, never in the first or last layer.
"""

from collections.abc import Sequence

from torch import Tensor

from ..control.base import Random64, Seeded
from ..verify import Verdict
from .base import Node, Parts, Text
from .layer_skip import SkippingDrafter, remaining
from .skip_set import SkipSet

SHARE, FADES = 0.45, 0.99  # share of sub-layers to skip; decay of the best score per trial
LEAST = 8  # written tokens before the first trial

Sublayer = tuple[str, int]


class SwiftDrafter(Seeded, SkippingDrafter):
    changes = ("chosen", "best", "trials", "draws")

    def __init__(self, parts: Parts, every: int = 4, window: int = 24):
        """`every`: rounds between two trials. `window`: most tokens that a trial reads."""
        super().__init__(parts)
        self.every, self.window, self.random = every, window, Random64(0)
        self.pool: list[Sublayer] = [(kind, layer) for kind in "am" for layer in range(1, self.target.depth - 1)]
        self.size = int(SHARE * len(self.pool))
        evenly = [(kind, layer) for kind, layer in self.pool if layer % 2] + [(kind, layer) for kind, layer in self.pool if not layer % 2]
        self.best, self.trials = 0.0, 0
        self._choose(evenly[: self.size])

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self.prompt = len(text.ids)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        written = len(text.ids) - self.prompt
        if verdict is None or written < LEAST or text.round % self.every or not self.size:
            return
        proposed = self._proposal()
        score = self.score(text, proposed, min(written, self.window))
        self.trials, self.best = self.trials + 1, FADES * self.best
        if score > self.best:
            self.best = score
            self._choose(proposed)

    def score(self, text: Text, skipped: Sequence[Sublayer], count: int) -> float:
        """The share of the text's last `count` tokens that the target without these sub-layers would have written."""
        low = len(text.ids) - 1 - count
        with text.cache.borrowed(low, count):
            layers = remaining(self.target, as_set(skipped))
            hidden = self.target.run(layers, self.target.embed(text.ids[low:-1], low), text.cache, low)
        logits = self.target.logits(hidden)  # (count, V)
        log_probs = text.sampler.log_probs(logits)
        choices = text.sampler.scores(logits, log_probs, range(low + 1, low + 1 + count)).argmax(-1).tolist()
        return sum(a == b for a, b in zip(choices, text.ids[low + 1 :])) / count

    def _proposal(self) -> list[Sublayer]:
        if self.trials % 2:
            return self.random.sample(self.pool, self.size)
        others = [part for part in self.pool if part not in self.chosen]
        swapped = min(1 + int(3 * self.random.random()), self.size, len(others))
        return self.random.sample(self.chosen, self.size - swapped) + self.random.sample(others, swapped)

    def _choose(self, skipped: Sequence[Sublayer]) -> None:
        self.chosen = list(skipped)
        self.layers = remaining(self.target, as_set(skipped))

    def restore(self, state: dict) -> None:
        super().restore(state)
        self._choose([tuple(part) for part in self.chosen])

    def snapshot(self) -> dict:
        return {"set": str(as_set(self.chosen)), "layers": self.target.depth, "score": self.best, "trials": self.trials}


def as_set(skipped: Sequence[Sublayer]) -> SkipSet:
    return SkipSet(*(frozenset(layer for kind, layer in skipped if kind == wanted) for wanted in "am"))

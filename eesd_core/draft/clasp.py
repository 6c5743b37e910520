"""CLaSp: whole layers are skipped, chosen anew by dynamic programming on the last token's hidden states (arXiv 2505.24196).

g(i, j) is the state behind layer i with j of the layers up to it skipped: the one of g(i - 1, j - 1), which skips layer i, and layer i
over g(i - 1, j), which keeps it, that is nearer (by cosine) to the target's own state there. What leads to g(L, M) is the set. It is
greedy in the cosine, so not the best set there is. A layer runs over all g(i - 1, .) at once, as siblings in one place of the text.

Ours: there the set is chosen after every verification; here after every few, since it takes about a pass of M + 1 rows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..limits import MAX_DRAFT
from ..verify import Verdict
from .base import Node, Parts, Text
from .layer_skip import SkippingDrafter, remaining
from .skip_set import SkipSet


class ClaspDrafter(SkippingDrafter):
    def __init__(self, parts: Parts, share: float = 0.4, every: int = 8):
        """`share`: of the layers that are skipped, at most 15 in all; `every`: rounds between two choices."""
        super().__init__(parts)
        self.every = every
        self.skipped = min(max(1, int(share * self.target.depth)), MAX_DRAFT, self.target.depth - 1)
        self.near = 0.0
        self._choose(sorted(range(self.target.depth - 2, -1, -2))[: self.skipped])

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is not None and text.round % self.every == 0:
            self._choose(self.search(text))

    def search(self, text: Text) -> list[int]:
        """The layers to skip, by the last token that is in the cache."""
        target, at, most = self.target, text.start - 1, self.skipped
        states = target.embed([text.ids[at]], at)[0]  # (j + 1, D): g(i, 0 .. j)
        skips: list[list[bool]] = []  # of every layer, for every j: was it skipped
        with text.cache.borrowed(at, most + 1):
            for layer in target.layers:
                kept = target.run([layer], states[None], text.cache, at, (-1,) * len(states))[0]
                true, rows, choice = kept[0], [kept[0]], [False]
                for j in range(1, min(len(states), most) + 1):
                    skip, keep = states[j - 1], kept[j] if j < len(states) else None
                    choice.append(keep is None or nearness(skip, true) >= nearness(keep, true))
                    rows.append(skip if choice[-1] else keep)
                states, skips = torch.stack(rows), [*skips, choice]
        self.near, chosen, j = nearness(states[most], states[0]), [], most
        for number in reversed(range(target.depth)):
            if skips[number][j]:
                chosen.append(number)
                j -= 1
        return chosen[::-1]

    def _choose(self, layers: Sequence[int]) -> None:
        self.chosen = SkipSet(frozenset(layers), frozenset(layers))
        self.layers = remaining(self.target, self.chosen)

    def snapshot(self) -> dict:
        return {"set": str(self.chosen), "layers": self.target.depth, "score": self.near}


def nearness(a: Tensor, b: Tensor) -> float:
    """Cosine of two states (D,)."""
    return nn.functional.cosine_similarity(a.float(), b.float(), 0).item()

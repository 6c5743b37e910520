"""CLaSp skips whole layers. Dynamic programming on the last token's hidden states chooses them again and again (arXiv 2505.24196).

g(i, j) is the state after layer i when j of the first i layers are skipped. It has two candidates: g(i - 1, j - 1), which skips layer i,
and layer i applied to g(i - 1, j), which keeps it. The one nearer (by cosine) to the target's own state after layer i is taken. The
choices that lead to g(L, M) are the set of M skipped layers. The rule is greedy in the cosine, so the set need not be optimal. A layer
runs on all g(i - 1, .) in one pass, as siblings at one position.

Ours: the paper chooses the set after every verification. Here it is chosen every few rounds, because it costs about a pass of M + 1 rows.
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
        """`share`: share of layers to skip, at most 15 layers. `every`: rounds between two choices."""
        super().__init__(parts)
        self.every = every
        self.skipped = min(max(1, int(share * self.target.depth)), MAX_DRAFT, self.target.depth - 1)
        self.near = 0.0
        self._choose(sorted(range(self.target.depth - 2, -1, -2))[: self.skipped])

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is not None and text.round % self.every == 0:
            self._choose(self.search(text))

    def search(self, text: Text) -> list[int]:
        """Numbers of the layers to skip, rising, from the states of the last token in the cache."""
        target, at, most = self.target, text.start - 1, self.skipped
        states = target.embed([text.ids[at]], at)[0]  # (j + 1, D): g(i, 0 .. j)
        skips: list[list[bool]] = []  # skips[i][j]: is layer i skipped in the j-th state after it
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
    """Cosine similarity of two states (D,)."""
    return nn.functional.cosine_similarity(a.float(), b.float(), 0).item()

"""Where the rows of a pass stand: the position of each, and what it sees.

Rows go behind each other into the cache, from `start` on. In a chain each follows the one before it. In a tree each names its parent, and
sees the cache, its ancestors and itself; siblings have the same position and do not see each other.

A pass may hold rows of several texts, one text behind the other: each has its own cache, and a span in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..limits import MAX_ROWS
from .cache import KVCache
from .layer_facts import Kind


class Span(NamedTuple):
    start: int  # positions cached before: every row sees them
    parents: tuple[int, ...] = ()  # of every row, the row of this pass that it follows, -1 the last position cached; (): a chain

    def depths(self, rows: int) -> list[int]:
        """How many rows of the pass each row has before it on its path: (m,)."""
        if not self.parents:
            return list(range(rows))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def positions(self, rows: int) -> list[int]:
        return [self.start + depth for depth in self.depths(rows)]

    def seen(self) -> Tensor:
        """Of a tree: who sees whom in the pass, (m, m)."""
        seen = torch.eye(len(self.parents), dtype=torch.bool)
        for row, parent in enumerate(self.parents):
            if parent >= 0:
                seen[row] |= seen[parent]
        return seen

    def visible(self, extent: int, kind: Kind, prompt: int | None) -> Tensor:
        """Of a tree: which of `extent` places in the cache every row sees, (m, extent), as far as the windows of this kind of layer go."""
        rows, start = len(self.parents), self.start
        queries, keys = torch.tensor(self.positions(rows)), torch.arange(extent)  # (m,), (extent,)
        keys[start : start + rows] = queries
        visible = keys < start
        visible = visible.expand(rows, -1).clone()
        visible[:, start : start + rows] = self.seen()
        windows = torch.full((rows,), kind.window or extent)
        if kind.kept and prompt is not None:
            windows[queries >= prompt] = kind.kept
        return visible & (keys > (queries - windows)[:, None])


class Segment(NamedTuple):
    """The rows of one text in a pass that several texts share."""

    cache: KVCache
    span: Span
    rows: int


def packed(sizes: Sequence[int]) -> list[list[int]]:
    """Texts with so many rows each, in few passes of at most MAX_ROWS rows, which the self-check tries: their numbers, pass by pass. Each
    goes, the largest first, into the first pass with room for it; one that has more rows has a pass of its own."""
    passes: list[tuple[int, list[int]]] = []
    for number in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        at = next((i for i, (rows, _) in enumerate(passes) if rows + sizes[number] <= MAX_ROWS), None)
        if at is None:
            passes.append((sizes[number], [number]))
        else:
            passes[at] = (passes[at][0] + sizes[number], [*passes[at][1], number])
    return [sorted(numbers) for _, numbers in passes]

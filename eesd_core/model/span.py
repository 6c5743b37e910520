"""Positions and visibility of the rows of a pass.

Rows are written to the cache one after another, from `start` on. In a chain each row follows the one before it. In a tree each row names
its parent, and sees the cached positions, its ancestors and itself; siblings share a position and do not see each other.

A pass may hold rows of several texts, text by text. Each text has its own cache and its own span in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..limits import MAX_ROWS
from .cache import KVCache
from .layer_facts import Kind


class Span(NamedTuple):
    start: int  # positions cached before the pass; every row sees them
    parents: tuple[int, ...] = ()  # parent of each row: a row of this pass, or -1 for the last cached position; (): a chain

    def depths(self, rows: int) -> list[int]:
        """Number of ancestors that each row has in the pass: (m,)."""
        if not self.parents:
            return list(range(rows))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def positions(self, rows: int) -> list[int]:
        return [self.start + depth for depth in self.depths(rows)]

    def seen(self) -> Tensor:
        """For a tree, (m, m): whether row i sees row j of the same pass."""
        seen = torch.eye(len(self.parents), dtype=torch.bool)
        for row, parent in enumerate(self.parents):
            if parent >= 0:
                seen[row] |= seen[parent]
        return seen

    def visible(self, extent: int, kind: Kind, prompt: int | None) -> Tensor:
        """For a tree, (m, extent): which of the first `extent` cache places each row sees, within the windows of this kind of layer."""
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
    """Group texts into passes of at most MAX_ROWS rows, the most that the self-check tests. `sizes`: rows of each text. Returns the indices
    of the texts in each pass. First fit, largest text first; a text with more rows gets a pass of its own."""
    passes: list[tuple[int, list[int]]] = []
    for number in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        at = next((i for i, (rows, _) in enumerate(passes) if rows + sizes[number] <= MAX_ROWS), None)
        if at is None:
            passes.append((sizes[number], [number]))
        else:
            passes[at] = (passes[at][0] + sizes[number], [*passes[at][1], number])
    return [sorted(numbers) for _, numbers in passes]


class DraftRow(NamedTuple):
    """A text's row in a draft step that several texts share: its newest token."""

    text: object  # a cpu/draft_step.TextDraft
    id: int
    position: int
    goes: bool  # whether the exit layer drafts behind it; if not, what follows is not read
    start: int  # the pending token's position: the exit layer reads the deep states of the one before it
    round: int
    words: object  # the text's list (heads/shortlist.py); None: the vocabulary


class Fresh(NamedTuple):
    """Rows of a text that the target has newly verified, for a draft step that reads them."""

    states: Sequence[Tensor]  # of the verify pass, at each depth that the head reads: (1, m, D) float32
    rows: Sequence[int]  # those that were accepted
    first: int  # position of the first one


class FeatureRows(NamedTuple):
    """A text's rows in a step of the feature head that several texts share: tokens that it has not read, the newest one last."""

    text: object  # a cpu/feature_step.FeatureText
    ids: Sequence[int]
    position: int  # of the first one
    drafted: bool  # it is one token, a draft, whose feature is the head's own
    words: object  # as in DraftRow
    fresh: Fresh  # no more rows than `ids` in a pass of several texts, since `size` does not count them

    @property
    def size(self) -> int:
        """Rows that it has in a pass, for `packed`."""
        return len(self.ids)


class ChimeraRow(NamedTuple):
    """A text's row in a step of the chimera head that several texts share."""

    text: object  # a cpu/chimera_step.ChimeraText
    ids: list[int]  # its last tokens, at most three, the newest one last
    position: int  # of the newest one
    place: int  # number of drafts before it in its round
    words: object  # as in DraftRow
    fresh: Fresh

    @property
    def size(self) -> int:
        """As in FeatureRows."""
        return max(1, len(self.fresh.rows))


class GlideRow(NamedTuple):
    """A text's row in a step of the glide head that several texts share: its newest token."""

    text: object  # a cpu/glide_step.GlideText
    id: int
    position: int
    words: object  # as in DraftRow
    size = 1  # as in FeatureRows

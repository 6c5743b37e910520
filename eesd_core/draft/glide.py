"""GliDe's drafter: one or a few decoder layers on token embeddings that read the target's cache (GliDe with a CaPE, arXiv 2402.02082).

A draft token costs these layers and the head. Their keys and values are written into the target's cache, behind those of the layers that
they read, and removed before verification (heads/glide.py), so nothing is kept between rounds. Siblings are the next best tokens beside
the spine, as many as pay, or as many as CaPE's table says. Where possible, a draft is one region (model/cpu/glide_step.py), also of several
texts.
"""

from collections.abc import Sequence

from torch import Tensor

from ..model.span import GlideRow
from .base import Node, Parts, Room, Step, Text, last_id
from .cape import TABLE, candidates
from .in_region import SharedDrafter


class GlideDrafter(SharedDrafter):
    kind = "glide"

    def __init__(self, parts: Parts, rows: int = 1, cape: int = 0):
        """`cape` 1: every place gets as many candidates as CaPE's table says, within the limit of `rows`."""
        super().__init__(parts, rows)
        self.taps, self.cape = (), cape  # it reads cached keys and values, no hidden states
        if cape:
            self.width = max(TABLE)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if drafted := self.drafted(text, nodes):
            return drafted
        position = text.start + len(nodes)
        hidden = self.target.embed([last_id(text, nodes)], position)
        hidden = self.target.run(self.head.layers, hidden, text.cache, position)
        return [self.chosen(text, nodes, self.head.norm(hidden))]

    def _asked(self, step: Step) -> GlideRow:
        self._see(step.text)
        return GlideRow(self._step_of(step.text), step.id, step.position, self.words)

    def _step(self, text: Text, count: int):
        from ..model.cpu.glide_step import glide_text

        return glide_text(self.target.steps, self.head, text.sampler.ranker, count, text.cache)

    def _judged(self, states: Sequence[Tensor], rows: Sequence[int]) -> None:
        """It keeps nothing of verified rows."""

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return candidates(nodes, room) if self.cape else super().branch(text, nodes, room)

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        text.cache.truncate(text.start)

"""The block drafter: one pass of the block head predicts the tokens of all places of a round (heads/block.py).

The pass reads the rows of the tokens written since the last pass, of which the last is pending, then those of the block's further places,
whose keys and values do not stay in the cache. Tokens are then chosen from left to right, as many as the controller asks for. The previous
token changes a place's logits only by a product of rank 64 at most, so the LM head's rows are read once for all places. Where possible, all
of this is one region (model/cpu/block_step.py), which chooses the tokens of all places that the round has room for.
"""

from collections.abc import Sequence

from torch import Tensor

from ..limits import MAX_ROWS
from ..sampling import Ranked
from ..verify import Verdict
from .base import Node, Parts, Text, last_id
from .choose import node_of
from .in_region import RegionDrafter


class BlockDrafter(RegionDrafter):
    kind, at_once = "block", True

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        self.cache = self.target.new_cache(parts.capacity, layers=1)
        self.ready: list[Ranked] = []  # this round's choices, where a region has made them
        self.hidden: Tensor | None = None  # head outputs at this round's places, (1, k, D)
        self.plain: Tensor | None = None  # their logits before the correction by the previous token, (k, V) or (k, S)
        self.by_state: Tensor | None = None  # see BlockHead.factors, (1, k, r)

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        super().begin(text, seen)
        if self.verified:
            tokens = self.head.read(self.target.embed(text.ids[: self.verified], 0))
            self.target.run(self.head.layers, self.head.block(tokens, self.memory[:, : self.verified], 1), self.cache, 0)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        head, target, place = self.head, self.target, len(nodes)
        if not nodes:
            self.ready = self._chosen(text, min(room, head.longest))
        if self.ready:
            return [node_of(text, nodes, found, self.width if self.rows > 1 else 1) for found in self.ready[place : place + 1]]
        if not nodes:
            self._block(text, min(room, head.longest))
        elif place == self.hidden.shape[1]:
            return []
        token = head.read(target.embed([last_id(text, nodes)], text.start + place))  # (1, 1, D)
        factors = head.factors(self.by_state[:, place : place + 1], token).float()  # (1, 1, r)
        plain = self.plain[place : place + 1] + factors[0] @ head.reach(target)
        return [self.chosen(text, nodes, self.hidden[:, place : place + 1] + factors @ head.change.float(), plain)]

    def _chosen(self, text: Text, places: int) -> list[Ranked]:
        """The best tokens of all places, by one region; none where this is not possible."""
        step, low = self._step_of(text), self.cache.lengths[0]
        if not step or text.start - low + places > MAX_ROWS:
            self._settle()
            return []
        self._see(text)
        return step(text.ids[low:], text.start, places, self.words, self._fresh())

    def _step(self, text: Text, count: int):
        from ..model.cpu.block_step import block_text

        return block_text(self.target.steps, self.head, text.sampler.ranker, count, self.cache, self.memory)

    def _block(self, text: Text, places: int) -> None:
        """One pass over the rows that the layer has not read and a block of `places`."""
        head, target, start, low = self.head, self.target, text.start, self.cache.lengths[0]
        rows = head.block(head.read(target.embed(text.ids[low:], low)), self.memory[:, low : start + 1], places)
        self.hidden = head.norm(target.run(head.layers, rows, self.cache, low)[:, -places:])
        self.plain, self.by_state = head.at_once(target, self.hidden), head.by_state(self.hidden)
        self.cache.truncate(start + 1)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.cache.truncate(text.start)
        super().commit(text, nodes, verdict, seen)

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        return self.head.verified(states)

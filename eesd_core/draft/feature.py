"""The feature drafter: a small decoder layer that reads tokens and features (EAGLE-3, arXiv 2503.01840; heads/feature.py). Features come
from the target at verified positions and from the layer's own output at drafted ones.

A row of the head is a token and the feature of the position before. After verification the rows of the accepted tokens are recomputed
with the target's features, in one pass together with the pending token's row. That row gives the next round's first draft, and every
further draft takes one more row. Where possible, each of these passes is one region (model/cpu/feature_step.py), also of several texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..limits import MAX_ROWS
from ..model.span import FeatureRows
from ..verify import Verdict
from .base import Node, Parts, Step, Text, last_id
from .choose import guesses
from .in_region import NO_ROWS, SharedDrafter


class FeatureDrafter(SharedDrafter):
    kind = "feature"

    def __init__(self, parts: Parts, rows: int = 1):
        super().__init__(parts, rows)
        self.cache = self.target.new_cache(parts.capacity + 1, layers=1)
        self.own = torch.zeros_like(self.memory[:, :1])  # the head's own feature of the last row, (1, 1, D)
        self.readers: list = []  # see `_read_in_one`

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        super().begin(text, seen)
        if self.verified:
            self._rows(text, 0, self.verified)

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        if drafted := self.drafted(text, nodes):
            return drafted
        self._settle()
        if nodes:
            position = text.start + len(nodes)
            embedded = self.target.embed([last_id(text, nodes)], position)
            hidden = self.head.run(self.target, embedded, self.own, self.cache, position)
        else:
            hidden = self._rows(text, self.cache.lengths[0], text.start + 1)
        self.own.copy_(self.head.fed_back(hidden))
        return [self.chosen(text, nodes, self.head.norm(hidden))]

    def _asked(self, step: Step) -> FeatureRows:
        """This text's rows in a step in one region: a draft, or the tokens that the last round wrote, of which the last is pending."""
        text, drafted = step.text, step.position > step.text.start
        first = step.position if drafted else self.cache.lengths[0]
        if step.position - first >= MAX_ROWS:  # after rounds without drafts
            self._settle()
            self._rows(text, first, text.start)
            first = text.start
        self._see(text)
        ids = [step.id] if drafted else text.ids[first:]
        return FeatureRows(self._step_of(text), ids, first, drafted, self.words, self._fresh())

    def _step(self, text: Text, count: int):
        from ..model.cpu.feature_step import feature_text

        return feature_text(self.target.steps, self.head, text.sampler.ranker, count, self.cache, self.memory, self.own)

    def _rows(self, text: Text, low: int, high: int) -> Tensor:
        """Runs positions low .. high - 1 of the text with the target's features. Returns the output at the last one, (1, 1, D)."""
        embedded = self.target.embed(text.ids[low:high], low)
        return self.head.run(self.target, embedded, self.memory[:, low:high], self.cache, low)[:, -1:]

    def read_on(self, text: Text) -> tuple[int, list[int]]:
        """The head reads the verified tokens that it has not read. Returns the place behind the first of them, and what it would have
        drafted behind each."""
        self._see(text)
        low, high = self.cache.lengths[0], text.start
        if self._step_of(text) and low < high <= low + MAX_ROWS:
            return low + 1, self._read_in_one(text, low, high)
        self._settle()
        embedded = self.target.embed(text.ids[low:high], low)
        hidden = self.head.run(self.target, embedded, self.memory[:, low:high], self.cache, low)
        logits = self.head.logits(self.target, self.head.norm(hidden), self.words)
        return low + 1, guesses(text, low + 1, logits, self.words and self.words.ids)

    def _read_in_one(self, text: Text, low: int, high: int) -> list[int]:
        """As `read_on`, by one region, which makes a choice for every text: here a text is one token. They see each other, because all keys
        are written to the cache before any is read. What they leave in `own` is never read: the next step is a round's first."""
        if self.readers[:1] != [self.step]:
            self.readers = [self.step]
        self.readers += [self._step(text, self.step.step.count) for _ in range(high - low - len(self.readers))]
        fresh, asked = self._fresh(), []
        for reader, id, position in zip(self.readers, text.ids[low:high], range(low, high)):
            asked.append(FeatureRows(reader, [id], position, False, self.words, fresh))
            fresh = NO_ROWS
        return [found.ids[0][0] for found in self.step.step(asked)]

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.cache.truncate(min(self.verified + 1, text.start))  # drops the rows of drafts, and of a text that was cut back
        super().commit(text, nodes, verdict, seen)

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        return self.head.feature(states)

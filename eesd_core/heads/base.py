"""The written interface of a head, and what all heads have in common.

A head stands on the target's first `exit_after` layers and says what token may come next: decoder layers of its own (perhaps none), a
norm, and rows of the target's frozen LM head. A kind of head only says which layers and which norm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.cache import KVCache
from ..model.span import Segment, Span
from ..model.target import Target
from .frozen_rows import ReadsFrozenRows
from .shortlist import Words


class Asked(NamedTuple):
    """What a text asks of a head: the arguments of `Head.forward`."""

    states: Tensor  # (1, m, D)
    cache: KVCache
    start: int
    deep: Tensor | None
    words: Words | None


class Head(ReadsFrozenRows):
    def __init__(self, target: Target, exit_after: int):
        """Raises UserError for a depth that the target does not have."""
        super().__init__()
        self.exit_after = check_depth(target, exit_after)

    def new_cache(self, target: Target, capacity: int) -> KVCache:
        """Of its own layers; without any, one that only counts."""
        return target.new_cache(capacity, layers=max(1, len(self.layers)))

    def forward(
        self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None, words: Words | None = None
    ) -> Tensor:
        """Hidden states after `exit_after` layers (1, m, D) at positions start .. -> logits behind the last of them: (1, V), or over the
        ids of `words` (of the bare shortlist, where a head has one and `words` is None).

        deep (1, m, taps D): beside every position the deep states of the last row verified before it; None: there is none, or no taps.
        """
        return self.logits(target, self.norm(self.run(target, states, cache, start, deep)[:, -1:]), words)

    def forward_together(self, target: Target, texts: Sequence[Asked]) -> list[Tensor]:
        """`forward` of several texts in one pass: the logits of each, (1, V) or over its own list."""
        sizes = [text.states.shape[1] for text in texts]
        hidden = torch.cat([text.states for text in texts], 1)
        if self.layers:
            deep = torch.cat([text.deep for text in texts], 1) if self.taps else None
            segments = [Segment(text.cache, Span(text.start), rows) for text, rows in zip(texts, sizes)]
            hidden = target.run_together(self.layers, self.mixed(hidden, deep), segments)
        else:
            for text in texts:
                self.run(target, text.states, text.cache, text.start)
        normed = self.norm(hidden[:, torch.tensor(sizes).cumsum(0) - 1])  # (1, texts, D)
        if self.shortlist is None:
            return list(target.head(normed).split(1))
        frequent = self.shortlist(normed)[0].split(1)
        return [text.words.logits(row, own) if text.words else own for text, row, own in zip(texts, normed.split(1, 1), frequent)]

    def hidden(self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None) -> Tensor:
        """What the rows of the LM head are multiplied by, at every position: (1, m, D) -> (1, m, D)."""
        return self.norm(self.run(target, states, cache, start, deep))

    def run(self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None) -> Tensor:
        """The head's own layers over positions start .. : (1, m, D) -> (1, m, D)."""
        if not self.layers:
            cache.lengths = [start + states.shape[1]]
            return states
        return target.run(self.layers, self.mixed(states, deep), cache, start)

    def mixed(self, states: Tensor, deep: Tensor | None) -> Tensor:
        """What the first layer reads: the exit states, with what a head with taps makes of the deep ones. (B, m, D) -> (B, m, D)."""
        return states

    def rows_hidden(self, target: Target, states: Tensor, deep: Tensor | None = None) -> Tensor:
        """As `hidden`, over whole rows and without a cache, as in training: (B, T, D) -> (B, T, D)."""
        return self.norm(target.run_rows(self.layers, self.mixed(states, deep)))

    def rows(self, target: Target, states: Tensor, deep: Tensor | None = None) -> Tensor:
        """Logits over the whole vocabulary, shortlist or not, as in training: (B, T, D) -> (B, T, V) float32."""
        return target.head_rows(self.rows_hidden(target, states, deep))


WITHOUT_EXIT = "use --drafter prompt-lookup, or --method vanilla"


def check_depth(target: Target, exit_after: int) -> int:
    """Raises UserError."""
    if target.depth == 1:
        raise UserError(f"{target.name} has one layer, which leaves nothing to exit from: {WITHOUT_EXIT}")
    if not 0 < exit_after < target.depth:
        raise UserError(f"exit depth {exit_after} does not fit a model of {target.depth} layers: choose 1 to {target.depth - 1}")
    return exit_after


def deep_rows(states: Sequence[Tensor], verified: Tensor) -> Tensor:
    """Deep states of the taps, (B, T, D) each, as a head reads them beside every position: those of row `verified` - 1 (B, T), nothing
    at 0, one tap behind the other. -> (B, T, taps D)."""
    shifted = [nn.functional.pad(part, (0, 0, 1, 0))[:, :-1] for part in states]  # row 0: nothing was verified
    return torch.cat([part.gather(1, verified[..., None].expand(-1, -1, part.shape[-1])) for part in shifted], -1)

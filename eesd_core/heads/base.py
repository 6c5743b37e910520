"""The base class of heads that exit early.

A head stands on the target's first `exit_after` layers and predicts the next token. It has decoder layers of its own (perhaps none), a
norm, and rows of the target's frozen LM head. Subclasses only provide the layers and the norm.
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
    """One text's arguments of `Head.forward`."""

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
        self.mix: nn.Module | None = None  # see exit_layer.py

    def new_cache(self, target: Target, capacity: int) -> KVCache:
        """A cache for its own layers. Without layers, a cache of one layer of which only the length is used."""
        return target.new_cache(capacity, layers=max(1, len(self.layers)))

    def forward(
        self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None, words: Words | None = None
    ) -> Tensor:
        """states (1, m, D): hidden states after `exit_after` layers at positions start .. -> logits behind the last of them: (1, V), or
        over the ids of `words`, or over the shortlist if the head has one and `words` is None.

        deep (1, m, taps D): for every position the deep states of the last row verified before it; None: nothing verified, or no taps.
        """
        return self.logits(target, self.norm(self.run(target, states, cache, start, deep)[:, -1:]), words)

    def forward_together(self, target: Target, texts: Sequence[Asked]) -> list[Tensor]:
        """`forward` for several texts in one pass. Returns the logits of each, (1, V) or over its own list."""
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
            return list(target.rough_head(normed).split(1))
        frequent = self.shortlist(normed)[0].split(1)
        return [text.words.logits(row, own) if text.words else own for text, row, own in zip(texts, normed.split(1, 1), frequent)]

    def hidden(self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None) -> Tensor:
        """The LM head's input at every position: (1, m, D) -> (1, m, D)."""
        return self.norm(self.run(target, states, cache, start, deep))

    def run(self, target: Target, states: Tensor, cache: KVCache, start: int, deep: Tensor | None = None) -> Tensor:
        """The head's own layers over positions start .. : (1, m, D) -> (1, m, D)."""
        if not self.layers:
            cache.lengths = [start + states.shape[1]]
            return states
        return target.run(self.layers, self.mixed(states, deep), cache, start)

    def mixed(self, states: Tensor, deep: Tensor | None) -> Tensor:
        """The first layer's input: the exit states, mixed with the deep ones in a head with taps. (B, m, D) -> (B, m, D)."""
        return states

    def rows_hidden(self, target: Target, states: Tensor, deep: Tensor | None = None) -> Tensor:
        """`hidden` over whole texts without a cache, for training: (B, T, D) -> (B, T, D)."""
        return self.norm(target.run_rows(self.layers, self.mixed(states, deep)))

    def rows(self, target: Target, states: Tensor, deep: Tensor | None = None) -> Tensor:
        """Logits over the whole vocabulary, even with a shortlist, for training: (B, T, D) -> (B, T, V) float32."""
        return target.head_rows(self.rows_hidden(target, states, deep))


WITHOUT_EXIT = "use --drafter prompt-lookup, or --method vanilla"


def check_depth(target: Target, exit_after: int) -> int:
    """Returns the exit depth. Raises UserError if the target has no such depth."""
    if target.depth == 1:
        raise UserError(f"{target.name} has one layer, which leaves nothing to exit from: {WITHOUT_EXIT}")
    if not 0 < exit_after < target.depth:
        raise UserError(f"exit depth {exit_after} does not fit a model of {target.depth} layers: choose 1 to {target.depth - 1}")
    return exit_after


def deep_rows(states: Sequence[Tensor], verified: Tensor) -> Tensor:
    """Deep states as a head reads them at every position, concatenated over taps. states: (B, T, D) for each tap. verified (B, T): number
    of rows verified before each position; the states of the last one are read, zeros if there is none. -> (B, T, taps D)."""
    shifted = [nn.functional.pad(part, (0, 0, 1, 0))[:, :-1] for part in states]  # row 0: nothing was verified
    return torch.cat([part.gather(1, verified[..., None].expand(-1, -1, part.shape[-1])) for part in shifted], -1)

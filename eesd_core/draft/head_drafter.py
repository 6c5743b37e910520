"""The base class of drafters with a trained head (heads/trained.py)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..heads.shortlist import Words
from ..verify import Verdict
from .base import Drafter, Node, Parts, Room, Text
from .choose import choose
from .tree import grow


class Made(NamedTuple):
    """Replaces a text's `Words` when the logits over the frozen head's rows, (1, V) or (1, S), are already computed."""

    words: Words | None
    made: Tensor

    def logits(self, normed: Tensor) -> Tensor:
        return self.words.logits(normed, self.made) if self.words else self.made


class HeadDrafter(Drafter):
    """Drafting runs none of the target's layers, so verification runs them all. For every verified position it keeps what `remembered`
    makes of the target's states there. With `rows` > 1, siblings are the head's next best tokens beside the spine, as many as pay."""

    kind: str  # of the head
    width = 4  # tokens ranked per place in a tree

    def __init__(self, parts: Parts, rows: int = 1):
        """`rows`: siblings may fill up a verify pass to this many rows; 1: a chain."""
        self.target, self.head, self.rows = parts.target, parts.heads[self.kind], rows
        self.taps, self.cost_guess = self.head.taps, self.head.cost
        self.words = self.head.words()
        self.shown = 0  # number of the text's tokens that `words` has seen
        # Row t + 1 belongs to position t. Row 0 stands for "nothing verified yet".
        kind = {"dtype": self.target.stream, "device": self.target.device}
        self.memory = torch.zeros(1, parts.capacity + 1, self.target.config.hidden_size, **kind)
        self.verified = 0  # number of verified positions

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self._remember([seen[tap] for tap in self.taps])

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:  # the text was cut back, so its token list starts again
            self.words, self.shown, self.verified = self.head.words(), 0, text.start
            return
        self._judged([seen[tap] for tap in self.taps], verdict.rows[: text.start - self.verified])

    def _judged(self, states: Sequence[Tensor], rows: Sequence[int]) -> None:
        """states: the target's at every tap, of a verify pass, (1, m, D) each. rows: those that were accepted."""
        at = torch.tensor(rows, device=self.memory.device)
        self._remember([part[:, at.to(part.device)] for part in states])

    def _remember(self, states: Sequence[Tensor]) -> None:
        """Stores the next n verified positions. states: the target's at every tap, (1, n, D) each."""
        low, count = self.verified + 1, states[0].shape[1] if states else 0
        if count:
            self.memory[:, low : low + count] = self.remembered(states)
        self.verified += count

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        """The rows of `memory` for n verified positions, from the target's states at every tap: (1, n, D) each -> (1, n, D)."""
        raise NotImplementedError

    def chosen(self, text: Text, nodes: Sequence[Node], normed: Tensor, made: Tensor | None = None) -> Node:
        """The next node. normed (1, 1, D): the LM head's input. made (1, V) or (1, S): its logits, if already computed."""
        self._see(text)
        words = self.words if made is None else Made(self.words, made)
        logits = self.head.logits(self.target, normed, words)  # (1, V) or (1, S)
        return choose(text, nodes, logits, self.words and self.words.ids, self.width if self.rows > 1 else 1)

    def _see(self, text: Text) -> None:
        """Tell `words` the text's new tokens."""
        if self.words:
            self.words.see(text.ids[self.shown :])
            self.shown = len(text.ids)

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room)

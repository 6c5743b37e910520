"""What drafters with a trained head have in common (heads/trained.py)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..heads.shortlist import Words
from ..verify import Verdict
from .base import LOGITS, Drafter, Node, Parts, Room, Text
from .choose import choose
from .tree import grow


class Made(NamedTuple):
    """Stands in for a text's list where the logits over the frozen head's rows, (1, V) or (1, S), are there already."""

    words: Words | None
    made: Tensor

    def logits(self, normed: Tensor) -> Tensor:
        return self.words.logits(normed, self.made) if self.words else self.made


class HeadDrafter(Drafter):
    """It shares none of the target's layers: verification runs them all. Of every verified position it keeps what `remembered` makes of the
    target's states there. With `rows`, siblings are the head's next best tokens beside the spine, as many as pay, as in early exit."""

    kind: str  # of the head
    width = 4  # tokens that are ranked for a place, where there are siblings

    def __init__(self, parts: Parts, rows: int = 1):
        """`rows`: siblings may fill up a verify pass to so many; 1: a chain."""
        self.target, self.head, self.rows = parts.target, parts.heads[self.kind], rows
        self.taps, self.cost_guess = self.head.taps, self.head.cost
        self.words = self.head.words()
        self.shown = 0  # tokens of the text that the list of words has seen
        # Row t + 1 is of position t. Row 0: nothing was verified yet.
        kind = {"dtype": self.target.stream, "device": self.target.device}
        self.memory = torch.zeros(1, parts.capacity + 1, self.target.config.hidden_size, **kind)
        self.verified = 0  # positions

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        self._remember([seen[tap] for tap in self.taps])

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:  # the text was taken back, and its list with it
            self.words, self.shown, self.verified = self.head.words(), 0, text.start
            return
        rows = torch.tensor(verdict.rows[: text.start - self.verified], device=seen[LOGITS].device)
        self._remember([seen[tap][:, rows] for tap in self.taps])

    def _remember(self, states: Sequence[Tensor]) -> None:
        """The next positions are verified: their states at every tap, (1, n, D) each."""
        low, count = self.verified + 1, states[0].shape[1] if states else 0
        if count:
            self.memory[:, low : low + count] = self.remembered(states)
        self.verified += count

    def remembered(self, states: Sequence[Tensor]) -> Tensor:
        """(1, n, D) each -> (1, n, D)."""
        raise NotImplementedError

    def chosen(self, text: Text, nodes: Sequence[Node], normed: Tensor, made: Tensor | None = None) -> Node:
        """The next node. normed (1, 1, D): what the LM head's rows are multiplied by; made (1, V) or (1, S): what that gives, if known."""
        if self.words:
            self.words.see(text.ids[self.shown :])
            self.shown = len(text.ids)
        words = self.words if made is None else Made(self.words, made)
        logits = self.head.logits(self.target, normed, words)  # (1, V) or (1, S)
        return choose(text, nodes, logits, self.words and self.words.ids, self.width if self.rows > 1 else 1)

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room)

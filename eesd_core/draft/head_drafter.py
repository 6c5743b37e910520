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
    """It shares none of the target's layers: verification runs them all. With `rows`, siblings are the head's next best tokens beside the
    spine, as many as pay, as in early exit."""

    kind: str  # of the head
    width = 4  # tokens that are ranked for a place, where there are siblings

    def __init__(self, parts: Parts, rows: int = 1):
        """`rows`: siblings may fill up a verify pass to so many; 1: a chain."""
        self.target, self.head, self.rows = parts.target, parts.heads[self.kind], rows
        self.taps, self.cost_guess = self.head.taps, self.head.cost
        self.words = self.head.words()
        self.shown = 0  # tokens of the text that the list of words has seen

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

    def taken_back(self) -> None:
        """The text was taken back to an earlier place, and its list with it."""
        self.words, self.shown = self.head.words(), 0

    def kept(self, count: int, verdict: Verdict, seen: dict[int, Tensor]) -> list[Tensor]:
        """Of what a pass has shown, the states at every tap of the `count` rows that the text keeps: (1, count, D) each."""
        rows = torch.tensor(verdict.rows[:count], device=seen[LOGITS].device)
        return [seen[tap][:, rows] for tap in self.taps]

"""The prompt-lookup drafter: what followed the last few tokens where they stood before (Saxena 2023; LLMA, arXiv 2304.04487).

It runs no model. The last n tokens of the text, n = 3 first, then 2, then 1, are looked up in the text so far, and what came behind
their latest occurrence is the draft. Ours: the latest one (transformers takes the first), and a copy that goes on over its own drafts,
as in LZ77, so that a text that repeats itself is followed to the limit.
"""

from torch import Tensor

from ..control.base import check_whole
from ..model.target import Target
from .base import Context
from .stepwise import Choice, StepwiseDrafter


class PromptLookupDrafter(StepwiseDrafter):
    name = "prompt-lookup"
    shares_layers, draft_share = 0, 0.001

    def __init__(self, target: Target, longest: int = 3):
        self.target = target
        self.longest = check_whole("the longest n-gram looked up", longest, 1, 10)
        self.followed: dict[tuple[int, ...], int] = {}  # n-gram -> place behind its latest occurrence, where a token follows
        self.indexed = 0  # places up to here have been entered
        self.source: int | None = None  # place that the copy began at

    def begin(self, context: Context, states: Tensor) -> None:
        """Nothing is known before the first round; the text itself is the context."""

    def next(self, context: Context, ids: list[int]) -> Choice | None:
        text = context.ids
        if not ids:
            self._index(text)
            grams = (tuple(text[-n:]) for n in range(min(self.longest, len(text)), 0, -1))
            self.source = next((self.followed[gram] for gram in grams if gram in self.followed), None)
        if self.source is None:
            return None
        place = self.source + len(ids)
        return Choice(text[place] if place < len(text) else ids[place - len(text)])

    def _index(self, text: list[int]) -> None:
        for end in range(max(self.indexed, 1), len(text)):  # n-grams that end in front of `end`: text[end] follows them
            for n in range(1, min(self.longest, end) + 1):
                self.followed[tuple(text[end - n : end])] = end
        self.indexed = len(text)

    def commit(self, length: int) -> None:
        """Only committed tokens are looked up. A text that was taken back, as between two draws (same_law.py), is entered anew."""
        if length + 1 < self.indexed:
            self.followed, self.indexed = {}, 0

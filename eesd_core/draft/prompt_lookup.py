"""The prompt-lookup drafter copies what followed an earlier occurrence of the last few tokens (Saxena 2023; LLMA, arXiv 2304.04487).

It runs no model. The last n tokens, n = 3 first, then 2, then 1, are looked up in the text so far, and the tokens behind their latest
earlier occurrence are the draft. Ours: the latest occurrence (transformers takes the first), and a copy that may run on into its own
drafts, as in LZ77, so a repetition is followed up to the limit.
"""

from collections.abc import Sequence

from torch import Tensor

from ..control import Facts
from ..limits import MAX_DRAFT
from ..verify import Verdict
from .base import CERTAIN, Drafter, Node, Parts, Text

FARTHEST = 64  # tokens that `agreed` looks back


class PromptLookupDrafter(Drafter):
    cost_guess = 0.001

    def __init__(self, parts: Parts, longest: int = 3, least: int = 1):
        """`longest`, `least`: bounds of n, the number of tokens that are looked up."""
        self.least = least
        self.longest, self.name = longest, "prompt-lookup" if longest == 3 else f"prompt-lookup:{longest}"
        self.followed: dict[tuple[int, ...], int] = {}  # n-gram -> place behind its latest occurrence that a token follows
        self.indexed = 0  # n-grams that end before this place have been entered
        self.source: int | None = None  # place that the copy starts from

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        ids, depth = text.ids, len(nodes)
        if not nodes:
            self._find(ids)
        if self.source is None:
            return []
        place = self.source + depth
        id = ids[place] if place < len(ids) else nodes[place - len(ids)].id
        return [Node(id, depth - 1, None, Facts(depth, *CERTAIN))]

    def whole_draft(self, text: Text) -> list[int]:
        self._find(text.ids)
        if self.source is None:
            return []
        copied = text.ids[self.source : self.source + MAX_DRAFT]
        return (copied * MAX_DRAFT)[:MAX_DRAFT]  # at its end it goes on with its own beginning

    def _find(self, ids: list[int]) -> None:
        """The place that a copy starts from here."""
        self._index(ids)
        grams = (tuple(ids[-n:]) for n in range(min(self.longest, len(ids)), self.least - 1, -1))
        self.source = next((self.followed[gram] for gram in grams if gram in self.followed), None)

    def agreed(self, text: Text) -> int:
        """How many tokens before the copy's first one agree with those before its source, at most FARTHEST. For a draft that has begun."""
        ids, most = text.ids, min(self.source, FARTHEST)
        return next((n for n in range(most) if ids[self.source - 1 - n] != ids[-1 - n]), most)

    def _index(self, ids: list[int]) -> None:
        for end in range(max(self.indexed, 1), len(ids)):  # n-grams that end just before `end`: ids[end] follows them
            for n in range(1, min(self.longest, end) + 1):
                self.followed[tuple(ids[end - n : end])] = end
        self.indexed = len(ids)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        """Only committed tokens are indexed. A text that was cut back is indexed again from the start."""
        if len(text.ids) < self.indexed:
            self.followed, self.indexed = {}, 0

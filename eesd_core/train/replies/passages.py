"""Requests about a passage, drawn by number: questions to answer from it, and tasks such as quoting, listing, correcting and shortening.

The replies repeat words of the passage, so a head learns to find what followed the same word before. Request n is always the same.
"""

from pathlib import Path

import numpy as np

from ...errors import UserError
from .requests import WORDS, Requests, excerpt

SHORTEST = 400  # characters: an instruction of that length quotes what it asks about
LEAST, MOST = 40, 130  # words of a passage


class Passages(Requests):
    """Of the same files as `Requests`. Raises UserError where no instruction is long enough to quote a passage."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.questions = [prompt for name in self.sources for prompt in self.instructions[name] if len(prompt) >= SHORTEST]
        if not self.questions:
            raise UserError(f"{folder} holds no questions about a passage: prompts of {SHORTEST} characters or more are needed")

    def draw(self, number: int) -> str:
        random = np.random.default_rng([12, number])

        def pick(of):
            return of[int(random.integers(len(of)))]

        if random.random() < 0.35:
            return pick(WORDS["question"]).format(pick(self.questions))
        quoted = self.passages if self.passages and random.random() < 0.5 else self.stories
        return pick(WORDS["passage"] + WORDS["summary"]).format(excerpt(pick(quoted), random, LEAST, MOST))

    def follow_up(self, number: int) -> None:
        return None

"""Unlearning repetition on the model's own text: sequence-level unlikelihood (Welleck et al. 2020, arXiv 1908.04319).

In greedy decoding a small model soon repeats itself, and each repetition makes the next one more likely. Likelihood training does not cure
this, because the books hold no such text. So the model writes greedily, and wherever it completes an n-gram that its text already holds,
the loss -log(1 - p) pushes the probability of that token down. No other token of such a text is trained on.

Ours: only the last token of a repeated n-gram is unlearned (in the paper all of them), so tokens that merely might begin one are left
alone; own text and books share every batch (in the paper they alternate); and each text is used once, so that the lesson is always about
what the model would write now.
"""

import numpy as np

from ..model.target import Target
from .corpus import Windows
from .generations import Draw, write

GRAM = 4  # tokens; in rows of 256, 1 to 4 % of a corpus' tokens complete a repetition, and half of a looping model's
PROMPT = 32  # tokens of a book that the model continues


def completes_repetition(rows: np.ndarray) -> np.ndarray:
    """rows (B, T) -> (B, T), True at every token that ends an n-gram which has occurred before in its row."""
    found = np.zeros(rows.shape, bool)
    for row, marks in zip(rows.tolist(), found):
        seen: set[tuple[int, ...]] = set()
        for end in range(GRAM, len(row) + 1):
            gram = tuple(row[end - GRAM : end])
            marks[end - 1] = gram in seen
            seen.add(gram)
    return found


class OwnText:
    """Rows of `length` tokens that the model, as it is at that moment, writes after windows of the corpus. Written `pool` at a time."""

    def __init__(self, target: Target, windows: Windows, length: int, pool: int = 128):
        self.target, self.windows, self.length, self.pool = target, windows, length, pool
        self.kept = np.empty((0, length), np.int64)

    def batch(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """Returns (rows, length) int64, each row once only. Texts that ended early are left out."""
        while len(self.kept) < rows:
            prompts = self.windows.batch(rng, self.pool, PROMPT).tolist()
            texts = write(self.target, prompts, self.length - PROMPT, Draw(0.0))
            self.kept = np.concatenate([self.kept, texts.ids[texts.length == self.length].cpu().numpy()])
        taken, self.kept = self.kept[:rows], self.kept[rows:]
        return taken

"""Text that the model wrote itself, in which it unlearns to repeat: sequence-level unlikelihood (Welleck et al. 2020, arXiv 1908.04319).

Greedy, a small model soon says again what it has said, and each time makes the next one likelier. Likelihood alone does not cure it: the
books hold no such text to learn from. So the model writes greedily, and wherever it completes an n-gram that its text already holds, the
chance of that token is pushed down by -log(1 - p). All other tokens of such a text teach the model nothing.

Ours: of a repeated n-gram only the last token is unlearned (in the paper all are), which leaves alone whatever merely may begin one; own
text and books share every batch (in the paper they take turns); and each text is learned from once, so that it is always about what the
model would write now.
"""

import numpy as np

from ..model.target import Target
from .corpus import Windows
from .generations import Draw, write

GRAM = 4  # tokens; in rows of 256, 1 to 4 % of a corpus' tokens complete such a repetition, and half of a looping model's
PROMPT = 32  # tokens of a book that each text goes on from


def completes_repetition(rows: np.ndarray) -> np.ndarray:
    """rows (B, T) -> (B, T), True at every token that ends an n-gram which ended somewhere before in its row."""
    found = np.zeros(rows.shape, bool)
    for row, marks in zip(rows.tolist(), found):
        seen: set[tuple[int, ...]] = set()
        for end in range(GRAM, len(row) + 1):
            gram = tuple(row[end - GRAM : end])
            marks[end - 1] = gram in seen
            seen.add(gram)
    return found


class OwnText:
    """Rows (of `length` tokens) that the model, as it is by then, goes on with from windows of the corpus. Written `pool` at a time."""

    def __init__(self, target: Target, windows: Windows, length: int, pool: int = 128):
        self.target, self.windows, self.length, self.pool = target, windows, length, pool
        self.kept = np.empty((0, length), np.int64)

    def batch(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """Returns (rows, length) int64, none of them twice. Texts that ended early are left out."""
        while len(self.kept) < rows:
            prompts = self.windows.batch(rng, self.pool, PROMPT).tolist()
            texts = write(self.target, prompts, self.length - PROMPT, Draw(0.0))
            self.kept = np.concatenate([self.kept, texts.ids[texts.length == self.length].cpu().numpy()])
        taken, self.kept = self.kept[:rows], self.kept[rows:]
        return taken

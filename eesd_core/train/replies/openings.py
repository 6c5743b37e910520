"""Openings of texts, drawn by number, for a model that goes on with what it is given instead of replying to it.

Opening n is the same whoever asks for it and whenever, so that writing can stop and go on.
"""

from itertools import islice
from pathlib import Path

import numpy as np

from ..corpus import documents, find_sources
from .requests import excerpt

MOST_DOCUMENTS = 400  # of a source
LEAST, MOST = 4, 40  # words


class Openings:
    """`folder` holds JSON Lines with a `text` or with turns, packed by xz or not; those in folders named `eval` are left alone. Raises
    UserError where there is nothing of use."""

    def __init__(self, folder: Path):
        folders = sorted({path.parent for path in folder.rglob("*.jsonl*") if "eval" not in path.relative_to(folder).parts}) or [folder]
        self.texts = {name: list(islice(documents(paths), MOST_DOCUMENTS)) for name, paths in find_sources(folders).items()}
        self.sources = sorted(name for name, texts in self.texts.items() if texts)

    def draw(self, number: int) -> str:
        """By the root of a source's size: a large one must not be nearly all. It breaks off anywhere."""
        random = np.random.default_rng([10, number])
        weights = np.sqrt([len(self.texts[name]) for name in self.sources])
        texts = self.texts[self.sources[random.choice(len(weights), p=weights / weights.sum())]]
        words = excerpt(texts[int(random.integers(len(texts)))], random, MOST, MOST).split(" ")
        return " ".join(words[: int(random.integers(LEAST, MOST + 1))])

"""Openings of texts, drawn by number, for a model that continues what it is given instead of replying to it.

Opening n is always the same, so that writing can be interrupted and resumed.
"""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..corpus import documents, find_sources
from ..tokenizer import TURN_TOKENS
from .requests import excerpt

ENOUGH = 1_000_000  # characters per source
LEAST, MOST = 4, 40  # words


class Openings:
    """`folder` holds JSON Lines with a `text`, compressed by xz or not; folders named `eval` are skipped. Raises UserError where there is
    nothing of use."""

    def __init__(self, folder: Path):
        folders = sorted({path.parent for path in folder.rglob("*.jsonl*") if "eval" not in path.relative_to(folder).parts}) or [folder]
        self.texts = {name: first_of(paths) for name, paths in find_sources(folders).items()}
        self.sources = sorted(name for name, texts in self.texts.items() if texts)
        if not self.sources:
            raise UserError(f"{folder} holds no texts to go on with: JSON Lines whose field `text` is prose, no turns, are needed")

    def draw(self, number: int) -> str:
        """LEAST to MOST words, breaking off anywhere. Sources are drawn in proportion to the square root of their size, so that a large one
        does not crowd out the others."""
        random = np.random.default_rng([10, number])
        weights = np.sqrt([len(self.texts[name]) for name in self.sources])
        texts = self.texts[self.sources[random.choice(len(weights), p=weights / weights.sum())]]
        words = excerpt(texts[int(random.integers(len(texts)))], random, MOST, MOST).split(" ")
        return " ".join(words[: int(random.integers(LEAST, MOST + 1))])


def first_of(paths: list[Path]) -> list[str]:
    """The first documents of a source, up to ENOUGH characters together, without empty ones and those that are written as turns."""
    found, size = [], 0
    for text in documents(paths):
        if not text or text.startswith(TURN_TOKENS[0]):
            continue
        found.append(text)
        size += len(text)
        if size >= ENOUGH:
            break
    return found

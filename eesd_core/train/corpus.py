"""Corpus: read JSON Lines, clean the text, pack it as tokens.

A *source* is one file or several with the same prefix; its weight says how often its text is seen relative to its size.
Packed text is one uint16 array a source, documents separated by the end-of-text token. This file knows nothing of models.
"""

import json
import lzma
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError

# Modern stories and dialogue are few, so they weigh more than the books (which are of 1850 to 1920).
SOURCE_WEIGHTS = {
    "gutenberg": 0.5,
    "fairytales": 15.0,
    "childrens-stories": 15.0,
    "self-dialogues": 1.0,
    "taskmaster": 2.0,
    "openstax": 0.25,
}

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "–": "-", "…": "...", "\u00a0": " ", "\t": " "})
_SPACES = re.compile(r" {2,}")
_ITALICS = re.compile(r"\b_([^_\n]{1,200})_\b|(?<!\w)_([^_\n]{1,200})_(?!\w)")


def read_records(path: Path) -> Iterator[dict]:
    """Yield the records of a .jsonl or .jsonl.xz file."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def clean(text: str) -> str:
    """Typographic variants become ASCII, italics marks go, and lines that are no prose (tables, rules) are dropped.

    A small model has no vocabulary to spare for five kinds of dash. One paragraph a line, as in the source.
    """
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    text = _ITALICS.sub(lambda m: m.group(1) or m.group(2), text)
    lines = (_SPACES.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if _is_prose(line))


def _is_prose(line: str) -> bool:
    if not line:
        return False
    letters = sum(c.isalpha() or c == " " for c in line)
    return letters >= 0.7 * len(line) and not (len(line) > 40 and line.isupper())


def source_name(path: Path) -> str:
    """`gutenberg-02.jsonl.xz` belongs to the source `gutenberg`."""
    return re.sub(r"-\d+$", "", path.name.split(".jsonl")[0])


def find_sources(folder: Path) -> dict[str, list[Path]]:
    """The known sources in a folder, by name. Raises UserError when there is none."""
    sources: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.jsonl*")):
        if source_name(path) in SOURCE_WEIGHTS:
            sources.setdefault(source_name(path), []).append(path)
    if not sources:
        raise UserError(f"no training text in {folder}: expected files such as gutenberg-00.jsonl.xz (see --data)")
    return sources


def documents(paths: list[Path]) -> Iterator[str]:
    """Cleaned documents of one source, exact duplicates of earlier paragraphs of 80 characters or more dropped."""
    seen: set[int] = set()
    for path in paths:
        for record in read_records(path):
            kept = []
            for line in clean(record["text"]).split("\n"):
                key = hash(line)
                if len(line) >= 80 and key in seen:
                    continue
                seen.add(key)
                kept.append(line)
            if kept and (text := "\n".join(kept)):
                yield text


def pack(tokenizer, texts: Iterator[str], batch: int = 256) -> np.ndarray:
    """Token ids of all texts, each followed by the end-of-text token. Returns (n,) uint16."""
    parts: list[np.ndarray] = []

    def flush(pending: list[str]) -> None:
        for ids in tokenizer(pending, add_special_tokens=False)["input_ids"]:
            parts.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16))

    pending: list[str] = []
    for text in texts:
        pending.append(text)
        if len(pending) == batch:
            flush(pending)
            pending = []
    flush(pending)
    return np.concatenate(parts)


class Windows:
    """Random windows of T + 1 tokens; a source is drawn in proportion to its weight times its size."""

    def __init__(self, arrays: dict[str, np.ndarray], weights: dict[str, float] = SOURCE_WEIGHTS):
        self.arrays = list(arrays.values())
        mass = np.array([weights.get(name, 1.0) * len(a) for name, a in arrays.items()])
        self.share = mass / mass.sum()

    def batch(self, rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
        """Returns (rows, length) int64."""
        picks = rng.choice(len(self.arrays), size=rows, p=self.share)
        starts = [rng.integers(0, len(self.arrays[i]) - length) for i in picks]
        return np.stack([self.arrays[i][s : s + length] for i, s in zip(picks, starts)]).astype(np.int64)

"""Corpus: read JSON Lines, clean the text, pack it as tokens.

A *source* is one file, or several with the same prefix; its weight says how often its text is seen relative to its size. There are two
tables of weights: the last stage, in which the learning rate falls, sees mostly what the model is to sound like in the end.
Records are texts (`text`, perhaps with a `title`) or turns (`prompt`, `response`), which are written with the turn tokens.
Packed text is one uint16 array per source, documents separated by the end-of-text token. This file knows nothing of models.
"""

import json
import lzma
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..model.catalog import EMBEDDED
from .tokenizer import turns

OWN_TEXT = EMBEDDED.parent / "text"  # short modern stories, prompts and replies, written for this project

# Modern stories and dialogue are few, so they weigh more than the books, which are of 1850 to 1920. Weights: ours.
SOURCE_WEIGHTS = {
    "gutenberg": 0.5,
    "fairytales": 15.0,
    "childrens-stories": 15.0,
    "self-dialogues": 1.0,
    "taskmaster": 2.0,
    "openstax": 0.25,
}
LAST_WEIGHTS = {
    "gutenberg": 0.2,
    "fairytales": 8.0,
    "childrens-stories": 15.0,
    "self-dialogues": 0.3,
    "instructions": 0.5,
    "stories": 30.0,
    "talk": 60.0,
}
ARITHMETIC = {"gsm8k", "svamp"}  # instructions from these are left out: a model of this size does not learn to calculate

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "–": "-", "…": "...", "\u00a0": " ", "\t": " "})
_SPACES = re.compile(r" {2,}")
_ITALICS = re.compile(r"\b_([^_\n]{1,200})_\b|(?<!\w)_([^_\n]{1,200})_(?!\w)")


def read_records(path: Path) -> Iterator[dict]:
    """Yield the records of a .jsonl or .jsonl.xz file: objects with a `text`, or with `prompt` and `response`. Raises UserError."""
    opener = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                record = json.loads(line)
                if not all(isinstance(record[key], str) for key in (("prompt", "response") if "response" in record else ("text",))):
                    raise TypeError
                yield record
    except (OSError, EOFError, ValueError, KeyError, TypeError, lzma.LZMAError):
        raise UserError(f"{path} cannot be read: it must be JSON Lines, every line an object with a `text`") from None


def clean(text: str) -> str:
    """Typographic variants become ASCII, italics marks go, and lines that are not prose (tables, rules) are dropped.

    A small model has no vocabulary to spare for five kinds of dash. One paragraph per line, as in the source.
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


def find_sources(folders: list[Path]) -> dict[str, list[Path]]:
    """All sources in the folders, by name. If one of the embedded model's sources is among them, the project's own text is added. Raises
    UserError when the folders hold none."""
    sources: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.xz")]):
            sources.setdefault(source_name(path), []).append(path)
    if not sources:
        where = ", ".join(map(str, folders))
        raise UserError(f"no training text in {where}: --data takes folders of JSON Lines files (.jsonl or .jsonl.xz) with a `text` field")
    if sources.keys() & SOURCE_WEIGHTS.keys():
        sources |= {source_name(path): [path] for path in sorted(OWN_TEXT.glob("*.jsonl"))}
    return sources


def documents(paths: list[Path]) -> Iterator[str]:
    """Cleaned documents of one source. In texts, exact duplicates of earlier paragraphs of 80 characters or more are dropped."""
    seen: set[int] = set()
    for path in paths:
        for record in read_records(path):
            if record.get("source") in ARITHMETIC:
                continue
            if "response" in record:
                yield turns(clean(record["prompt"]), clean(record["response"]))
                continue
            kept = []
            for line in clean(record["text"]).split("\n"):
                key = hash(line)
                if len(line) >= 80 and key in seen:
                    continue
                seen.add(key)
                kept.append(line)
            if text := "\n".join(kept):
                yield text
                if path.parent == OWN_TEXT:
                    yield turns(f'Write a story called "{record["title"]}".', text)


def pack(tokenizer, texts: Iterator[str], batch: int = 256) -> np.ndarray:
    """Token ids of all texts, each followed by the end-of-text token: (n,) uint16, or uint32 for a large vocabulary."""
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    parts: list[np.ndarray] = []
    while pending := list(islice(texts, batch)):
        for ids in tokenizer(pending, add_special_tokens=False)["input_ids"]:
            parts.append(np.array([*ids, tokenizer.eos_token_id], dtype=kind))
    return np.concatenate(parts)


class Windows:
    """Random windows of the packed text; a source is drawn in proportion to its weight times its size."""

    def __init__(self, arrays: dict[str, np.ndarray], weights: dict[str, float]):
        """Known sources (of the embedded model) without a weight are not drawn; any other source weighs 1."""
        known = SOURCE_WEIGHTS | LAST_WEIGHTS
        weights = {name: weights.get(name, 0.0 if name in known else 1.0) for name in arrays}
        if not any(weights.values()):  # only sources that the table leaves out: use them all
            weights = dict.fromkeys(arrays, 1.0)
        self.arrays = [array for name, array in arrays.items() if weights[name]]
        mass = np.array([weights[name] * len(array) for name, array in arrays.items() if weights[name]])
        self.share = mass / mass.sum()

    def batch(self, rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
        """Returns (rows, length) int64. Raises UserError where a source is no longer than one window."""
        if min(map(len, self.arrays)) <= length:
            raise UserError(f"a source of text is shorter than one window of {length} tokens: put it into one file with others")
        picks = rng.choice(len(self.arrays), size=rows, p=self.share)
        starts = [rng.integers(0, len(self.arrays[i]) - length) for i in picks]
        return np.stack([self.arrays[i][s : s + length] for i, s in zip(picks, starts)]).astype(np.int64)

"""Requests of many kinds, drawn by number: instructions from files, stories to continue, texts to summarise, talks, questions about a
thing, and code.

Request n is always the same, so that writing can be interrupted and resumed. What a request quotes comes from files that the user gives;
the wording around it is ours (assets/text/requests.json).
"""

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..corpus import OWN_TEXT

WORDS = json.loads((OWN_TEXT / "requests.json").read_text(encoding="utf-8"))
MIX = {"instruct": 0.44, "story": 0.12, "summary": 0.12, "talk": 0.04, "about": 0.14, "story about": 0.05, "code": 0.09}


class Requests:
    """`folder` holds JSON Lines, compressed by xz or not. A `prompt` is an instruction. A `text` is quoted: as a talk where the file's name
    contains "dialogue" or "taskmaster", as a textbook passage where it contains "openstax", else as a story. Raises UserError where prompts
    or stories are missing."""

    def __init__(self, folder: Path):
        self.instructions: dict[str, list[str]] = {}
        self.stories: list[str] = []
        self.passages: list[str] = []
        self.talks: list[str] = []
        for path in sorted(p for p in folder.rglob("*") if p.name.endswith((".jsonl", ".jsonl.xz")) and "eval" not in p.parts):
            self._read(path)
        if not self.instructions or not self.stories:
            raise UserError(f"{folder} holds no requests: JSON Lines with a field `prompt` and others with a field `text` are needed")
        self.sources = sorted(self.instructions)
        self.mix = {kind: share for kind, share in MIX.items() if kind != "talk" or self.talks}

    def _read(self, path: Path) -> None:
        for number, record in enumerate(_records(path)):
            if "prompt" in record:
                self.instructions.setdefault(str(record.get("source")), []).append(record["prompt"])
            elif "dialogue" in path.name or "taskmaster" in path.name:
                self.talks.append(record["text"])
            elif "openstax" in path.name:
                self.passages.append(record["text"])
            elif number < 400:
                self.stories.append(record["text"])

    def draw(self, number: int) -> str:
        random = np.random.default_rng([7, number])
        kind = random.choice(list(self.mix), p=np.array(list(self.mix.values())) / sum(self.mix.values()))

        def pick(of):
            return of[int(random.integers(len(of)))]

        if kind == "instruct":
            # In proportion to the square root of a source's size, so that a large source does not crowd out the others.
            weights = np.sqrt([len(self.instructions[name]) for name in self.sources])
            return pick(self.instructions[self.sources[random.choice(len(weights), p=weights / weights.sum())]])
        if kind == "story":
            return pick(WORDS["story"]).format(excerpt(pick(self.stories), random, 20, 90))
        if kind == "summary":
            passages = self.passages or self.stories
            return pick(WORDS["summary"]).format(excerpt(pick(passages if random.random() < 0.6 else self.stories), random, 60, 150))
        if kind == "talk":
            return pick(WORDS["talk"]).format(excerpt(pick(self.talks), random, 40, 130, lines=True))
        if kind == "code":
            return pick(WORDS["code"]).replace("{language}", pick(WORDS["languages"])).format(pick(WORDS["tasks"]))
        return pick(WORDS["about"] if kind == "about" else WORDS["story_about"]).format(pick(WORDS["things"]))

    def follow_up(self, number: int) -> str | None:
        """What the user asks after the reply to request `number`; None for most requests."""
        random = np.random.default_rng([8, number])
        return WORDS["follow_ups"][int(random.integers(len(WORDS["follow_ups"])))] if random.random() < 0.3 else None


def _records(path: Path) -> Iterator[dict]:
    """Raises UserError."""
    number = 0
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 (a refusal names it)
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record["prompt" if "prompt" in record else "text"], str):
                        raise TypeError
                    yield record
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as problem:
        raise UserError(f"{path} cannot be read ({' '.join(str(problem).split())[:80]}): mend it, or leave it out") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"line {number} of {path} is no JSON object with a `prompt` or a `text`: mend it, or leave the file out") from None


def excerpt(text: str, random: np.random.Generator, least: int, most: int, lines: bool = False) -> str:
    """About `least` to `most` words from a random place in a text, cut at the ends of sentences (or turns) where possible."""
    parts = text.split("\n") if lines else re.split(r"(?<=[.!?])\s+", text)
    wanted, first = int(random.integers(least, most + 1)), int(random.integers(max(1, len(parts) - 4)))
    taken: list[str] = []
    for part in parts[first:]:
        taken.append(part)
        if sum(len(p.split()) for p in taken) >= wanted:
            break
    words = ("\n" if lines else " ").join(taken).split(" ")
    return " ".join(words[: most + 30])

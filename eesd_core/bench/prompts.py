"""Prompts from files: JSON Lines with `prompt` and optional `category`, `id` and `chat`; or Spec-Bench's format, whose lines have
`question_id`, `category` and `turns` (the first turn is used, as a request).
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ..errors import UserError
from ..model.catalog import EMBEDDED

EXAMPLES = EMBEDDED.parent / "prompts.json"  # the page's
OWN = EMBEDDED.parent / "prompts"  # the benchmark's


@dataclass(frozen=True, slots=True)
class Prompt:
    id: str
    category: str
    text: str
    chat: bool = False  # a request, written through the model's chat template where it has one


def load_prompts(path: Path | None, limit: int | None = None) -> list[Prompt]:
    """The prompts of a file, or the benchmark's own, one of each category in turn. Raises UserError."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, not {limit}")
    if path:
        prompts = _read(path)
    else:
        by_category = defaultdict(list)
        for file in sorted(OWN.glob("*.jsonl")):
            for prompt in _read(file):
                by_category[prompt.category].append(prompt)
        prompts = [prompt for turn in zip_longest(*by_category.values()) for prompt in turn if prompt]
    if not prompts:
        raise UserError(f"{path} holds no prompts: write JSON Lines, an object with a `prompt` on every line")
    return prompts[:limit]


def _read(path: Path) -> list[Prompt]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except OSError as problem:
        raise UserError(f"the prompts cannot be read from {path}: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"{path} is no UTF-8 text (at byte {problem.start}): save it as UTF-8") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(text.split("\n"), 1):  # `splitlines` would cut inside of strings, at other characters that break lines
        try:
            if line.strip():
                prompts.append(_prompt(json.loads(line), f"{path.stem}-{len(prompts)}"))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            what = 'no JSON object with a text `prompt`, as in {"prompt": "Once upon a time"} (or Spec-Bench\'s `turns`)'
            raise UserError(f"line {number} of {path} is {what}") from None
    return prompts


def _prompt(entry: dict, number: str) -> Prompt:
    spec_bench = "prompt" not in entry
    text = entry["turns"][0] if spec_bench else entry["prompt"]
    if not isinstance(text, str) or not text.strip():
        raise TypeError("a prompt is text, and some")
    name, chat = entry.get("id", entry.get("question_id", number)), entry.get("chat", spec_bench)
    return Prompt(str(name), str(entry.get("category", "all prompts")), text, bool(chat))


def read_prompts(path: Path | None, limit: int | None) -> list[str]:
    """Texts of a file's prompts, or the page's own examples. Raises UserError."""
    if path:
        return [prompt.text for prompt in load_prompts(path, limit)]
    return [entry["prompt"] for entry in json.loads(EXAMPLES.read_text(encoding="utf-8"))][:limit]

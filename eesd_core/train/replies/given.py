"""Texts that somebody else wrote, read once by the model (`write-replies --given`): what it says of every place is as good a lesson as its
own replies, and reading takes a third of the time of writing. Its own replies come last and decide: only they are judged on.

Given text n is the same whoever asks for it and whenever, so that reading can stop and go on.
"""

import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...model.load import load_target
from ...model.target import Target
from ..corpus import read_records
from ..lessons import states_of
from ..students import computing
from .requests import excerpt
from .store import PART, parts, save_part
from .writer import Text

MOST_OF_A_SOURCE = 1500  # texts
PASSAGES = ("openstax", "childrens-stories", "fairytales")  # modern or simple prose, quoted without a request
SHORTEST = 80  # characters: shorter answers teach little, and so do answers to requests of more than twice their length
LONGEST = 360  # tokens
ROWS = 16  # texts that are read together


class Given:
    """(request or None, text) pairs of a folder of JSON Lines: a `prompt` with its `response`, and a piece of each `text`. Raises UserError
    if there are none, or for a broken file."""

    def __init__(self, folder: Path):
        random, found = np.random.default_rng(11), {}
        for path in sorted(p for p in folder.rglob("*") if p.name.endswith((".jsonl", ".jsonl.xz")) and "eval" not in p.parts):
            passage = path.name.startswith(PASSAGES)
            for record in read_records(path):
                if "response" in record:
                    if len(record["response"]) >= max(SHORTEST, len(record["prompt"]) / 2):
                        found.setdefault(str(record.get("source")), []).append((record["prompt"], record["response"]))
                elif passage:
                    found.setdefault(path.name, []).append((None, excerpt(record["text"], random, 120, 200)))
        chosen = [texts[i] for _, texts in sorted(found.items()) for i in random.permutation(len(texts))[:MOST_OF_A_SOURCE]]
        if not chosen:
            raise UserError(f"{folder} holds no texts: JSON Lines with `prompt` and `response` are needed")
        self.pairs = [chosen[i] for i in random.permutation(len(chosen))]

    def text(self, target: Target, number: int) -> Text | None:
        """As the model would have written it; None where its request is too long to leave room."""
        request, answer = self.pairs[number]
        asked = target.codec.encode_chat([{"role": "user", "content": request}]) if request else ()
        answered = target.codec.encode(answer)
        ids = [*asked, *answered[bool(asked) and answered[0] == target.tokenizer.bos_token_id :]][: min(LONGEST, target.context)]
        if len(ids) < len(asked) + 16:
            return None
        return Text(number, ids, 1.0, 0.0, turns=[(max(1, len(asked)), len(ids))])


def read_given(model: str | None, data: Path, out: Path, count: int, taps: tuple[int, ...]) -> None:
    """Given texts 0 .. count - 1 into parts in `out`, with hidden states of the depths `taps`, two bytes a number; what is there stays.
    Raises UserError."""
    given = Given(data)
    target = load_target(model, "cpu", "float32", "none", alone=True)
    target.see_whole_rows()
    out.mkdir(parents=True, exist_ok=True)
    first = PART * len(parts(out))
    numbers = iter(range(first, min(count, len(given.pairs))))
    began, read, index = time.monotonic(), 0, len(parts(out))
    while chunk := list(islice(numbers, PART)):
        texts = list(filter(None, (given.text(target, number) for number in chunk)))
        save_part(out, index, with_states(target, texts, taps), taps, states=bool(taps))
        read, index = read + sum(len(text.ids) for text in texts), index + 1
        print(f"part {index}: {read:,} tokens read, {read / (time.monotonic() - began):.0f} a second", flush=True)


def with_states(target: Target, texts: list[Text], taps: tuple[int, ...]) -> list[tuple[Text, Tensor | None]]:
    """Texts, shortest first, with their states (`states_behind`), or None without taps."""
    texts, found = sorted(texts, key=lambda text: len(text.ids)), []
    for low in range(0, len(texts) if taps else 0, ROWS):
        with computing(target):
            found += states_behind(target, texts[low : low + ROWS], taps)
    return list(zip(texts, found or [None] * len(texts)))


def states_behind(target: Target, texts: list[Text], taps: tuple[int, ...]) -> list[Tensor]:
    """Of every text, of all its ids but the last: (T - 1, taps, D) bfloat16."""
    width = max(len(text.ids) for text in texts)
    ids = torch.tensor([text.ids + [0] * (width - len(text.ids)) for text in texts])  # padded on the right: causal attention never sees it
    found = states_of(target, ids, taps)
    rows = torch.stack([found[tap] for tap in taps], 2).bfloat16()  # (B, T, taps, D)
    return [row[: len(text.ids) - 1] for row, text in zip(rows, texts)]

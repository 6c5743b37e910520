"""What an exit layer learns from: text that the frozen model wrote itself, kept on disk batch by batch.

Prompts are windows of a corpus (`--data`), lines of a file (`--prompts`), or the project's own story openings and requests. Requests go
through the model's chat template where it has one.
"""

import copy
import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..bench.prompts import read_prompts
from ..errors import UserError
from ..model.attention import NAME as GROUPED
from ..model.quantize import is_quantized
from ..model.target import Target
from ..replacing import replaced
from .corpus import LAST_WEIGHTS, OWN_TEXT, Windows, documents, find_sources, pack

BATCH = 128  # texts written at once; small ones in tests
FACTS = ("first", "length", "temperature", "min_p")


class Draw(NamedTuple):
    """How the tokens of a batch of texts are drawn."""

    temperature: float
    min_p: float = 0.0


DRAWS = {  # for consecutive batches, in turn; (0.8, 0.1) is how the page draws
    "mixed": (Draw(0.0), Draw(0.8, 0.1), Draw(0.0), Draw(0.8), Draw(1.0)),  # greedy is drawn most often, because speeds are quoted for it
    "greedy": (Draw(0.0),),
    "drawn": (Draw(0.8, 0.1), Draw(0.8), Draw(1.0)),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """ids (G, T), padded on the right. For each text, (G,): where the model's own part begins, where the text ends, and the temperature and
    min-p it was written with."""

    ids: Tensor
    first: Tensor
    length: Tensor
    temperature: Tensor
    min_p: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, picks) -> "Texts":
        return Texts(self.ids[picks], *(getattr(self, name)[picks] for name in FACTS))

    def hold_out(self, count: int) -> tuple["Texts", "Texts"]:
        """Split off about `count` texts for evaluation, evenly from all ways of drawing, and return them and the rest. No prompt is in
        both, because a greedy text follows from its prompt. Raises UserError where there is only one prompt."""
        behind: dict[tuple[int, ...], list[int]] = {}
        for number, (ids, first) in enumerate(zip(self.ids.tolist(), self.first.tolist())):
            behind.setdefault(tuple(ids[:first]), []).append(number)
        prompts = list(behind.values())
        if len(prompts) < 2:
            raise UserError("all texts have the same prompt: give more, since some are held out to judge on")
        held = min(max(1, round(count * len(prompts) / len(self))), len(prompts) // 2)
        mask = torch.zeros(len(self), dtype=torch.bool)
        mask[[number for place in range(held) for number in prompts[place * len(prompts) // held]]] = True
        return self.part(mask), self.part(~mask)


def own_prompts(target: Target) -> list[list[int]]:
    """Openings of the project's stories and, for a model with a chat template, its requests."""
    stories = [json.loads(line)["text"] for line in (OWN_TEXT / "stories.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = [target.codec.encode(" ".join(text.split()[: 6 + number % 24])) for number, text in enumerate(stories)]
    if target.codec.has_chat:
        requests = [json.loads(line)["prompt"] for line in (OWN_TEXT / "talk.jsonl").read_text(encoding="utf-8").splitlines()]
        prompts += [target.codec.encode_chat([{"role": "user", "content": text}]) for text in requests]
    return prompts


class Prompts:
    """Draws prompts. Raises UserError where there are none."""

    def __init__(self, target: Target, data: list[Path] | None, file: Path | None, longest: int):
        self.longest, self.windows, self.listed = longest, None, []
        if data:
            openings = {name: (text[:4000] for text in islice(documents(paths), 1500)) for name, paths in find_sources(data).items()}
            self.windows = Windows({name: pack(target.tokenizer, texts) for name, texts in openings.items()}, LAST_WEIGHTS)
        else:
            found = [target.codec.encode(text) for text in read_prompts(file, None)] if file else own_prompts(target)
            self.listed = [ids for ids in found if 0 < len(ids) <= longest] or [ids[:longest] for ids in found if ids]
            if not self.listed:
                raise UserError(f"{file} holds no prompt that the tokenizer makes tokens of")

    def draw(self, rng: np.random.Generator, count: int) -> list[list[int]]:
        if self.windows:
            return self.windows.batch(rng, count, self.longest).tolist()
        return [self.listed[i] for i in rng.integers(0, len(self.listed), count)]


def collect(
    target: Target, prompts: Prompts, work: Path, count: int, new_tokens: int, seed: int, draws: tuple[Draw, ...] = DRAWS["mixed"],
    rank: int = 0, ranks: int = 1,
) -> None:  # fmt: skip
    """Write `count` texts into `work`, each process its share. An interruption loses one batch at most. Raises UserError where `work` holds
    texts that were drawn in another way."""
    work.mkdir(parents=True, exist_ok=True)
    began, made = time.monotonic(), 0
    size = _batch(count)
    batches = [(index, min(size, count - low)) for index, low in enumerate(range(0, count, size))]
    mine = batches[rank::ranks]
    for done, (index, size) in enumerate(mine, 1):
        draw = draws[index % len(draws)]
        path, drawn = _path(work, index), prompts.draw(np.random.default_rng([seed, index]), size)
        if path.exists():
            _check(path, drawn, new_tokens, draw)
            continue
        torch.manual_seed(seed * 100_000 + index)
        texts = write(target, drawn, new_tokens, draw)
        tensors = {"ids": texts.ids.to(torch.int32)} | {name: getattr(texts, name) for name in FACTS}
        with replaced(path) as part:
            save_file(tensors, part)
        made += 1
        left = (time.monotonic() - began) / made * (len(mine) - done) / 60
        print(f"generated {done} of {len(mine)} batches of texts, {left:.0f} min left", flush=True)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        found = load_file(path)
        return {name: found[name] for name in ("ids", *FACTS)}
    except (OSError, SafetensorError, KeyError) as problem:  # KeyError: written by an earlier version
        raise UserError(f"{path} is broken or of an earlier version ({problem}): delete it, and it is written again") from None


def _check(path: Path, drawn: list[list[int]], new_tokens: int, draw: Draw) -> None:
    """Raises UserError where a kept batch differs from what would be written."""
    kept = _load(path)
    begun = [ids[:first] for ids, first in zip(kept["ids"].tolist(), kept["first"].tolist())]
    alike = all(torch.equal(kept[name], told) for name, told in _told(draw, len(begun)).items())
    if begun != drawn or kept["ids"].shape[1] != max(map(len, drawn)) + new_tokens or not alike:
        raise UserError(f"{path} holds texts for other prompts, of another length or temperature: delete it, or give another --work")


def read(work: Path, count: int, end: int) -> Texts:
    """What `collect` kept. Raises UserError for a broken file."""
    parts = [_load(_path(work, index)) for index, _ in enumerate(range(0, count, _batch(count)))]
    width = max(part["ids"].shape[1] for part in parts)
    ids = [torch.nn.functional.pad(part["ids"].long(), (0, width - part["ids"].shape[1]), value=end) for part in parts]
    return Texts(torch.cat(ids), *(torch.cat([part[name] for part in parts]) for name in FACTS))


@torch.inference_mode()
def write(target: Target, prompts: list[list[int]], new_tokens: int, draw: Draw) -> Texts:
    """Plain batched sampling by transformers, in bfloat16. It needs prompts padded on the left; the texts are padded on the right again,
    which needs no mask under causal attention. A text ends with the end-of-text token or after `new_tokens`."""
    end = next(iter(sorted(target.end_ids)), 0)
    longest = max(map(len, prompts))
    padded = torch.tensor([[end] * (longest - len(p)) + p for p in prompts], device=target.device)  # (B, P)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=target.device)
    how = {"do_sample": True, "top_k": 0, "top_p": 1.0} | draw._asdict() if draw.temperature else {"do_sample": False}
    model = target.model
    if target.dtype == torch.float32 and not is_quantized(model):  # twice as fast: weights are cast once, keys and values never copied
        model = copy.deepcopy(model).bfloat16()
        model.set_attn_implementation(GROUPED)
        how |= {"cache_implementation": "static", "disable_compile": True}
    with torch.autocast(target.device.type, dtype=torch.bfloat16):
        rows = model.generate(padded, attention_mask=mask, max_new_tokens=new_tokens, pad_token_id=end, **how).tolist()
    texts, lengths = [], []
    for prompt, row in zip(prompts, rows):
        new = row[longest:]
        stop = next((i + 1 for i, id in enumerate(new) if id in target.end_ids), len(new))
        texts.append(prompt + new[:stop])
        lengths.append(len(texts[-1]))
    width = longest + new_tokens
    ids = torch.tensor([text + [end] * (width - len(text)) for text in texts])  # (B, P + new)
    return Texts(ids, torch.tensor([len(p) for p in prompts]), torch.tensor(lengths), **_told(draw, len(ids)))


def _told(draw: Draw, count: int) -> dict[str, Tensor]:
    return {name: torch.full((count,), value) for name, value in draw._asdict().items()}


def _batch(count: int) -> int:
    """Texts per batch: few enough that every way of drawing gets its share."""
    return min(BATCH, -(-count // len(DRAWS["mixed"])))


def _path(work: Path, index: int) -> Path:
    return work / f"texts-{index:04d}.safetensors"

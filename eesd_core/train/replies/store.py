"""Replies on disk, in parts of a few hundred texts. Ids are small and cost hours: they are kept for good. States can be made again.

A part is `ids-NNNN.safetensors` (all ids one behind the other, where each text ends, which ids are replies, how each was drawn) and, where
states are kept, `states-NNNN.safetensors` (one tensor a depth, row for row beside the ids, in bfloat16; the row of a text's last id is
never computed, and zero).
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .writer import Text

PART = 256  # texts


def save_part(folder: Path, number: int, texts: list[tuple[Text, Tensor]], taps: tuple[int, ...], states: bool = True) -> None:
    ids = torch.tensor([id for text, _ in texts for id in text.ids])
    reply = torch.zeros(len(ids), dtype=torch.bool)
    ends, place = [], 0
    for text, _ in texts:
        for begin, end in text.turns:
            reply[place + begin : place + end] = True
        place += len(text.ids)
        ends.append(place)
    kept = {"ids": ids.to(torch.uint16), "reply": reply, "ends": torch.tensor(ends, dtype=torch.int32)}
    kept["number"] = torch.tensor([text.number for text, _ in texts], dtype=torch.int32)
    kept["temperature"] = torch.tensor([text.temperature for text, _ in texts])
    kept["min_p"] = torch.tensor([text.min_p for text, _ in texts])
    if states:
        rows = torch.cat([torch.cat([s, torch.zeros_like(s[:1])]) for _, s in texts])  # (tokens, taps, D)
        write(folder / f"states-{number:04d}.safetensors", {str(depth): rows[:, i].contiguous() for i, depth in enumerate(taps)})
    write(folder / f"ids-{number:04d}.safetensors", kept)  # last: a part counts once this is there


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def parts(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("ids-*.safetensors"))


def load_ids(folder: Path, number: int) -> dict[str, Tensor]:
    found = load_file(folder / f"ids-{number:04d}.safetensors")
    return found | {"ids": found["ids"].to(torch.int32)}

"""Replies on disk, in parts of a few hundred texts. Ids are small and took hours to write, so they are kept for good; states can be
computed again.

A part is `ids-NNNN.safetensors` (the ids of all texts concatenated, where each text ends, which ids are replies, how each was drawn) and,
where states are kept, `states-NNNN.safetensors` (one bfloat16 tensor per depth, row for row as the ids; the row of a text's last id is
never computed, and is zero). `replies.xz` has only the replies, without the requests, as safetensors in a third of the space: with the same
request files, all texts can be restored from it.
"""

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from ...replacing import replaced
from .writer import Text

PART = 256  # texts
REPLIES = "replies.xz"


class Replies(NamedTuple):
    """What a model replied to request `number` and to its follow-ups, turn by turn."""

    number: int
    temperature: float
    min_p: float
    turns: list[list[int]]


def save_part(folder: Path, number: int, texts: list[tuple[Text, Tensor]], taps: tuple[int, ...], states: bool = True) -> None:
    ids = torch.tensor([id for text, _ in texts for id in text.ids])
    reply = torch.zeros(len(ids), dtype=torch.bool)
    ends, place = [], 0
    for text, _ in texts:
        for begin, end in text.turns:
            reply[place + begin : place + end] = True
        place += len(text.ids)
        ends.append(place)
    kept = {"ids": narrow(ids), "reply": reply, "ends": torch.tensor(ends, dtype=torch.int32)}
    kept["number"] = torch.tensor([text.number for text, _ in texts], dtype=torch.int32)
    kept["temperature"] = torch.tensor([text.temperature for text, _ in texts])
    kept["min_p"] = torch.tensor([text.min_p for text, _ in texts])
    if states:
        rows = torch.cat([torch.cat([s, torch.zeros_like(s[:1])]) for _, s in texts])  # (tokens, taps, D)
        write(folder / f"states-{number:04d}.safetensors", {str(depth): rows[:, i].contiguous() for i, depth in enumerate(taps)})
    write(folder / f"ids-{number:04d}.safetensors", kept)  # last, because a part counts once this file exists


def narrow(ids: Tensor) -> Tensor:
    """Two bytes per id where all ids fit, else four."""
    return ids.to(torch.uint16 if not len(ids) or ids.max() < 2**16 else torch.int32)


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    with replaced(path) as part:
        save_file(tensors, part)


def parts(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("ids-*.safetensors"))


def load_ids(folder: Path, number: int) -> dict[str, Tensor]:
    found = load_file(folder / f"ids-{number:04d}.safetensors")
    return found | {"ids": found["ids"].to(torch.int32)}


def save_replies(folder: Path) -> None:
    """Gather the replies of all parts in `folder` into its `replies.xz`."""
    found = [replies for part in parts(folder) for replies in _replies_of(load_ids(folder, part))]
    turns = [turn for replies in found for turn in replies.turns]
    kept = {
        "ids": narrow(torch.tensor([id for turn in turns for id in turn])),
        "lengths": torch.tensor([len(turn) for turn in turns]).to(torch.uint16),
        "turns": torch.tensor([len(replies.turns) for replies in found]).to(torch.uint8),
        "number": torch.tensor([replies.number for replies in found], dtype=torch.int32),
        "temperature": torch.tensor([replies.temperature for replies in found]),
        "min_p": torch.tensor([replies.min_p for replies in found]),
    }
    with replaced(folder / REPLIES) as part:
        part.write_bytes(lzma.compress(save(kept)))


def load_replies(file: Path) -> Iterator[Replies]:
    kept = {name: tensor.tolist() for name, tensor in load(lzma.decompress(file.read_bytes())).items()}
    turn = place = 0
    for number, temperature, min_p, count in zip(kept["number"], kept["temperature"], kept["min_p"], kept["turns"]):
        turns = []
        for length in kept["lengths"][turn : turn + count]:
            turns.append(kept["ids"][place : place + length])
            place += length
        turn += count
        yield Replies(number, temperature, min_p, turns)


def _replies_of(part: dict[str, Tensor]) -> Iterator[Replies]:
    begin = 0
    for end, number, temperature, min_p in zip(*(part[name].tolist() for name in ("ends", "number", "temperature", "min_p"))):
        edges = part["reply"][begin:end].int().diff(prepend=torch.tensor([0]), append=torch.tensor([0])).nonzero().flatten().tolist()
        ids = part["ids"][begin:end].tolist()
        yield Replies(number, temperature, min_p, [ids[low:high] for low, high in zip(edges[::2], edges[1::2])])
        begin = end

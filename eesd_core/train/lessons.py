"""What heads learn from: texts that the target wrote, kept in parts with the hidden states that were computed on the way.

A part is `ids-NNNN.safetensors` (ids of all texts one behind the other, where each ends, which ids are replies, how each was drawn) and
perhaps `states-NNNN.safetensors` (a tensor a depth, row for row beside the ids). Where states are not kept, the target computes them.
Parts may be added between two runs of training. A text is held out by its request, so no request is both learned from and judged on.
"""

import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from ..model.target import Target

HELD = 32  # of so many requests one is held out
OTHERS = "give texts that this model wrote"
CHUNK = 16  # batches that are drawn together, so that texts of like length stand in one


class Batch(NamedTuple):
    ids: Tensor  # (B, T), padded on the right
    lengths: Tensor  # (B,)
    reply: Tensor  # (B, T): the id is the target's own
    fresh: Tensor  # (B, T): no earlier id of the text is the same
    states: dict[int, Tensor]  # depth -> (B, T, D) float32

    def judged(self, listed: Tensor) -> Tensor:
        """(B, T - 1): what follows here is the target's own and can be drafted: in the list (V,), or in the text before."""
        following = self.ids[:, 1:]
        return self.reply[:, 1:] & (listed[following] | ~self.fresh[:, 1:])


class Text(NamedTuple):
    part: int  # place in `Lessons.states`
    begin: int
    end: int
    row: int  # of its first id within the part
    temperature: float


class Lessons:
    """The texts of one or more folders; only texts of the first folder are held out. Raises UserError where there is nothing to learn from,
    or a file is broken."""

    def __init__(self, folder: Path, *others: Path):
        ids, reply, fresh, self.states, self.texts, self.held = [], [], [], [], [], []
        self.given = 0  # tokens of texts in the other folders that are learned from
        place = 0
        for path in (path for each in (folder, *others) for path in sorted(each.glob("ids-*.safetensors"))):
            found, states = _open(path), path.with_name(path.name.replace("ids-", "states-"))
            self.states.append(_opened(states) if states.exists() else None)
            ends, low = found.get_tensor("ends").tolist(), 0
            numbers, own = found.get_tensor("ids").to(torch.int32).numpy(), found.get_tensor("reply").numpy()
            for end, temperature in zip(ends, found.get_tensor("temperature").tolist()):
                text = Text(len(self.states) - 1, place + low, place + end, low, temperature)
                asked = numbers[low : low + int(own[low:end].argmax())]
                held = path.parent == folder and zlib.crc32(asked.tobytes()) % HELD == 0
                (self.held if held else self.texts).append(text)
                first = np.zeros(end - low, bool)
                first[np.unique(numbers[low:end], return_index=True)[1]] = True
                fresh.append(first)
                low = end
            self.given += int(own.sum()) if path.parent != folder else 0
            ids.append(numbers)
            reply.append(own)
            place += len(numbers)
        if not self.texts or not self.held:
            raise UserError(f"{folder} holds too few texts to learn from and to judge on: give a folder of ids-NNNN.safetensors parts")
        self.ids, self.reply, self.fresh = (torch.from_numpy(np.concatenate(parts)) for parts in (ids, reply, fresh))

    def check_fit(self, target: Target) -> None:
        """Raises UserError for texts that the target cannot read, or cannot have written."""
        longest, largest = max(text.end - text.begin for text in self.texts + self.held), int(self.ids.max())
        if longest > target.context:
            raise UserError(f"the longest text has {longest} tokens, more than the context of {target.name}, {target.context}: {OTHERS}")
        if largest >= target.vocab:
            raise UserError(f"the texts hold the id {largest}, and {target.name} has {target.vocab} tokens: {OTHERS}")

    def counts(self, vocab: int) -> Tensor:
        """How often each token was written in replies that are learned from, (V,)."""
        kept = torch.zeros(len(self.ids), dtype=torch.bool)
        for text in self.texts:
            kept[text.begin : text.end] = True
        return torch.bincount(self.ids[kept & self.reply].long(), minlength=vocab)

    def batch(self, target: Target, texts: list[Text], depths: tuple[int, ...]) -> Batch:
        """With states behind so many layers, each depth > 0; behind all of them, without the final norm."""
        width = max(text.end - text.begin for text in texts)

        def rows(source: Tensor) -> Tensor:  # (tokens,) -> (B, T)
            return torch.stack([_padded(source[text.begin : text.end], width) for text in texts]).to(target.device)

        batch = Batch(rows(self.ids).long(), torch.tensor([t.end - t.begin for t in texts]), rows(self.reply), rows(self.fresh), {})
        kept = all((part := self.states[text.part]) is not None and depths_of(part).issuperset(depths) for text in texts)
        for depth in depths if kept else ():
            parts = [self.states[t.part].get_slice(str(depth))[t.row : t.row + t.end - t.begin] for t in texts]
            batch.states[depth] = torch.stack([_padded(part.float(), width) for part in parts]).to(target.device)
        return batch if kept else batch._replace(states=states_of(target, batch.ids, depths))

    def batches(self, texts: list[Text], rows: int, seed: int, first: int) -> Iterator[list[Text]]:
        """Texts of the batches number first, first + 1 and so on without end, drawn at random: the same whenever training goes on."""
        for chunk in count(first // CHUNK):
            generator = torch.Generator().manual_seed(1_000_003 * seed + chunk)
            picks = [texts[i] for i in torch.randint(len(texts), (CHUNK * rows,), generator=generator).tolist()]
            picks.sort(key=lambda text: text.end - text.begin)
            for number, place in enumerate(torch.randperm(CHUNK, generator=generator).tolist()):
                if chunk * CHUNK + number >= first:
                    yield picks[place * rows : (place + 1) * rows]


@torch.no_grad()
def states_of(target: Target, ids: Tensor, depths: tuple[int, ...]) -> dict[int, Tensor]:
    """ids (B, T) -> hidden states behind so many layers, (B, T, D) float32 each."""
    hidden, at, found = target.embed_rows(ids), 0, {}
    for depth in sorted(depths):
        hidden, at = target.run_rows(target.layers[at:depth], hidden), depth
        found[depth] = hidden.float()
    return found


def depths_of(states: safe_open) -> set[int]:
    return {int(name) for name in states.keys()}  # noqa: SIM118 (it is no dictionary)


def _padded(rows: Tensor, width: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(width - len(rows), *rows.shape[1:])])


def _open(path: Path) -> safe_open:
    found = _opened(path)
    if missing := {"ids", "reply", "ends", "temperature"} - set(found.keys()):
        raise UserError(f"{path} lacks {sorted(missing)[0]}: delete it, and have it written again")
    return found


def _opened(path: Path) -> safe_open:
    """Raises UserError."""
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{path} is broken ({' '.join(str(problem).split())[:80]}): delete it, and have it written again") from None

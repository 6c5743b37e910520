"""File formats. Exit layer: `exit_layer.safetensors` and `exit_layer.json`, format `eesd-exit-layer/2`. Other trained heads:
`head.safetensors` and `head.json`, format `eesd-head/1`.

The JSON holds the base model (fingerprint.py), the bits per weight, facts about training, and the head's structure: exit depth, number of
decoder layers and taps, or the kind of head and its settings. The tensors are the head's weights, in bfloat16 or in 4 bits (name +
`.q4_1`), the twin's weights, and the shortlist's ids. Exit layers of format 1 (one layer, bfloat16, no taps) can be read too.
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..replacing import replaced
from .four_bits import fits_4_bits, from_4_bits, to_4_bits
from .kinds import HEAD_FACTS, HEAD_WEIGHTS
from .twin import TWIN, difference, restored, without_twin

FORMAT, FIRST = "eesd-exit-layer/2", "eesd-exit-layer/1"
WEIGHTS, FACTS = "exit_layer.safetensors", "exit_layer.json"
HEAD_FORMAT = "eesd-head/1"
BLOCKS, SHORTLIST = ".q4_1", "shortlist"


class Stored(NamedTuple):
    facts: dict
    exit_after: int
    layers: int
    taps: tuple[int, ...]
    bits: int  # 16 or 4
    weights: dict[str, Tensor]
    twin: dict[str, Tensor]  # empty: no twin
    shortlist: Tensor | None  # (S,)


class StoredHead(NamedTuple):
    facts: dict
    kind: str
    settings: dict
    bits: int  # 16 or 4
    weights: dict[str, Tensor]
    shortlist: Tensor | None  # (S,)


def write_head(folder: Path, header: dict, bits: int, weights: dict[str, Tensor], shortlist: Tensor | None) -> None:
    """`header`: the JSON's entries other than format and bits."""
    _save(folder / HEAD_WEIGHTS, folder / HEAD_FACTS, {"format": HEAD_FORMAT, "bits": bits} | header, _stored(weights, bits), shortlist)


def read_head(folder: Path) -> StoredHead:
    """Raises UserError if files are missing, broken or of another format."""
    try:
        facts = json.loads((folder / HEAD_FACTS).read_text())
        tensors = load_file(folder / HEAD_WEIGHTS)
        kind, settings, bits = str(facts["kind"]), dict(facts["settings"]), int(facts["bits"])
        if facts["format"] != HEAD_FORMAT:
            raise ValueError(f"format {facts['format']!r}, this program reads {HEAD_FORMAT}")
        shortlist = tensors.pop(SHORTLIST, None)
        return StoredHead(facts, kind, settings, bits, _unpacked(tensors), shortlist)
    except OSError:
        raise UserError(f"no trained head in {folder} ({HEAD_FACTS} and {HEAD_WEIGHTS} are needed): train one with `distill`") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as problem:
        why = " ".join(str(problem).split())[:120]
        raise UserError(f"the head in {folder} is broken ({why}): restore its files, or train it again") from None


def write(folder: Path, header: dict, bits: int, weights: dict[str, Tensor], twin: dict[str, Tensor], shortlist: Tensor | None) -> None:
    """`header`: the JSON's entries other than format and bits."""
    tensors = _stored(weights, bits)
    tensors |= {TWIN + name: tensor for name, tensor in _packed(twin).items()} if bits == 4 else difference(twin, tensors)
    _save(folder / WEIGHTS, folder / FACTS, {"format": FORMAT, "bits": bits} | header, tensors, shortlist)


def _save(weights: Path, facts: Path, told: dict, tensors: dict[str, Tensor], shortlist: Tensor | None) -> None:
    weights.parent.mkdir(parents=True, exist_ok=True)
    with replaced(weights) as part, replaced(facts) as header:
        save_file(tensors | ({} if shortlist is None else {SHORTLIST: shortlist.to("cpu", torch.int32)}), part)
        header.write_text(json.dumps(told, indent=2) + "\n")


def read(folder: Path) -> Stored:
    """Raises UserError if files are missing, broken or of another format."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        tensors = load_file(folder / WEIGHTS)
        depth, layers, bits = int(facts["exit_after"]), int(facts.get("layers", 1)), int(facts.get("bits", 16))
        taps = tuple(int(depth) for depth in facts.get("taps", ()))
        known = facts.get("format")
    except OSError:
        raise UserError(f"no exit layer in {folder} ({FACTS} and {WEIGHTS} are needed): train one with `distill`") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"the exit layer in {folder} is broken ({problem}): restore the file or train it again") from None
    if known not in (FORMAT, FIRST):
        raise UserError(f"the exit layer in {folder} has format {known!r}, this program reads {FORMAT} and {FIRST}")
    shortlist = tensors.pop(SHORTLIST, None)
    if known == FIRST:
        tensors = {_renamed(name): tensor for name, tensor in tensors.items()}
    try:
        own = without_twin(tensors)
        twin = {name: tensor for name, tensor in tensors.items() if name not in own}
        if bits == 4:
            own, twin = _unpacked(own), _unpacked({name.removeprefix(TWIN): tensor for name, tensor in twin.items()})
        elif twin:
            twin = restored(twin, own)
    except (KeyError, RuntimeError) as problem:
        raise UserError(f"the exit layer in {folder} does not fit together ({problem}): restore the file or train it again") from None
    return Stored(facts, depth, layers, taps, bits, own, twin, shortlist)


def rewrite_training(folder: Path, training: dict) -> None:
    """Replace the facts about training in existing files."""
    header = json.loads((folder / FACTS).read_text())
    with replaced(folder / FACTS) as part:
        part.write_text(json.dumps(header | {"training": training}, indent=2) + "\n")


def _renamed(name: str) -> str:
    """Converts a tensor name of format 1, whose only layer has no number: `layer.mlp...` -> `layers.0.mlp...`."""
    prefix, rest = (TWIN, name.removeprefix(TWIN)) if name.startswith(TWIN) else ("", name)
    return prefix + ("layers.0." + rest.removeprefix("layer.") if rest.startswith("layer.") else rest)


def _stored(weights: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    return _packed(weights) if bits == 4 else {name: tensor.bfloat16().contiguous() for name, tensor in weights.items()}


def _packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {name: tensor.bfloat16().contiguous() for name, tensor in weights.items() if not fits_4_bits(tensor)}
    return plain | {name + BLOCKS: to_4_bits(tensor) for name, tensor in weights.items() if name not in plain}


def _unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything in bfloat16, even 4-bit tensors, because bfloat16 values take only two bytes on a CPU (model/cpu/panels.py)."""
    return {n.removesuffix(BLOCKS): from_4_bits(tensor).bfloat16() if n.endswith(BLOCKS) else tensor for n, tensor in tensors.items()}

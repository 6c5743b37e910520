"""An exit layer as a model of its own, for servers that take a draft model: the target's first N layers, the exit layer, its norm and the
frozen head, as an ordinary checkpoint of the target's own architecture. Ours.

Servers cannot share layers between target and draft, so they compute twice what EESD computes once; what they gain is the training. Some
architectures build layers by their number (windows, layers without positions). The cut keeps that where config.json can say it. Where it
cannot, the logits of the written files differ from the exit layer's, and the export is refused and leaves nothing behind.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ..bench.prompts import load_prompts
from ..errors import UserError
from ..heads.base import Head
from ..heads.files import FACTS
from ..loading import default_depth, load_exit_layer
from ..model.catalog import Source, locate
from ..model.checkpoint import NO_CODE, WEIGHTS, first_line, read_config, split_revision
from ..model.load import load_target
from ..model.placement import weight_bytes
from ..model.target import Target
from ..train.lessons import states_of
from .draft_card import card_of
from .gguf_file import check_gguf, write_gguf

FOR_SERVERS = "draft"  # folder next to an exit layer with taps, for one that reads none and so can be cut out
PER_LAYER = ("layer_types", "no_rope_layers")  # keys of config.json with one value per layer
NEAR = 1e-4  # relative to the standard deviation of the logits: sums in another order
TEXTS = 14  # number of the benchmark's prompts on which logits are compared


def exit_layer_for_servers(source: Source, exit_layer: str | None) -> str | None:
    """The exit layer to cut out, as `load_engine` takes it: the given one, else one trained for servers next to the model's own, else None,
    the model's own."""
    own = source.heads and source.heads / FOR_SERVERS
    return str(own) if not exit_layer and own and (own / FACTS).exists() else exit_layer


class Cut(NamedTuple):
    """Facts about a draft model, also for its card."""

    target: Target
    head: Head
    weights: str  # "sampled" or "greedy"
    parameters: int
    bytes: int
    places: int  # number of logits compared with the exit layer's
    apart: float  # their largest difference, relative to the standard deviation of the exit layer's
    gguf: str | None  # name of the GGUF file beside it


def export_draft(
    model: str | None, exit_layer: str | None, weights: str, out: Path, say: Callable[[str], None] = print, gguf: str | None = None
) -> Cut:  # fmt: skip
    """Write the checkpoint to the folder `out`, which is complete afterwards, or absent. `weights`: those of the exit layer ("sampled"), or
    of its twin for greedy decoding ("greedy"). `gguf`: weight type (gguf_file.TYPES) of a GGUF file to add. Raises UserError for a folder
    that is not empty, a model that does not fit into memory in float32, an exit layer that reads deep states (taps), layers that depend on
    their number in a way that config.json cannot say, a full disk, and, with `gguf`, a model that is not a plain Llama."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already, and no empty folder: give --out another name")
    out = out.resolve()
    source = locate(model)
    name, revision = split_revision(source.checkpoint)
    stored = read_config(name, revision)
    needed, there = 2 * weight_bytes(stored), psutil.virtual_memory().total
    if needed > there:
        raise UserError(f"{name} takes {needed / 1e9:.0f} GB in float32, and this machine has {there / 1e9:.0f} GB: cut it on a larger one")
    target = load_target(model, "cpu", "float32")
    if gguf:
        check_gguf(target.config, target.tokenizer, target.name)
    head = load_exit_layer(target, exit_layer_for_servers(source, exit_layer))
    chosen = head.at(0.0 if weights == "greedy" else 1.0)
    if weights == "greedy" and chosen is head:
        raise UserError(f"the exit layer of {target.name} has no weights of its own for greedy decoding: leave out --weights greedy")
    if chosen.taps:
        reads = f"also reads states behind layers {' and '.join(map(str, chosen.taps))}, which a draft model of fewer layers does not have"
        other = "train one without --taps (`distill`), or take the model's own head, as in --exit-layer frozen:"
        raise UserError(f"the exit layer of {target.name} {reads}: {other}{default_depth(target)}")
    layers = f"the first {chosen.exit_after} of {target.depth} layers of {target.name}, {len(chosen.layers)} of its exit, norm and head"
    say(f"cutting out {layers}")
    part = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        part.mkdir(parents=True)
        write(part, target, chosen, stored.dtype)
        cut = judged(part, target, chosen, weights, say)
        if gguf:
            cut = cut._replace(gguf=write_gguf(part, part / f"draft-{gguf}.gguf", gguf).name)
        (part / "README.md").write_text(card_of(cut), encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except (OSError, SafetensorError) as problem:
        full = getattr(problem, "errno", None) == ENOSPC or "No space left" in str(problem)
        reason = "the disk is full" if full else first_line(problem)
        raise UserError(f"the draft model cannot be written to {out} ({reason}): make room, or give --out another place") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return cut


@torch.no_grad()
def write(folder: Path, target: Target, head: Head, dtype: torch.dtype | None) -> None:
    """Everything of a checkpoint except its card. Weights are stored in `dtype`, the target's own, where it holds them exactly, else in
    float32: read in float32 they are the exit layer's, read in `dtype` they are rounded as in EESD."""
    dtype = dtype or torch.float32
    config = cut_config(target.config, head.exit_after, len(head.layers))
    config.dtype = dtype
    tensors = {name: as_stored(tensor, dtype) for name, tensor in cut_out(target, head).items()}
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    config.save_pretrained(folder)
    # safetensors 0.8 makes the file readable by its owner only (its issue 782), and a server may run as another user.
    shutil.copymode(folder / "config.json", folder / WEIGHTS)
    target.model.generation_config.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)


def cut_out(target: Target, head: Head) -> dict[str, Tensor]:
    """The weights, named as in a model of the first N layers followed by the head's."""
    body, before = target.family.body, f"{target.family.body}.{target.family.layers}."
    state = target.model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(before) or int(name.split(".")[2]) < head.exit_after}
    for number, layer in enumerate(head.layers, head.exit_after):
        kept |= {f"{before}{number}.{name}": tensor for name, tensor in layer.state_dict().items()}
    return kept | {f"{body}.{target.family.norm}.{name}": tensor for name, tensor in head.norm.state_dict().items()}


def cut_config(config: PreTrainedConfig, exit_after: int, layers: int) -> PreTrainedConfig:
    """The cut model's config. Where it has one value per layer, the head's layers get those of the target's last ones, of which they are
    copies (exit_layer.py)."""
    facts, depth = config.to_dict(), config.num_hidden_layers
    for name in PER_LAYER:
        if facts.get(name):
            facts[name] = facts[name][:exit_after] + facts[name][depth - layers :]
    facts.pop("quantization_config", None)
    return type(config).from_dict(facts | {config.attribute_map.get("num_hidden_layers", "num_hidden_layers"): exit_after + layers})


def as_stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    smaller = tensor.to(dtype)
    return (smaller if torch.equal(smaller.to(tensor.dtype), tensor) else tensor).contiguous().clone()


@torch.no_grad()
def judged(folder: Path, target: Target, head: Head, weights: str, say: Callable[[str], None]) -> Cut:
    """Load the written files as any user would, and compare them with the exit layer, teacher-forced over whole texts. Raises UserError
    where they differ."""
    draft = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **NO_CODE).eval()
    texts = [target.codec.encode(prompt.text)[: target.context] for prompt in load_prompts(None, TEXTS)]
    apart = difference(target, head, draft, texts)
    if not apart < NEAR:
        what = f"what a layer of this {target.config.model_type!r} model computes depends on its number"
        raise UserError(f"no draft model can be cut out of {target.name}: {what}, which config.json of a shorter model cannot say")
    size, places = sum(p.numel() for p in draft.parameters()), sum(map(len, texts))
    say(f"{places} logits of {len(texts)} texts are the exit layer's: largest difference {apart:.1e} of their spread")
    return Cut(target, head, weights, size, (folder / WEIGHTS).stat().st_size, places, apart, None)


def difference(target: Target, head: Head, draft: PreTrainedModel, texts: Sequence[Sequence[int]]) -> float:
    """Largest difference between the draft model's logits and the head's, relative to the standard deviation of the head's."""
    apart, spread = 0.0, 0.0
    for ids in texts:
        row = torch.tensor([ids])
        states = states_of(target, row, (head.exit_after,))[head.exit_after]
        ours = target.head_rows(head.norm(target.run_rows(head.layers, states)))  # (1, T, V)
        apart = max(apart, float((draft(row, use_cache=False).logits - ours).abs().max()))
        spread = max(spread, float(ours.std()))
    return apart / spread if apart else 0.0

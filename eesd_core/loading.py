"""From names to a ready engine: target, exit layer, self-check."""

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

from .engine import Engine
from .errors import UserError
from .heads.base import Head
from .heads.exit_layer import ExitLayer
from .heads.files import FACTS, WEIGHTS
from .heads.fingerprint import fingerprint
from .heads.frozen import FrozenExit
from .heads.frozen_rows import ReadsFrozenRows
from .heads.hub import find_exit_layer
from .heads.kinds import KINDS, kinds_in, load_heads
from .heads.trained import TrainedHead
from .model.catalog import EMBEDDED
from .model.cpu import ahead
from .model.cpu.heap import large_blocks_apart
from .model.cpu.huge_pages import private_memory, use_large_pages
from .model.cpu.prepare import all_in_panels, prepare
from .model.file_rows import rows_in_file
from .model.load import load_target
from .model.lora import changed_by
from .model.precisions import OWN
from .model.target import Target
from .row_invariance import self_check

FROZEN = "frozen"  # instead of a folder, as in frozen:8: draft with the model's own norm and head


@large_blocks_apart()
def load_engine(
    model: str | None = None, exit_layer: str | None = None, device: str = "auto", dtype: str = "auto",
    quantize: str = "none", need_exit_layer: bool = True, alone: bool = False, heads: str | Path | None = None,
    kinds: Collection[str] = tuple(KINDS),
) -> Engine:  # fmt: skip
    """Load a model and its heads, and check it.

    `model`: a catalog name, a GGUF file, a folder or a Hub id (default: the storyteller). `exit_layer`: a folder, a Hub id or `frozen:N`.
    By default the exit layer is taken from where the catalog says or from the model's folder. If there is none, the model's own norm and
    head draft, and `engine.exit_layer.note` says so. A model of one layer gets no exit layer unless one is given. `heads`: a folder with
    other trained heads in KIND folders. They replace those found where the catalog says or in the model's folder. `kinds`: of trained heads
    to load; each takes memory. `dtype`: of weights that are not quantised. `alone`: see load_target.
    Raises UserError for anything that is missing, broken or does not fit."""
    before = private_memory()
    if quantize in OWN:  # quantised by us from the stored weights, on a CPU
        target = load_target(model, "cpu" if device == "auto" else device, "bfloat16", "none", alone)
    else:
        target = load_target(model, device, dtype, quantize, alone)
    target.fingerprint = fingerprint(target)
    layer = load_exit_layer(target, exit_layer) if need_exit_layer and (target.depth > 1 or exit_layer) else None
    others = load_heads(target.source.trained, target, layer, kinds)
    if heads:
        others |= given_heads(Path(heads), target, layer, kinds)
    ahead.finish(quantize)
    drafting = list(filter(None, (layer, *others.values())))
    prepare(target, *drafting, quantize=quantize)
    leave_rows_in_file(target, drafting)
    target.let_go_of_tokenizer()  # makes the codec, which takes a quarter of a second that no run should pay
    level = self_check(target)
    if target.device.type == "cpu":
        if find_spec("numba"):
            ahead.compile_choice()
        if not all_in_panels(target):
            use_large_pages(before)
    return Engine(target, layer, level, others)


def leave_rows_in_file(target: Target, heads: Sequence[ReadsFrozenRows]) -> None:
    """Embeddings of a converted GGUF file, and the same rows of a tied LM head, are read where they lie. Nothing else needs them in memory
    where all products are packed."""
    source, family = target.source, target.family
    if not target.steps or target.table is None or source.blocks is None:
        return
    name = f"{family.body}.{family.embed}.weight"
    rows = None if source.lora and name in changed_by(source.lora) else rows_in_file(source.blocks, name)
    if rows is not None:
        for shortlist in {head.shortlist for head in heads if head.shortlist}:
            if shortlist.all_rows[0].data_ptr() == target.table.data_ptr():
                shortlist.all_rows = rows, shortlist.all_rows[1]
        target.embed_from(rows)


def given_heads(folder: Path, target: Target, exit_layer: Head | None, kinds: Collection[str]) -> dict[str, TrainedHead]:
    """The trained heads of these kinds in `folder`, by kind. Raises UserError if there are none of any kind."""
    if not kinds_in(folder):
        raise UserError(f"{folder} holds no trained heads: give a folder in which each kind has its own ({', '.join(KINDS)})")
    return load_heads(folder, target, exit_layer, kinds)


def load_exit_layer(target: Target, exit_layer: str | None) -> Head:
    """The exit layer as `load_engine` describes. Raises UserError if it is missing, broken or does not fit."""
    if exit_layer and exit_layer.partition(":")[0] == FROZEN:
        depth = exit_layer.partition(":")[2] or str(default_depth(target))
        if not depth.isdecimal():
            raise UserError(f"{exit_layer!r} names no exit depth: write, for example, {FROZEN}:{default_depth(target)}")
        return FrozenExit(target, int(depth))
    if exit_layer:
        return ExitLayer.load(find_exit_layer(exit_layer), target)
    heads = target.source.heads
    if heads == EMBEDDED or (heads and any((heads / name).exists() for name in (FACTS, WEIGHTS))):
        return ExitLayer.load(heads, target)
    return FrozenExit(target, default_depth(target))


def default_depth(target: Target) -> int:
    """Exit depth for a model without an exit layer: the catalog's choice, or a quarter of the layers, as for LayerSkip's checkpoints."""
    return (target.source and target.source.exit_after) or max(1, target.depth // 4)

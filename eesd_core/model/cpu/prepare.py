"""Prepares a loaded model for decoding on a CPU: fused layers, packed or quantised weights, numba's kernels instead of small operations."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ...errors import UserError
from ..lora import changed_by
from ..precisions import OWN
from ..target import Target
from .fused import FusedLayer, fuse_layers
from .packed_linear import PanelLinear, can_pack, pack_linears


@torch.no_grad()
def prepare(target: Target, *heads: nn.Module | None, quantize: str = "none") -> None:
    """Prepare the target, its exit layer and its other heads in place, as far as model and machine allow. The model can then no longer be
    saved or trained. Raises UserError where it cannot be quantised as asked."""
    fuse_layers(target, *heads)
    fast = quantize in OWN or can_pack(target.model)  # with slow products the kernels gain nothing
    if quantize in OWN:
        _quantize(target, quantize)
    fused, compiled = type(target.layers[0]) is FusedLayer, find_spec("numba")
    if fast and fused and compiled:
        _roughen(target, heads)
    if target.shards == 1:
        for module in filter(None, (target.model, *heads)):
            pack_linears(module)
    if fast and compiled:
        from .step import take_steps  # its import compiles its kernels, or reads them from disk

        take_steps(target, *heads)
    elif fast and fused:
        target.note = "numba is missing: every step goes through torch, which takes two to three times as long; pip install numba"


def _roughen(target: Target, heads: Sequence[nn.Module | None]) -> None:
    """Heads read weights in 8 bits whatever the target's precision, the LM head among them if one has no shortlist: half of the memory, and
    a draft may be a little wrong."""
    from .panels import Store
    from .quantized_linear import Int8Linear

    store, heads = Store(), list(filter(None, heads))
    for parent, name, child in [found for head in heads for found in _dense(head)]:
        setattr(parent, name, Int8Linear(child.weight, store))
    whole = any(head.shortlist is None for head in heads)
    if whole and type(target.model.lm_head) is nn.Linear and target.model.lm_head.bias is None:
        target.rough = Int8Linear(target.model.lm_head.weight, store)


def _dense(module: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Linear layers without a bias inside a module: parent, name, and layer."""
    found = ((parent, name, child) for parent in module.modules() for name, child in parent.named_children())
    return [(parent, name, child) for parent, name, child in found if type(child) is nn.Linear and child.bias is None]


def all_in_panels(target: Target) -> bool:
    """Whether every product reads weights from panels."""
    linears = [module for module in target.model.modules() if isinstance(module, nn.Linear) or hasattr(module, "product")]
    return all(type(linear) is PanelLinear or getattr(linear, "door", None) == torch.int32 for linear in linears)


def _quantize(target: Target, precision: str) -> None:
    """Quantise linear layers without a bias. The LM head gets 8 bits in any case; embeddings and norms stay as they are."""
    if not find_spec("numba"):
        raise UserError(f"{precision} weights need one more package: pip install numba, or leave the model unquantised")
    from .panels import Store
    from .quantized_linear import Int4Linear, Int8Linear, fits_4_bits

    if not all(type(layer) is FusedLayer for layer in target.layers):
        kinds = "Llama-type models on a CPU"
        raise UserError(f"{precision} is for {kinds}: use --quantize 8bit or 4bit, or leave {target.name} unquantised")
    blocks, store = _blocks(target) if precision == "q4" else {}, Store()
    names = {module: name for name, module in target.model.named_modules()}
    for parent, name, child in _dense(target.model):
        inside = names[parent].startswith(target.family.body)
        if precision == "q8" or not inside or not fits_4_bits(child.weight):
            packed = Int8Linear(child.weight, store)
        else:
            parts = [blocks.get(f"{names[parent]}.{part}.weight") for part in PARTS.get(name, (name,))]
            packed = Int4Linear.of_blocks(parts, store) if all(parts) else Int4Linear.of(child.weight, store)
        setattr(parent, name, packed)
    target.precision = precision


PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}  # joined by fused.py


def _blocks(target: Target) -> dict[str, tuple[str, Tensor]]:
    """The GGUF file's own 4-bit blocks by weight name, without the weights that a LoRA was merged into."""
    source = target.source
    if not source or not source.blocks:
        return {}
    from ..gguf import blocks

    merged = changed_by(source.lora) if source.lora else set()
    return {name: (kind, data) for name, kind, data in blocks(source.blocks) if kind in ("Q4_0", "Q4_1") and name not in merged}

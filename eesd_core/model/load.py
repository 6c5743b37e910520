"""Loading: device, dtype, files, and one clear line when something is wrong."""

import copy
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ..errors import UserError
from . import attention
from .catalog import locate
from .checkpoint import broken_tensor, explain, read_config, read_tokenizer, read_weights, split_revision
from .cpu.fused import FAMILIES
from .cpu.packed_linear import pack_linears
from .lora import merge_lora
from .placement import place_weights
from .quantize import check_quantize, quantization_config
from .split_check import check_split
from .target import Target

MEASURED = 16_000_000  # weights of the layers that `--dtype auto` measures
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device was found: use --device cpu, or install a CUDA build of torch on a machine with a GPU")
    return torch.device(name)


def load_target(
    model: str | Path | None = None, device: str = "auto", dtype: str = "auto", quantize: str = "none", alone: bool = False
) -> Target:
    """Load a known model by its name (catalog.py), a GGUF file, a folder, or a Hub id, optionally with a revision after "@" (default: the
    storyteller). Raises UserError for anything that a user can fix.

    Attention is matmul, softmax in float32, matmul (attention.py): where the processor's kernels allow it, its rows do not depend on how
    many rows a pass has, unlike those of flash attention. A model larger than one GPU is spread over all of them by layers, or, under
    `torchrun`, by parts of every layer. `alone`: every process holds the whole model.
    """
    place, source = choose_device(device), locate(model)
    name, revision = split_revision(source.checkpoint)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # without a network it would report every attempt
    try:
        config = read_config(name, revision)
        check_quantize(quantize, config, place, name)
        # Kept as stored while the dtype is undecided: a detour through bfloat16 would cost float32 weights two thirds of their digits.
        stored = DTYPES.get(dtype if quantize == "none" else "bfloat16", "auto" if place.type == "cpu" else torch.bfloat16)
        how = {"dtype": stored, "attn_implementation": attention.NAME} | place_weights(config, place, quantize, name, alone)
        if quantize != "none":
            how["quantization_config"] = quantization_config(quantize)
        loaded = read_weights(name, revision, config, **how)
        if source.lora:
            merge_lora(loaded, source.lora)
        tokenizer = read_tokenizer(name, revision)
        if quantize == "none":
            in_file = {parameter.data_ptr() for parameter in loaded.parameters()}
            wanted = DTYPES[dtype] if dtype != "auto" else auto_dtype(loaded, tokenizer, place)
            loaded.to(wanted) if "device_map" in how or "distributed_config" in how else loaded.to(place, wanted)
            if place.type == "cpu":
                _let_go_of_file(loaded, in_file)
        target = Target(loaded, tokenizer, source.name)
        target.broken = broken_tensor(loaded)
        check_split(target)
    except UserError:
        raise
    except torch.OutOfMemoryError:
        raise UserError(f"{name} does not fit into the memory of {place}: try --quantize 4bit, or a smaller model") from None
    except Exception as problem:  # transformers raises all kinds of exceptions over files
        raise UserError(explain(name, problem)) from None
    target.source = source
    return target


def _let_go_of_file(model: PreTrainedModel, in_file: set[int]) -> None:
    """Weights are read where they lie in the file, and while one of them is used all of the file's pages that were read stay in memory. So
    what is not packed later, embeddings, norms and biases, is copied. in_file: addresses of weights as they were read."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            packed = isinstance(module, nn.Linear) and name == "weight"
            if not packed and parameter.data_ptr() in in_file:
                parameter.data = parameter.data.clone()


@torch.no_grad()
def auto_dtype(model: PreTrainedModel, tokenizer, device: torch.device) -> torch.dtype:
    """bfloat16 where the processor computes in it and it measures faster, else float32. Layers that run in one region (cpu/region.py) get
    float32, if it fits into half of the free memory while they are packed: their weights take two bytes there too, and a pass took half the
    time of one with torch's bf16 products.

    Measures what a round needs, a plain step and a verify pass of four tokens, through as many layers as hold MEASURED weights: a single
    layer would stay in the processor's cache, which the whole model may not.
    """
    if device.type == "cuda":
        return torch.bfloat16
    in_region = find_spec("numba") and model.config.model_type in FAMILIES and model.config.hidden_act == "silu"
    if in_region and 4 * model.num_parameters() < psutil.virtual_memory().available / 2:
        return torch.float32
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    target = Target(model, tokenizer, "")
    count = max(1, MEASURED // sum(p.numel() for p in target.layers[0].parameters()))
    stacks = {dtype: copy.deepcopy(target.layers[:count]).to(dtype) for dtype in (torch.bfloat16, torch.float32)}
    for stack in stacks.values():
        pack_linears(stack)
    best = {(dtype, rows): float("inf") for rows in (1, 4) for dtype in stacks}
    for _ in range(3):  # alternating, best of three: another process must not decide
        for dtype, rows in best:
            hidden = torch.ones(1, rows, target.config.hidden_size, dtype=dtype)
            told = {layer.kind: _cast(target.tell(layer.kind, 0, rows, rows), dtype) for layer in stacks[dtype]}
            began = time.perf_counter()
            for layer in stacks[dtype]:
                hidden = layer(hidden, **told[layer.kind])
            best[dtype, rows] = min(best[dtype, rows], time.perf_counter() - began)
    return min(stacks, key=lambda dtype: best[dtype, 1] + best[dtype, 4])


def _cast(told: dict, dtype: torch.dtype) -> dict:
    return {name: tuple(t.to(dtype) for t in v) if isinstance(v, tuple) else v.to(dtype) for name, v in told.items()}

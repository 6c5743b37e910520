"""Loading: device, dtype, files, and one clear line when something is wrong."""

import copy
import os
import time
from pathlib import Path

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig
from transformers.distributed import DistributedConfig
from transformers.utils import logging

from ..errors import UserError
from . import attention
from .catalog import NAMES, locate
from .cpu.packed_linear import pack_linears
from .families import family_of
from .files import cache_folder
from .lora import merge_lora
from .quantize import BYTES, check_quantize, quantization_config
from .target import Target

MEASURED = 16_000_000  # weights, for `--dtype auto`
ROOM = 0.85  # of a GPU's free memory for weights; the rest is for caches and passes
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
    """Load a known model by its name (catalog.py), a GGUF file, a folder, or a Hub id, which may name a revision behind "@" (default: the
    storyteller). Raises UserError for what a user can mend.

    Attention is matmul, softmax in float32, matmul (attention.py): its rows do not depend on how many rows a pass has, where the
    processor's kernels allow it; flash attention's do. A model larger than one GPU is spread over all of them by layers, or, under
    `torchrun`, by parts of every layer; `alone`: every process has the whole of it.
    """
    place, source = choose_device(device), locate(model)
    name, revision = split_revision(source.checkpoint)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # without a network it would tell of every attempt
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        family_of(config, name)
        check_quantize(quantize, config, place, name)
        # As stored where the dtype is yet to be chosen: on the way through bfloat16, float32 weights would lose two thirds of their digits.
        stored = DTYPES.get(dtype if quantize == "none" else "bfloat16", "auto" if place.type == "cpu" else torch.bfloat16)
        how = {"dtype": stored, "attn_implementation": attention.NAME, "use_safetensors": True, "output_loading_info": True}
        how |= {"revision": revision, "quantization_config": quantization_config(quantize)}
        how |= _placement(config, place, quantize, name, alone)
        loaded, report = AutoModelForCausalLM.from_pretrained(name, **how)
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise UserError(f"the weights in {name} lack {sorted(report['missing_keys'])[0]}: restore the file, or download it again")
        if source.lora:
            merge_lora(loaded, source.lora)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except UserError:
        raise
    except torch.OutOfMemoryError:
        raise UserError(f"{name} does not fit into the memory of {place}: try --quantize 4bit, or a smaller model") from None
    except Exception as problem:  # whatever transformers and tokenizers raise over files: there is no list of it
        raise UserError(_explain(name, problem)) from None
    if quantize == "none":
        wanted = DTYPES[dtype] if dtype != "auto" else auto_dtype(Target(loaded, tokenizer, source.name), place)
        loaded.to(wanted) if "device_map" in how or "distributed_config" in how else loaded.to(place, wanted)
    target = Target(loaded, tokenizer, source.name)
    target.source = source
    return target


def split_revision(model: str | Path) -> tuple[str, str | None]:
    """`owner/name@revision` -> id and revision. A path is taken as it is."""
    name, at, revision = str(model).partition("@")
    return (name, revision) if at and not Path(model).exists() else (str(model), None)


def weight_bytes(config: PreTrainedConfig, quantize: str = "none") -> int:
    """Of all weights as they will be in memory, without loading any. Embeddings and head are never quantised."""
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    kept = {id(m.weight) for m in (empty.get_input_embeddings(), empty.get_output_embeddings())}
    return sum(int(p.numel() * (2 if id(p) in kept or p.ndim == 1 else BYTES[quantize])) for p in empty.parameters())


def _placement(config: PreTrainedConfig, device: torch.device, quantize: str, name: str, alone: bool) -> dict:
    """Where from_pretrained shall put the weights. Raises UserError where there is no room for them."""
    if not alone and int(os.environ.get("WORLD_SIZE", "1")) > 1:  # under torchrun: every process holds parts of every layer
        if quantize != "none":
            raise UserError("quantised weights cannot be split over processes: start without torchrun, or with --quantize none")
        return {"distributed_config": DistributedConfig(tp_plan="auto")}
    if device.type == "cpu":
        return {"device_map": {"": "cpu"}} if quantize != "none" else {}
    first, count = device.index or 0, torch.cuda.device_count()
    needed, rooms = weight_bytes(config, quantize), [torch.cuda.mem_get_info(i)[0] for i in ([first] if alone else range(count))]
    if needed < ROOM * rooms[0]:
        return {"device_map": {"": first}}
    if needed < ROOM * sum(rooms):
        return {"device_map": "auto", "max_memory": {i: int(ROOM * room) for i, room in enumerate(rooms)}}
    has = f"{needed / 1e9:.0f} GB of weights, and {sum(rooms) / 1e9:.0f} GB are free on {len(rooms)} GPU"
    raise UserError(f"{name} has {has}: {'try --quantize 4bit' if quantize == 'none' else 'choose a smaller model'}, or --device cpu")


def _explain(name: str, problem: Exception) -> str:
    first = " ".join(str(problem).split())[:200]
    path = Path(name)
    if path.is_relative_to(cache_folder()):
        return f"what was converted into {name} is broken ({first}): delete that folder, and start again"
    if isinstance(problem, SafetensorError):
        return f"the weights in {name} are broken ({first}): restore the file, for example with git checkout, or download it again"
    if path.exists() or name.startswith((".", "/", "~")):
        needed = ("config.json", "model.safetensors", "tokenizer.json") if path.is_dir() else ()
        missing = [name for name in needed if not (path / name).exists()]
        what = f"{', '.join(missing)} missing" if missing else first if path.exists() else "no such folder"
        return f"no model can be loaded from {name} ({what}): give --model a folder with a transformers checkpoint, or leave it out"
    known = f"check the name and the network, or choose one of {', '.join(NAMES)}"
    return f"{name} is neither a folder nor a model that can be fetched from the Hub: {known}"


@torch.no_grad()
def auto_dtype(target: Target, device: torch.device) -> torch.dtype:
    """bfloat16 where the processor computes in it and it measures faster, else float32.

    Measured are a plain step and a verify pass of four tokens, a round needs both, through as many layers as hold MEASURED weights:
    one layer alone would stay in the processor's cache, which the whole model may not.
    """
    if device.type == "cuda":
        return torch.bfloat16
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    count = max(1, MEASURED // sum(p.numel() for p in target.layers[0].parameters()))
    stacks = {dtype: copy.deepcopy(target.layers[:count]).to(dtype) for dtype in (torch.bfloat16, torch.float32)}
    for stack in stacks.values():
        pack_linears(stack)
    best = {(dtype, rows): float("inf") for rows in (1, 4) for dtype in stacks}
    for _ in range(3):  # in turns, and the best of each: another process must not decide
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

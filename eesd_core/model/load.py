"""Loading: device, dtype, files, and one clear line when something is wrong."""

import copy
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from ..errors import UserError
from . import attention
from .packed import pack_linears
from .split import Target

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "model"
SUPPORTED = ("llama",)  # model types whose modules the split knows
MEASURED = 16_000_000  # weights, for `--dtype auto`
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found: use --device cpu, or install a CUDA build of torch on a machine with a GPU")
    return torch.device(name)


def load_target(model: str | Path = EMBEDDED, device: str = "auto", dtype: str = "auto") -> Target:
    """Load a folder or a Hub id. Raises UserError for what a user can mend.

    Attention is matmul, softmax in float32, matmul (attention.py): its rows do not depend on how many rows a pass has, where the
    processor's kernels allow it; flash attention's do.
    """
    place, name = choose_device(device), str(model)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in SUPPORTED:
            raise UserError(f"{name} is a {config.model_type!r} model: supported so far are {', '.join(SUPPORTED)}")
        how = {"dtype": torch.bfloat16, "attn_implementation": attention.NAME, "use_safetensors": True, "output_loading_info": True}
        loaded, report = AutoModelForCausalLM.from_pretrained(name, **how)
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise UserError(f"the weights in {name} lack {sorted(report['missing_keys'])[0]}: restore the file, or download it again")
        tokenizer = AutoTokenizer.from_pretrained(name)
    except UserError:
        raise
    except Exception as problem:  # whatever transformers and tokenizers raise over files: there is no list of it
        raise UserError(_explain(name, problem)) from None
    wanted = _auto_dtype(loaded, place) if dtype == "auto" else DTYPES[dtype]
    shown = "embedded model" if Path(name) == EMBEDDED else Path(name).name if Path(name).exists() else name
    return Target(loaded.to(place, wanted), tokenizer, shown)


def _explain(name: str, problem: Exception) -> str:
    first = " ".join(str(problem).split())[:200]
    path = Path(name)
    if isinstance(problem, SafetensorError):
        return f"the weights in {name} are broken ({first}): restore the file, for example with git checkout, or download it again"
    if path.exists() or name.startswith((".", "/", "~")):
        needed = ("config.json", "model.safetensors", "tokenizer.json") if path.is_dir() else ()
        missing = [name for name in needed if not (path / name).exists()]
        what = f"{', '.join(missing)} missing" if missing else first if path.exists() else "no such folder"
        return f"no model can be loaded from {name} ({what}): give --model a folder with a transformers checkpoint, or leave it out"
    return f"{name} is neither a folder nor a model that can be fetched from the Hub: check the name and the network"


@torch.no_grad()
def _auto_dtype(model: PreTrainedModel, device: torch.device) -> torch.dtype:
    """bfloat16 where the processor computes in it and it measures faster, else float32.

    Measured are a plain step and a verify pass of four tokens, a round needs both, through as many layers as hold MEASURED weights: one layer
    alone would stay in the processor's cache, which the whole model may not.
    """
    if device.type == "cuda":
        return torch.bfloat16
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    layers = model.model.layers
    count = max(1, MEASURED // sum(p.numel() for p in layers[0].parameters()))
    stacks = {dtype: copy.deepcopy(layers[:count]).to(dtype) for dtype in (torch.bfloat16, torch.float32)}
    for stack in stacks.values():
        pack_linears(stack)
    best = {(dtype, rows): float("inf") for rows in (1, 4) for dtype in stacks}
    for _ in range(3):  # in turns, and the best of each: another process must not decide
        for dtype, rows in best:
            tokens = torch.ones(1, rows, model.config.hidden_size, dtype=dtype)
            rope = model.model.rotary_emb(tokens, torch.arange(rows)[None])
            mask = torch.zeros(1, 1, rows, rows, dtype=dtype)
            began = time.perf_counter()
            for layer in stacks[dtype]:
                tokens = layer(tokens, attention_mask=mask, position_embeddings=rope)
            best[dtype, rows] = min(best[dtype, rows], time.perf_counter() - began)
    return min(stacks, key=lambda dtype: best[dtype, 1] + best[dtype, 4])

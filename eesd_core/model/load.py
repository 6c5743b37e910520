"""Loading: device, dtype, files, and one clear line when something is wrong."""

import copy
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ..errors import UserError
from .split import Target

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "model"
SUPPORTED = ("llama",)  # model types whose modules the split knows
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found: use --device cpu, or install a CUDA build of torch on a machine with a GPU")
    return torch.device(name)


def load_target(model: str | Path = EMBEDDED, device: str = "auto", dtype: str = "auto") -> Target:
    """Load a folder or a Hub id. Raises UserError for what a user can mend.

    Attention is transformers' `eager` one (matmul, softmax in float32, matmul): its rows do not depend on how many rows a pass has,
    where the processor's kernels allow it; flash attention's do.
    """
    place, name = choose_device(device), str(model)
    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in SUPPORTED:
            raise UserError(f"{name} is a {config.model_type!r} model: supported so far are {', '.join(SUPPORTED)}")
        loaded = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16, attn_implementation="eager", use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, SafetensorError, ValueError) as problem:
        raise UserError(_explain(name, problem)) from None
    wanted = _auto_dtype(loaded, place) if dtype == "auto" else DTYPES[dtype]
    return Target(loaded.to(place, wanted), tokenizer, Path(name).name if Path(name).exists() else name)


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


def _auto_dtype(model: PreTrainedModel, device: torch.device) -> torch.dtype:
    """bfloat16 where the processor computes in it and it measures faster, else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    mlp = model.model.layers[0].mlp
    seconds = {dtype: _time_mlp(copy.deepcopy(mlp).to(dtype)) for dtype in (torch.bfloat16, torch.float32)}
    return min(seconds, key=seconds.get)


@torch.no_grad()
def _time_mlp(mlp: torch.nn.Module) -> float:
    """Seconds for one token through an MLP, best of several: the projections are where dtypes differ."""
    weight = next(mlp.parameters())
    token = torch.randn(1, 1, mlp.config.hidden_size).to(weight)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        mlp(token)
        times.append(time.perf_counter() - began)
    return min(times)

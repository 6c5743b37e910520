"""A checkpoint's files: checked before a model is built from them, and refused in one line that gives the true reason.

Nothing in a model's folder is ever executed, and the user is not asked to allow it (`trust_remote_code=False` everywhere). All that
from_pretrained reports is checked, because it fills missing weights with random numbers and drops tensors that it has no place for,
including the scales of quantised weights.
"""

import json
import re
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from ..errors import UserError
from .catalog import NAMES
from .families import check_type, family_of
from .files import cache_folder

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
DEQUANTISED = "fp8"  # the one quantisation that transformers turns back into plain weights while loading
NO_CODE = {"trust_remote_code": False}


def is_path(name: str) -> bool:
    """Whether it is a local path rather than a Hub id."""
    return name.startswith((".", "/", "~")) or Path(name).exists()


def split_revision(model: str | Path) -> tuple[str, str | None]:
    """`owner/name@revision` -> id and revision. A path is returned unchanged."""
    name, at, revision = str(model).partition("@")
    return (name, revision) if at and not Path(model).exists() else (str(model), None)


def read_config(name: str, revision: str | None) -> PreTrainedConfig:
    """Raises UserError, also for a folder whose files cannot be a checkpoint."""
    facts = _facts(Path(name), "config.json") if is_path(name) else PreTrainedConfig.get_config_dict(name, revision=revision)[0]
    check_type(facts.get("model_type"), name)
    if is_path(name):
        _facts(Path(name), "generation_config.json", needed=False)
    config = AutoConfig.from_pretrained(name, revision=revision, **NO_CODE)
    family_of(config, name)
    own = getattr(config, "quantization_config", None)
    if own:
        method = own.get("quant_method") if isinstance(own, dict) else own
        if method != DEQUANTISED:
            what = f"{name} is quantised already ({str(method)[:40]!r}), in a way that is not read here"
            raise UserError(f"{what}: take the model that it was made from, with --quantize 4bit or 8bit if it is too large")
        own["dequantize"] = True
    if is_path(name):
        _check_shapes(name, config, _tensors(Path(name)))
    return config


def read_weights(name: str, revision: str | None, config: PreTrainedConfig, **how) -> PreTrainedModel:
    """Raises UserError unless every weight came from the files and every tensor in the files became a weight."""
    how |= {"config": config, "revision": revision, "use_safetensors": True, "ignore_mismatched_sizes": True} | NO_CODE
    model, report = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **how)
    for tensor, stored, built in sorted(report["mismatched_keys"]):
        raise UserError(_sizes(name, tensor, stored, built))
    missing, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    lacks = [f"lack {missing[0]}{_and_more(missing)}"] if missing else []
    if unknown:
        lacks.append(f"hold {unknown[0]}{_and_more(unknown)}, for which a {config.model_type!r} model with this config.json has no place")
    if lacks or report["error_msgs"]:
        raise UserError(f"the weights in {name} {' and '.join(lacks) or report['error_msgs'][0]}: download the model again")
    return model


def read_tokenizer(name: str, revision: str | None):
    """Raises UserError for files that are missing or unreadable, and for a tokenizer that needs code of its own."""
    if is_path(name) and not any((Path(name) / file).is_file() for file in VOCABULARIES):
        raise UserError(_missing(name, VOCABULARIES[0]))
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, **NO_CODE)
        known = tokenizer("Once upon a time", add_special_tokens=False)["input_ids"]
    except Exception as problem:  # tokenizers raise all kinds of exceptions over broken files
        if "trust_remote_code" in str(problem):
            raise UserError(f"the tokenizer of {name} needs code of its own, which is never run: take another model") from None
        raise UserError(f"the tokenizer of {name} cannot be read ({first_line(problem)}): download it again") from None
    if not known:
        raise UserError(f"the tokenizer of {name} knows no words: download it again")
    return tokenizer


def first_line(problem: Exception) -> str:
    """The message of somebody else's exception, as part of one line of ours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(problem).split()))[:200] or type(problem).__name__


def explain(name: str, problem: Exception) -> str:
    """One line for an unforeseen exception from reading a checkpoint."""
    if Path(name).is_relative_to(cache_folder()):
        return f"what was converted into {name} is broken ({first_line(problem)}): delete that folder, and start again"
    if isinstance(problem, SafetensorError):
        return _broken(name, first_line(problem))
    if is_path(name):
        return f"no model can be loaded from {name} ({first_line(problem)}): give --model a folder with a transformers checkpoint"
    known = f"check the name and the network, or choose one of {', '.join(NAMES)}"
    return f"{name} is neither a folder nor a model that can be fetched from the Hub: {known}"


def meta_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Built without weights: shapes only."""
    with torch.device("meta"), no_init_weights():
        return AutoModelForCausalLM.from_config(config, **NO_CODE)


def _facts(folder: Path, name: str, needed: bool = True) -> dict:
    """A JSON object in the folder; {} if it is missing and not needed. Raises UserError for a file that cannot be read."""
    try:
        facts = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not needed:
            return {}
        raise UserError(_missing(str(folder), name)) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise UserError(f"{name} in {folder} cannot be read ({first_line(problem)}): restore it, or download it again") from None
    if not isinstance(facts, dict):
        raise UserError(f"{name} in {folder} holds no JSON object: restore it, or download it again")
    return facts


def _tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in the folder, from the headers of its files."""
    files = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        places = _facts(folder, INDEX).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) and Path(file).name == file for file in places.values()):
            raise UserError(f"{INDEX} in {folder} does not say where the weights are: download it again")
        files = sorted(set(places.values()))
    shapes = {}
    for file in files:
        if not (folder / file).is_file():
            raise UserError(_missing(str(folder), file))
        try:
            with safe_open(folder / file, "pt") as opened:
                shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as problem:
            raise UserError(_broken(str(folder / file), first_line(problem))) from None
    return shapes


def _check_shapes(name: str, config: PreTrainedConfig, stored: dict[str, tuple[int, ...]]) -> None:
    """Compare with config.json before memory is allocated for what it announces. Raises UserError."""
    if config.num_hidden_layers > len(stored):
        raise UserError(f"config.json of {name} announces {config.num_hidden_layers} layers, and its weights are {len(stored)} tensors")
    model = meta_model(config)
    built = {tensor: tuple(values.shape) for tensor, values in model.state_dict().items()}
    prefix = f"{model.base_model_prefix}."
    for tensor, shape in stored.items():
        expected = built.get(tensor, built.get(prefix + tensor, shape))
        if shape != expected and not getattr(config, "quantization_config", None):
            raise UserError(_sizes(name, tensor, shape, expected))
    needed, there = 2 * sum(p.numel() for p in model.parameters()), psutil.virtual_memory().total + psutil.swap_memory().total
    if needed > there:
        raise UserError(f"{name} has {needed / 1e9:.0f} GB of weights, and this machine has {there / 1e9:.0f} GB: choose a smaller model")


@torch.no_grad()
def broken_tensor(model: nn.Module) -> str | None:
    """Name of a tensor that holds a NaN or an infinity, which would spread to all logits, or to those of the one token that meets it."""
    floats = {tensor: p for tensor, p in model.named_parameters() if p.is_floating_point()}
    sums = torch.stack([p.sum(dtype=torch.float32).cpu() for p in floats.values()])
    return None if sums.isfinite().all() else list(floats)[int(sums.isfinite().int().argmin())]


def _missing(name: str, file: str) -> str:
    path = Path(name)
    what = f"{file} missing" if path.is_dir() else "a file, not a folder" if path.exists() else "no such folder"
    return f"no model can be loaded from {name} ({what}): give --model a folder with a transformers checkpoint, or leave it out"


def _broken(file: str, why: str) -> str:
    return f"the weights in {file} are broken ({why}): restore the file, for example with git checkout, or download it again"


def _sizes(name: str, tensor: str, stored: tuple[int, ...], built: tuple[int, ...]) -> str:
    return f"the weights in {name} do not fit its config.json: {tensor} is {_by(stored)} in the file, and would have to be {_by(built)}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""

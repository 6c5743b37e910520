"""Fingerprints of weights. They ensure that a head is only used on the model that it was trained for."""

import hashlib

import torch
from torch import Tensor

from ..model.quantize import is_quantized
from ..model.target import Target


def fingerprint(target: Target) -> str | None:
    """Identifies the base weights: a hash over every tensor's name, shape and about 4,000 of its values in bfloat16, spread evenly. None if
    the original weights are not all at hand, because they are quantised or split over processes."""
    if is_quantized(target.model) or target.shards > 1:
        return None
    return digest(target.model.state_dict())


def norms_fingerprint(target: Target) -> str:
    """`digest` of the residual stream's norms, which neither quantisation nor parallelism changes."""
    state = target.model.state_dict()
    width = target.config.hidden_size
    return digest({name: t for name, t in state.items() if t.ndim == 1 and len(t) == width and ("norm" in name or "ln_" in name)})


def checksum(target: Target) -> str | None:
    """Checksum of the GGUF file that the target was made from, and of what was merged into it. None without such a file."""
    return target.source and target.source.checksum


def base_facts(target: Target) -> dict:
    """What a head's JSON file stores about its base model."""
    told = {"base_fingerprint": fingerprint(target), "norms_fingerprint": norms_fingerprint(target), "base_model": target.name}
    return told | ({"base_checksum": checksum(target)} if checksum(target) else {})


def fits(facts: dict, target: Target) -> bool:
    """Whether a head with these facts belongs to the target. Compares all weights if both fingerprints are known, else the GGUF files'
    checksums, else the norms."""
    for name, own in (("base_fingerprint", target.fingerprint or fingerprint(target)), ("base_checksum", checksum(target))):
        if own and facts.get(name):
            return facts[name] == own
    norms = norms_fingerprint(target)
    return facts.get("norms_fingerprint", norms) == norms  # the oldest files lack it


@torch.no_grad()
def digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sample = tensor.flatten()[:: tensor.numel() // 4096 | 1].to(torch.bfloat16)  # an odd step reaches every column
        found.update(f"{name}{tuple(tensor.shape)}".encode() + sample.view(torch.int16).cpu().numpy().tobytes())
    return found.hexdigest()[:16]

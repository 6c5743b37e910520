"""Remembers self-checks that passed on this machine. A self-check takes seconds, and its result depends only on the facts named here.

A proof's name is a hash over the model's weights and configuration, its preparation, the processor, the number of threads, the versions of
all programs that compute, the environment variables that affect them, and our own code. If any of these changes, the name changes and the
check runs again. Only passed checks are remembered, and only for models on a CPU.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .environment import processor
from .model.files import cache_folder
from .model.target import Target

PROGRAMS = ("torch", "transformers", "numpy", "numba", "llvmlite")
STEERING = ("OMP_", "KMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "NUMBA_")  # environment variables that choose kernels
CODE = sorted([*Path(__file__).parent.glob("model/**/*.py"), Path(__file__).with_name("row_invariance.py")])


def remembered(target: Target, proof: Callable[[Target], bool]) -> bool:
    """Whether `proof` holds for the target; not run again if it held before. Without a usable cache folder it always runs."""
    name = proof_name(target)
    if name is None:
        return proof(target)
    file = cache_folder() / "proofs" / name
    if file.is_file():
        return True
    held = proof(target)
    if held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        except OSError:
            pass
    return held


def proof_name(target: Target) -> str | None:
    """Name of the target's proof. None, so nothing is remembered, for devices other than a CPU and for weights without a fingerprint
    (quantised by a library, or split over processes)."""
    if target.fingerprint is None or target.device.type != "cpu":
        return None
    facts = {
        "weights": [target.fingerprint, target.source and target.source.checksum, target.precision, str(target.dtype), target.context],
        "config": target.config.to_json_string(),
        "modules": [f"{name} {type(module).__qualname__} {getattr(module, 'door', '')}" for name, module in target.model.named_modules()],
        "steps": target.steps is not None,
        "processor": [processor(), platform.machine(), torch.backends.cpu.get_cpu_capability(), _flags(), torch.get_num_threads()],
        "programs": {name: _version(name) for name in PROGRAMS} | {"python": platform.python_version()},
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(STEERING)},
        "code": hashlib.sha256(b"".join(file.read_bytes() for file in CODE)).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _flags() -> str:
    """The processor's instruction sets, as /proc/cpuinfo lists them; "" on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")

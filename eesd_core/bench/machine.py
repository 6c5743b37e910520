"""What the benchmark runs on: facts that do not change while it runs, the machine's load, and an energy meter where the device has one."""

import os
import platform
import resource
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from ..environment import processor

RAPL = Path("/sys/class/powercap/intel-rapl:0")  # energy of the first processor package; mostly for root only, absent in virtual machines
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


def machine(device: torch.device) -> dict:
    """Facts that are the same in every sitting."""
    facts = {"system": platform.system(), "machine": platform.machine(), "processor": processor(), "cores": len(_cores())}
    facts |= {"threads": torch.get_num_threads(), "device": str(device), "python": platform.python_version()}
    facts |= {name: version(name) for name in PACKAGES}
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def load() -> float | None:
    """Load average of the last minute: processes that run or wait for a core, this one included. None: the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def process_peak_bytes() -> int:
    """The most memory that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def joule_meter(device: torch.device) -> Callable[[], float] | None:
    """A counter in joules that only grows; None where the device has none that may be read."""
    if device.type == "cuda":
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except Exception:  # no such package, an old driver, no meter: in all cases there is no reading
            return None
    try:
        span = int((RAPL / "max_energy_range_uj").read_text())
        int((RAPL / "energy_uj").read_text())
    except (OSError, ValueError):
        return None
    state = {"last": 0, "turns": 0}

    def read() -> float:
        value = int((RAPL / "energy_uj").read_text())
        state["turns"] += value < state["last"]  # the counter has wrapped around
        state["last"] = value
        return (state["turns"] * span + value) / 1e6

    return read

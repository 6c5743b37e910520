"""Program versions and the processor's name, for traces, recordings and reports."""

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def versions() -> dict[str, str]:
    """Read once, which takes milliseconds, and without importing them, which takes seconds."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "transformers")}


def processor() -> str:
    """The processor's name, on Linux from /proc/cpuinfo because Python's platform module does not know it there."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

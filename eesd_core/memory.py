"""Memory use of this process."""

import os
from pathlib import Path


def memory_mb() -> float | None:
    """Resident memory of this process in MiB; None if the system does not report it."""
    statm = Path("/proc/self/statm")
    return round(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1) if statm.exists() else None

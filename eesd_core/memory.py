"""What this process takes of the machine's memory."""

import os
from pathlib import Path


def memory_mb() -> float | None:
    """Resident memory of this process; None where the system does not say."""
    statm = Path("/proc/self/statm")
    return round(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1) if statm.exists() else None

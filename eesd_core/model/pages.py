"""Memory on large pages, so that weights are read at one pace in every process.

A plain step of a small model on a CPU reads all of its weights, and packed weights lie on thousands of 4 KiB pages, wherever the system
had some left: one process was up to 14 % slower than the next (docs/notes.md). Pages of 2 MiB take most of that away.
"""

import ctypes
from pathlib import Path

LARGE = 2 << 20  # bytes
COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1 and later
MAPS = Path("/proc/self/maps")


def private_memory() -> dict[int, int]:
    """What this process has written or may write: the start of every stretch, and its end. Empty where the system is not Linux."""
    stretches = {}
    for line in MAPS.read_text().splitlines() if MAPS.exists() else ():
        span, rights, _, _, inode = line.split()[:5]
        if rights == "rw-p" and inode == "0":
            start, end = span.split("-")
            stretches[int(start, 16)] = int(end, 16)
    return stretches


def use_large_pages(since: dict[int, int]) -> None:
    """Bring private memory that came after `since` onto large pages. A system that does not know the call changes nothing."""
    for start, end in private_memory().items():
        start = since.get(start, start)  # the stretch has grown: from its old end on
        start, end = -(-start // LARGE) * LARGE, end // LARGE * LARGE
        if start < end:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), COLLAPSE)

"""Memory on large pages.

A plain step of a small model on a CPU reads all of its weights, and packed weights lie on thousands of 4 KiB pages, wherever the system
had some left, which slows some processes down and not others. Pages of 2 MiB made six processes 4 % slower to 14 % faster (docs/notes.md).
Weights in panels (panels.py) lie on such pages from the beginning; what others have packed is brought there.
"""

import ctypes
from pathlib import Path

LARGE = 2 << 20  # bytes
MOST = 1 << 30  # bytes: some 300 MB take a second, and a larger model's weights are long stretches in any case
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
    """Bring private memory that came after `since` onto large pages, if it is not too much. A system that does not know the call changes
    nothing."""
    now = {since.get(start, start): end for start, end in private_memory().items()}  # of a stretch that has grown, from its old end on
    whole = [(-(-start // LARGE) * LARGE, end // LARGE * LARGE) for start, end in now.items()]
    whole = [(start, end) for start, end in whole if start < end]
    if sum(end - start for start, end in whole) <= MOST:
        for start, end in whole:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), COLLAPSE)


def give_back() -> None:
    """What loading has freed goes back to the system, where the C library knows how (glibc)."""
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)

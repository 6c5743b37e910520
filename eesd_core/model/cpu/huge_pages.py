"""Large memory pages for weights.

A plain step of a small model on a CPU reads all of its weights. Packed weights lie on thousands of 4 KiB pages, scattered over whatever
memory was free, which slows some processes down and not others. Pages of 2 MiB made six processes 4 % slower to 14 % faster
(docs/notes.md). Weights in panels (panels.py) lie on such pages from the beginning; weights packed by libraries are moved there.
"""

import ctypes
from pathlib import Path

LARGE = 2 << 20  # bytes
MOST = 1 << 30  # bytes: moving 300 MB takes about a second, and larger models have long stretches of memory anyway
COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1 and later
MAPS = Path("/proc/self/maps")


def private_memory() -> dict[int, int]:
    """Private writable memory of this process: the start of every stretch, and its end. Empty on other systems than Linux."""
    stretches = {}
    for line in MAPS.read_text().splitlines() if MAPS.exists() else ():
        span, rights, _, _, inode = line.split()[:5]
        if rights == "rw-p" and inode == "0":
            start, end = span.split("-")
            stretches[int(start, 16)] = int(end, 16)
    return stretches


def use_large_pages(since: dict[int, int]) -> None:
    """Move private memory that was added after `since` onto large pages, unless it is too much. Has no effect on a system without this
    call."""
    now = {since.get(start, start): end for start, end in private_memory().items()}  # a stretch that has grown counts from its old end on
    whole = [(-(-start // LARGE) * LARGE, end // LARGE * LARGE) for start, end in now.items()]
    whole = [(start, end) for start, end in whole if start < end]
    if sum(end - start for start, end in whole) <= MOST:
        for start, end in whole:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), COLLAPSE)

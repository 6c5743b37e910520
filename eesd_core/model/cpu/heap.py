"""What is left behind in the C library's heap (glibc; elsewhere nothing happens).

Loading a model makes and frees copies of weights. Once a large block has been freed, glibc takes blocks of up to 32 MB from its heap, where
what is kept lies scattered between holes: some 40 MB of them with SmolLM2-135M. While a model is loaded, large blocks come from the system
one by one, and go back whole. Afterwards they come from the heap, as they usually do: a run makes and frees logits all the time.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM, APART = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
LARGE, MOST = 1 << 18, 32 << 20  # bytes; MOST is glibc's own limit


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Also a decorator."""
    library = _glibc()
    if library:
        library.mallopt(APART, LARGE)
    try:
        yield
    finally:
        if library:
            library.mallopt(APART, MOST)
            library.mallopt(TRIM, 2 * MOST)
        give_back()


def give_back() -> None:
    """Returns freed memory to the system."""
    if library := _glibc():
        library.malloc_trim(0)

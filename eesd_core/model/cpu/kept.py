"""Machine code that numba keeps on disk: the next process only reads it."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from numba import njit

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def kept(compiler, *given, **how):
    """A decorator of numba's whose machine code is kept."""
    _forget_older()

    def compiled(function):
        try:
            return compiler(*given, cache=True, **how)(function)
        except RuntimeError:  # no folder that can be written
            return compiler(*given, **how)(function)

    return compiled


@cache
def _forget_older() -> None:
    """What was kept before one of these files changed. numba looks at a function's own file, and not at those of what it calls: after an
    update a product on several threads could be an older one than on one thread."""
    with suppress(RuntimeError, OSError):
        forget_older(Path(njit(cache=True)(_probe).stats.cache_path))


def _probe():
    pass


def forget_older(folder: Path) -> None:
    """Empties a folder of kept code unless it is of these sources."""
    stamp = folder / f"sources-{hashlib.sha256(b''.join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]}"
    if stamp.exists():
        return
    for old in (*folder.glob("*.nbi"), *folder.glob("sources-*")):
        old.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    stamp.touch()

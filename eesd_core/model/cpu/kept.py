"""Machine code that numba keeps on disk, so that the next process only reads it."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from numba import njit

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def kept(compiler, *given, **how):
    """One of numba's decorators, with its machine code kept on disk where possible."""
    _forget_older()

    def compiled(function):
        try:
            return compiler(*given, cache=True, **how)(function)
        except RuntimeError:  # no folder is writable
            return compiler(*given, **how)(function)

    return compiled


def mark(name: str) -> Path | None:
    """A file that says that something of these sources is done. None: no folder is writable."""
    stamp = _forget_older()
    return stamp and stamp.with_name(f"{stamp.name}-{name}")


@cache
def _forget_older() -> Path | None:
    """Delete what was kept before one of these files changed. numba checks a function's own file, but not the files of the functions that
    it calls: after an update, a product on several threads could still run older code than on one thread."""
    with suppress(RuntimeError, OSError):
        return forget_older(Path(njit(cache=True)(_probe).stats.cache_path))


def _probe():
    pass


def forget_older(folder: Path) -> Path:
    """Empty a folder of kept code, unless the code is from these sources. Returns the file that says so."""
    stamp = folder / f"sources-{hashlib.sha256(b''.join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]}"
    if stamp.exists():
        return stamp
    for old in (*folder.glob("*.nbi"), *folder.glob("sources-*")):
        old.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    return stamp

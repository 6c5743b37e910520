"""Files that the program keeps for later starts, in the platform's cache folder or in EESD_CACHE.

Each is made once, and is either complete or absent: a killed process, a full disk or a second process never leaves half of one.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from ..errors import UserError


def cache_folder() -> Path:
    return Path(os.environ.get("EESD_CACHE") or user_cache_path("eesd-live", appauthor=False)).expanduser().absolute()


def sha256(path: Path) -> str:
    """In hexadecimal. Reads about 400 MB to 1.5 GB a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(path: Path, build: Callable[[Path], Path]) -> None:
    """Make a file or folder of the cache, unless it exists. `build` gets an empty folder next to it, and returns the path that becomes
    `path`. One process builds while others wait. Raises UserError where the folder cannot be written, or is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")  # the system releases it when a process is killed
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process is making {path}: waiting for it", file=sys.stderr)
            lock.acquire()
        try:
            _build(path, build)
        finally:
            lock.release()
    except OSError as problem:
        if problem.errno == ENOSPC:
            raise UserError(f"the disk of {path.parent} is full: make room, or set EESD_CACHE to another folder") from None
        reason = problem.strerror or type(problem).__name__
        raise UserError(f"the cache folder {path.parent} cannot be written ({reason}): set EESD_CACHE to another folder") from None


def _build(path: Path, build: Callable[[Path], Path]) -> None:
    part = Path(f"{path}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
    if path.exists():
        return
    part.mkdir()
    try:
        os.replace(build(part), path)
    finally:
        shutil.rmtree(part, ignore_errors=True)

"""Files that the program keeps for later starts, in the platform's cache folder or where EESD_CACHE says.

They are made once, at once or not at all: a process that is killed, a full disk or a second process never leaves half of one.
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
    """In hexadecimal. A second for some 400 MB to 1.5 GB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(path: Path, build: Callable[[Path], Path]) -> None:
    """Have a file or folder of the cache made, where it is not there yet. `build` is given an empty folder beside it and returns what shall
    become `path`. One process builds, others wait for it. Raises UserError where the folder cannot be written, or is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")  # the system takes it back from a process that is killed
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
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    if path.exists():
        return
    part.mkdir()
    try:
        os.replace(build(part), path)
    finally:
        shutil.rmtree(part, ignore_errors=True)

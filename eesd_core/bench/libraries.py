"""Two libraries of self-speculative and draft-free decoding, economize and dejavuu, on the checkpoint that this engine reads.

Each runs in a process of its own on transformers' modules, with as many threads as torch has here, greedily, on this engine's token ids.
economize (requirements-peers.txt) runs in this environment; dejavuu needs Python 3.13 and therefore an environment of its own, in the cache
folder. Like transformers' generate() (peers.py) they are timed from the end of the prompt's pass on; the cell also has the whole call's
time.
"""

import atexit
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import UserError
from ..model.files import cache_folder
from ..model.target import Target
from ..sampling import Sampling
from .written import Written

VERSIONS = {"economize": "0.3.2", "dejavuu": "0.2.0"}


class Process(NamedTuple):
    """What to start: an interpreter, and a script in this folder, which imports nothing of this project."""

    python: str
    script: Path


def process_of(library: str) -> Process:
    """Raises UserError where the library is not installed, with the command that installs it."""
    script = Path(__file__).with_name(f"{library}_process.py")
    if library == "economize":
        if installed(library) != VERSIONS[library]:
            raise UserError(f"{library} {VERSIONS[library]} is not installed: pip install -r requirements-peers.txt")
        return Process(sys.executable, script)
    place = cache_folder() / "peers" / f"{library}-{VERSIONS[library]}"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        install = f"python3.13 -m venv {place} && {python} -m pip install '{library}[hf]=={VERSIONS[library]}'"
        raise UserError(f"{library} {VERSIONS[library]} is not installed, and needs Python 3.13: {install}")
    return Process(str(python), script)


def installed(library: str) -> str | None:
    """The library's version, None if it is missing."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


class Library:
    """`peer` is `economize+lookup`, `dejavuu+suffix` ...; `setting`: depth of the exit. Raises UserError where it cannot run here."""

    def __init__(self, target: Target, peer: str, setting: int, process: Process | None = None):
        self.name, _, method = peer.partition("+")
        dtype, files = str(target.dtype).removeprefix("torch."), target.config.name_or_path
        if target.precision != dtype:
            raise UserError(f"{self.name} does not know weights in {target.precision}: leave out --quantize")
        if target.device.type != "cpu":
            raise UserError(f"{self.name} is compared on processors: give --device cpu")
        if not files or not Path(files).is_dir() or (target.source and target.source.lora):
            raise UserError(f"{self.name} reads a checkpoint as it is: give --model a folder, and no LoRA")
        python, script = process or process_of(self.name)
        job = {"checkpoint": files, "dtype": dtype, "threads": torch.get_num_threads(), "method": method, "exit": setting}
        job["end_ids"] = sorted(target.end_ids)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([python, str(script), json.dumps(job)], text=True, **pipes)
        atexit.register(self.close)
        self._answer(f"{self.name} does not run here on {target.name}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        with suppress(OSError):  # input that was not sent
            self.process.stdin.close()

    def write(self, ids: Sequence[int], new_tokens: int, sampling: Sampling) -> Written:
        """Raises UserError."""
        if sampling.temperature:
            raise UserError(f"{self.name} draws by random numbers of its own: compare it with --temperature 0")
        try:
            self.process.stdin.write(json.dumps({"ids": list(ids), "new_tokens": new_tokens}) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise UserError(f"{self.name} has ended") from None
        return Written(**self._answer(f"{self.name} gave no answer"))

    def _answer(self, otherwise: str) -> dict:
        """The next line. Raises UserError with `otherwise` and the error that the library reports."""
        line = self.process.stdout.readline()
        said = json.loads(line) if line else {"error": "it has ended"}
        if "error" in said:
            raise UserError(f"{otherwise}: {said['error']}")
        return said

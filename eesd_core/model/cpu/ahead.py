"""Compile a model's kernels before they are needed, in a process beside this one.

Where numba has kept no code yet, a model's kernels take it some ten seconds, about as long as this process needs to import its
libraries and to read a model. A thread would gain little, because compiling and importing wait for the same interpreter. The process leaves
its code in numba's folder, and whoever loads a model waits for it.

`python -m eesd_core.model.cpu.ahead PRECISION` is that process.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Types of weights, by precision: those of the target, of which most hold bfloat16 numbers, and those of its heads.
TYPES = {"none": ("uint16", "int8"), "q8": ("int8",), "q4": ("uint8", "int8")}
LOOK = 0.05  # seconds between two looks whether it is done
_under_way: dict[str, subprocess.Popen] = {}  # by precision


def compile_ahead(quantize: str) -> None:
    """Begin, unless it has been done. Nothing depends on it: what is missing is compiled when it is called."""
    if quantize not in TYPES or not find_spec("numba"):
        return
    from .kept import mark

    done = mark(quantize)
    if done and not done.exists():
        with suppress(OSError):
            _under_way[quantize] = beside_this("eesd_core.model.cpu.ahead", quantize)


def finish(quantize: str) -> None:
    """Wait until what was begun for this precision is done. The process goes on with steps of other heads, for which nobody waits."""
    process = _under_way.get(quantize)
    if not process:
        return
    from .kept import mark

    while process.poll() is None and not mark(quantize).exists():
        time.sleep(LOOK)


def beside_this(module: str, *arguments: str) -> subprocess.Popen:
    """Run one of our modules in a process of its own. Raises OSError."""
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, **quiet)


def step_aside(process: subprocess.Popen) -> None:
    """Let everything else on the machine go first, where the system can do that."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)


def compile_choice() -> None:
    """What chooses tokens. Otherwise it would be compiled at a run's first token, on that run's clock."""
    import torch

    from ...sampling import Sampling
    from .rank import Ranker

    Ranker(Sampling())(torch.ones(1, 8), [0], 2, None, None, [])


def compile_all(quantize: str) -> bool:
    """What a run in one region calls, with weights of the usual types. False if there is a GPU, whose runs call none of it."""
    import numpy as np
    import torch

    from . import draft_step, kernels, quantized_linear, region, threads
    from .kept import mark

    if torch.cuda.is_available():
        return False
    row = np.ones((1, 64), np.float32)
    kernels.norm(row, row[0], np.float32(1e-5), row.copy())
    for table in (row, row.astype(np.uint16)):
        kernels.gather(table, np.array([0]), row.copy())
    quantized_linear.closed(torch.ones(1, 64))
    for kind in TYPES[quantize]:
        threads.product_code(np.dtype(kind))
    region.attention_code()
    for door in (torch.float32, torch.int32) if quantize == "none" else (torch.int32,):
        region.pass_code(door)
    draft_step.step_code()
    threads.in_shares(threads.multiply_share)
    compile_choice()
    mark(quantize).touch()
    return True


def compile_heads() -> None:
    """The steps of heads that a visitor may choose. Otherwise the first run with one would wait some ten seconds."""
    from . import block_step, chimera_step, feature_step, glide_step

    for step in (feature_step, block_step, chimera_step, glide_step):
        step.step_code()


if __name__ == "__main__":
    if compile_all(sys.argv[1]):
        if hasattr(os, "nice"):
            os.nice(10)
        compile_heads()

"""What is checked on a GPU. A check prints what it found and raises an AssertionError, or any other error, if something is wrong.

Where lanes differ, the difference must be one of rounding: the target's margin there is small (checks/identity.py).
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from eesd_core.backends import backend, why_host
from eesd_core.bench.gpu_suite import LLAMA_2, gpu_suite
from eesd_core.checks.identity import SMALL_MARGIN, SMALL_MARGINS
from eesd_core.engine import Engine
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.model.catalog import in_cache
from eesd_core.model.cuda.graph_steps import DeviceSteps
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling
from eesd_core.timed import timed_run

ROOT = Path(__file__).resolve().parents[2]
TESTS = [f"tests/core/test_{name}.py" for name in ("on_gpu", "device_run", "timed", "gpu_suite")]
PROMPT, TOKENS = "Once upon a time there was a little fox.", 96
SAMPLINGS = (Sampling(), Sampling(0.8, 0.95, 7), Sampling(0.8, seed=7, min_p=0.1))
BLIND = {"controller": "fixed", "settings": {"length": 4}}  # stays on the device
LOOKS = {"controller": "throughput"}  # needs the host
BENCH_BYTES = 20e9  # of GPU memory, for a model of LLaMA-2 7B's shape in bf16


class Skip(Exception):
    """Why a check cannot be made here."""


def tests() -> None:
    if not find_spec("pytest"):
        raise Skip("pytest is not installed")
    subprocess.run([sys.executable, "-m", "pytest", "-n0", *TESTS], cwd=ROOT, check=True)


def graphs() -> None:
    """CUDA graphs write what the same steps write one by one."""
    for dtype in ("float32", "bfloat16"):
        engine = load_engine(device="cuda", dtype=dtype)
        for sampling in SAMPLINGS:
            request = Request(PROMPT, TOKENS, sampling, **BLIND)
            layer, capacity = engine.exit_layer_at(sampling), len(engine.encode(request)) + TOKENS
            runs = [timed_run(engine, request, DeviceSteps(engine.target, layer, capacity, sampling, use)) for use in (True, False)]
            print(f"{dtype} {sampling}: {', '.join(f'{len(run.ids) / run.seconds:.0f}' for run in runs)} tokens/s with graphs, without")
            assert not runs[0].note, runs[0].note
            assert runs[0].ids == runs[1].ids


def storyteller() -> None:
    for dtype in ("float32", "bfloat16"):
        both_backends(load_engine(device="cuda", dtype=dtype), PROMPT)


def bitsandbytes() -> None:
    if not find_spec("bitsandbytes"):
        raise Skip("bitsandbytes is not installed")
    for quantize in ("8bit", "4bit"):
        both_backends(load_engine(device="cuda", quantize=quantize), PROMPT, graphs_may_fail=True)


def smollm2() -> None:
    if not in_cache("smollm2"):
        raise Skip("smollm2 is not in the cache: python -m eesd_core fetch smollm2")
    both_backends(load_engine("smollm2", device="cuda"), "What is a rainbow?", chat=True)


def both_backends(engine: Engine, prompt: str, chat: bool = False, graphs_may_fail: bool = False) -> None:
    """A race on each backend, greedy and with shared noise. `graphs_may_fail`: the products are another package's, which may not allow
    CUDA graphs; the host then runs everything."""
    measured, refused = engine.on_device
    print(f"{engine.target.name} {engine.target.precision}: {engine.level}; costs on the device {measured.to_json()} {refused}")
    assert not refused or graphs_may_fail
    for sampling in (SAMPLINGS[0], SAMPLINGS[-1]):
        for drafting, expected in ((BLIND, "host" if refused else "device"), (LOOKS, "host")):
            request = Request(prompt, TOKENS, sampling, chat=chat, **drafting)
            assert backend(engine, request) == expected, why_host(engine, request)
            records = list(race(engine, request))
            assert {fold(records, lane).backend for lane in ("vanilla", "eesd")} == {expected}
            paces = {lane: Metrics.fold(records, lane).tokens_per_second for lane in ("vanilla", "eesd")}
            verdict = records[-1].event
            print(f"{expected} T {sampling.temperature:g}: {verdict.speedup:.2f}x, {paces}, {verdict.first_difference or 'identical'}")
            only_rounding(verdict.identical, verdict.first_difference, engine.target.precision)


def only_rounding(identical: bool, difference: dict | None, precision: str) -> None:
    small = SMALL_MARGINS.get(precision, SMALL_MARGIN)
    assert identical or (difference["margin"] is not None and difference["margin"] < small), difference


def bench() -> None:
    """The GPU suite without its larger shapes."""
    free, _ = torch.cuda.mem_get_info()
    if free < BENCH_BYTES:
        raise Skip(f"{free / 1e9:.0f} GB of GPU memory are free, and the 7B shape needs {BENCH_BYTES / 1e9:.0f}")
    found = gpu_suite("cuda", LLAMA_2[:1])
    assert all(row["graphs"] for row in found["shapes"]), [row["note"] for row in found["shapes"]]
    assert found["embedded"]["identical"]


def command_line() -> None:
    """`race` as a user calls it."""
    command = [sys.executable, "-m", "eesd_core", "race", PROMPT, "--controller", "beta", "--device", "cuda", "--json"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    print(found["backend"], found["dtype"], found["level"], found["speedup"])
    assert found["backend"] == "device"
    only_rounding(found["identical"], found["first_difference"], found["dtype"])


def page() -> None:
    """The app, with a run through its API."""
    from gradio_client import Client

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--device", "cuda", "--port", str(port), "--offline"], cwd=ROOT)
    try:
        while not answers(port):
            assert process.poll() is None, "the app has ended"
            time.sleep(0.5)
        found = Client(f"http://127.0.0.1:{port}", verbose=False).predict(PROMPT, TOKENS, controller="beta", api_name="/race")
        print(found["backend"], found["level"], found["speedup"])
        assert found["status"] == "finished" and found["backend"] == "device"
        only_rounding(found["identical"], found["first_difference"], "")
    finally:
        process.terminate()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Entry(NamedTuple):
    limit: float  # seconds
    run: Callable[[], None]


CHECKS = {
    "tests": Entry(90, tests),
    "graphs": Entry(50, graphs),
    "storyteller": Entry(45, storyteller),
    "bitsandbytes": Entry(60, bitsandbytes),
    "smollm2": Entry(60, smollm2),
    "bench": Entry(75, bench),
    "race": Entry(35, command_line),
    "page": Entry(55, page),
}

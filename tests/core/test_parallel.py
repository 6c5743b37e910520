"""A model in parts: two processes that hold halves of every layer (gloo), and layers that accelerate moves between devices. And training
by two processes that hold the whole model each.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model

from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.loading import load_engine
from eesd_core.model.load import load_target
from eesd_core.model.target import Target
from eesd_core.request import Request

CONTROLLERS = ("fixed", "beta", "throughput")


def written(engine, method: str, controller: str) -> list[int]:
    request = Request("Once upon a time", 24, method=method, controller=controller)
    return [i for r in engine.run(request) if r.event.type == "tokens_committed" for i in r.event.ids]


def one_of_two(rank: int, port: int, folder: str, results) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        torch.set_num_threads(1)
        engine = load_engine(folder, device="cpu", dtype="float32")
        texts = [written(engine, "eesd", controller) for controller in CONTROLLERS]
        results.put((rank, engine.target.shards, engine.target.new_cache(8).keys[0].shape[1], texts, written(engine, "vanilla", "fixed")))
    except BaseException as problem:
        results.put((rank, repr(problem)))
        raise


def test_two_processes_write_what_one_writes(model_folder):
    plain = written(load_engine(str(model_folder), device="cpu", dtype="float32"), "vanilla", "fixed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=one_of_two, args=(rank, port, str(model_folder), results), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    found = [results.get(timeout=240) for _ in processes]
    for process in processes:
        process.join(30)
        process.kill()
    assert all(len(answer) == 5 for answer in found), found
    for _, shards, heads, texts, vanilla in found:
        assert shards == 2 and heads == 1  # of two key-value heads
        assert texts == [plain] * len(CONTROLLERS) and vanilla == plain


@pytest.mark.parametrize("method", ["vanilla", "eesd"])
def test_layers_that_accelerate_moves(model_folder, engine, method):
    """As `device_map="auto"` leaves them, with all devices being the CPU."""
    target = load_target(model_folder, "cpu", "float32")
    names = ["model.embed_tokens", *(f"model.layers.{i}" for i in range(target.depth)), "model.norm", "model.rotary_emb", "lm_head"]
    layer = ExitLayer.load(model_folder, target)
    expected = written(Engine(target, layer, "exact-as-observed"), method, "fixed")
    spread = dispatch_model(target.model, dict.fromkeys(names, "cpu"), main_device="cpu", force_hooks=True)
    assert hasattr(spread.model.layers[0], "_hf_hook")
    again = Target(spread, target.tokenizer, "spread")
    assert written(Engine(again, ExitLayer.load(model_folder, again), "exact-as-observed"), method, "fixed") == expected


def test_two_processes_train_one_exit_layer(model_folder, tmp_path):
    """As `accelerate launch` starts them on several GPUs; on CPUs it would start one."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "eesd_core", "distill"]
    flags = {"model": model_folder, "exit-after": 1, "generations": 130, "prompt-tokens": 6, "new-tokens": 6, "steps": 3, "device": "cpu"}
    flags |= {"work": tmp_path / "work", "out": tmp_path / "out"}
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    here = {"cwd": Path(__file__).parents[2], "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    done = subprocess.run(launch + arguments, capture_output=True, text=True, timeout=300, **here)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("generated") == 5 and done.stdout.count("measured_speedup") == 1
    assert len(list((tmp_path / "work").glob("*/mixed/texts-*"))) == 5
    assert ExitLayer.load(tmp_path / "out", load_target(model_folder, "cpu", "bfloat16")).exit_after == 1

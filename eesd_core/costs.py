"""What the steps of a round cost on this machine: the numbers behind every speedup.

Draft cost c = time of one draft step over the time of one plain decoding step. T_v(m) = time of the remaining layers and the
head over m tokens.
"""

import time
from collections.abc import Callable
from statistics import median

import torch

from .engine import Engine


@torch.inference_mode()
def measure_costs(engine: Engine, position: int = 128, repeats: int = 15) -> dict:
    """Milliseconds, medians, at one context length. The steps are interleaved, so that drift of the machine hits them alike."""
    target, exit_layer = engine.target, engine.exit_layer
    split, depth = exit_layer.exit_after, target.depth
    cache, exit_cache = target.new_cache(position + 16), target.new_cache(position + 16, layers=1)
    ids = [i % target.vocab for i in range(position)]
    states = target.run_range(0, split, target.embed(ids), cache, 0)
    target.run_range(split, depth, states, cache, 0)
    exit_layer(target, states, exit_cache, 0)

    def plain_step():
        target.logits(target.run_range(0, depth, target.embed([1]), cache, position)).argmax(-1).tolist()

    def draft_step():
        hidden = target.run_range(0, split, target.embed([1]), cache, position)
        exit_layer(target, hidden, exit_cache, position).argmax(-1).tolist()

    def verify_step(rows: int):
        def step():
            hidden = torch.zeros(1, rows, target.config.hidden_size, dtype=target.dtype, device=target.device)
            target.logits(target.run_range(split, depth, hidden, cache, position)).argmax(-1).tolist()

        return step

    steps: dict[str, Callable] = {"plain": plain_step, "draft": draft_step} | {f"verify_{m}": verify_step(m) for m in (1, 2, 4, 8, 16)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 2):  # the first two warm up
        for name, step in steps.items():
            cache.truncate(position)
            exit_cache.truncate(position)
            began = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - began))
    costs = {name: round(median(values[2:]), 3) for name, values in times.items()}
    return costs | {"c": round(costs["draft"] / costs["plain"], 3), "threads": torch.get_num_threads()}

"""`bench --suite gpu`: does the engine run at the pace of the hardware? One command, one table.

Models of LLaMA-2's shapes with random weights, in bfloat16 and in NF4: what matters here is how many bytes a step reads, not what it says.
Compared with the measured bandwidth of a copy: a plain step, a draft step, verify passes, and what a round costs beyond its steps. Then the
speedup of rounds whose acceptance is *injected* (drawn at the rate that the embedded model's exit layer reaches), next to what the speedup
law predicts from the measured costs, and to the paper's figures; and the embedded model itself, end to end.
With `--device cpu` all of it runs on tiny shapes, which tests the script and measures nothing. It has not run on a GPU yet
(`python -m tools.gpu_check` runs a short form of it there).
"""

import gc
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

from ..heads.exit_layer import ExitLayer
from ..loading import load_engine
from ..model.attention import NAME
from ..model.cuda.graph_steps import DeviceSteps
from ..model.load import choose_device
from ..model.target import Target
from ..request import Request
from ..rounds import fold
from ..sampling import Sampling
from ..timed import timed_run
from .prompts import read_prompts

PAPER = {"13B": 2.04, "70B": 2.29}  # LLaMA-2; the paper's end-to-end figures, on its machines
PROMPT, VERIFIED, INJECTED_DRAFTS, INJECTED_ROUNDS = 128, 8, 4, 40


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    layers: int
    hidden: int
    mlp: int
    heads: int
    groups: int
    exit_after: int
    four_bits: bool = False
    vocab: int = 32_000


LLAMA_2 = (
    Shape("7B", 32, 4096, 11008, 32, 32, 3),
    Shape("13B", 40, 5120, 13824, 40, 40, 4),
    Shape("70B", 80, 8192, 28672, 64, 8, 8, four_bits=True),
)
TINY = (Shape("tiny", 4, 64, 128, 4, 2, 1, vocab=257), Shape("tiny", 4, 64, 128, 4, 2, 1, four_bits=True, vocab=257))


def gpu_suite(device: str = "auto", shapes: Sequence[Shape] = LLAMA_2) -> dict:
    """Run, print a table, return the report as plain values. Raises UserError without a GPU, unless the CPU is asked for. `shapes`: those
    measured on a GPU."""
    place = choose_device("cuda" if device == "auto" else device)
    on_gpu = place.type == "cuda"
    name = torch.cuda.get_device_name(place) if on_gpu else f"{platform.machine()} CPU: a test of this script, not a measurement"
    bandwidth = copy_bandwidth(place, 2**30 if on_gpu else 2**24)
    report: dict = {"date": date.today().isoformat(), "device": name, "torch": torch.__version__, "copy_gb_per_second": bandwidth / 1e9}
    print(f"{report['date']}, {name}, torch {torch.__version__}, copy {bandwidth / 1e9:.0f} GB/s")
    own = embedded(place)
    report |= {"embedded": own, "shapes": []}
    print(f"{'shape':>6}  weights   plain step  of bound  draft/share  " + "verify of 1..8 rows, in plain steps".ljust(48) + "  overhead")
    for shape in shapes if on_gpu else TINY:
        row = measure_shape(shape, place, bandwidth, own["acceptance_rate"])
        report["shapes"].append(row)
        passes = " ".join(f"{value:.2f}" for value in row["verify_over_plain"])
        print(
            f"{shape.name:>6}  {row['precision']:>7}  {row['plain_ms']:8.3f} ms  {row['of_bound']:8.1%}  {row['draft_over_share']:11.2f}"
            f"  {passes:48}  {row['overhead_share']:8.1%}"
        )
        said = f"the paper's {PAPER[shape.name]:.2f}x" if shape.name in PAPER else "no figure in the paper"
        print(
            f"        speedup with injected acceptance {row['injected_rate']:.2f}: {row['injected_speedup']:.2f}x,"
            f" by the law {row['law_speedup']:.2f}x; {said}"
        )
        for note in filter(None, [row["note"]]):
            print(f"        note: {note}")
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
    print(
        f"embedded model: EESD {own['speedup']:.2f}x vanilla, both with device steps; {own['identical']} of {own['prompts']} identical,"
        f" {own['as_host']} to the text of the host's steps too"
    )
    return report


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes per second of a device-to-device copy, counting reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / best_seconds(lambda: target.copy_(source), device)


def best_seconds(step: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Seconds of one call: the median of `repeats` calls after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        began = _now(device)
        step()
        times.append(_now(device) - began)
    return median(times[2:])


@torch.inference_mode()
def random_target(shape: Shape, device: torch.device) -> Target:
    """Built layer by layer, so that at most one layer exists before it is quantised."""
    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.mlp, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.groups, max_position_embeddings=1024, tie_word_embeddings=False,
    )  # fmt: skip
    config._attn_implementation = NAME
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    layers, model.model.layers = model.model.layers, nn.ModuleList()
    _fill(model, device)
    for layer in layers:
        _fill(layer, device)
        if shape.four_bits:
            _to_nf4(layer, device)
        model.model.layers.append(layer)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    model.generation_config = GenerationConfig(eos_token_id=None)
    return Target(model, None, shape.name)


def measure_shape(shape: Shape, device: torch.device, bandwidth: float, rate: float) -> dict:
    target = random_target(shape, device)
    layer = ExitLayer(target, shape.exit_after)
    capacity = PROMPT + 2 + INJECTED_ROUNDS * (INJECTED_DRAFTS + 1)
    plain, drafting = (DeviceSteps(target, part, capacity, Sampling()) for part in (None, layer))
    for steps in (plain, drafting):
        steps.begin([(7 * i) % shape.vocab for i in range(PROMPT)])
    reach = drafting.reach(VERIFIED)
    rounds: dict[object, Callable] = {"plain": lambda: _again(plain, "plain", lambda: plain.plain(reach))}
    rounds["draft"] = lambda: _again(drafting, "draft", lambda: drafting.draft(reach))
    rounds["shallow"] = lambda: _again(drafting, "shallow", lambda: drafting.shallow(reach))
    for rows in range(1, VERIFIED + 1):
        rounds[rows] = lambda rows=rows: _again(drafting, ("verify", rows), lambda: drafting.verify(rows, reach))
    with torch.inference_mode():
        seconds = {name: best_seconds(step, device) for name, step in rounds.items()}
    head = _bytes(target.model.lm_head) + _bytes(target.norm)
    depths = [_bytes(part) for part in target.layers]
    total, early = sum(depths) + head, sum(depths[: shape.exit_after]) + _bytes(layer) + head
    drafting.begin([(7 * i) % shape.vocab for i in range(PROMPT)])
    drafting.round(INJECTED_DRAFTS)  # records what a round needs
    took = best_seconds(lambda: drafting.round(INJECTED_DRAFTS), device)
    rows = next(r for r in (5, 9) if r > INJECTED_DRAFTS)
    parts = INJECTED_DRAFTS * seconds["draft"] + seconds["shallow"] + seconds[min(rows, VERIFIED)]
    chance = random.Random(1)
    drawn = [_accepted(chance, rate, INJECTED_DRAFTS) + 1 for _ in range(100 * INJECTED_ROUNDS)]
    expected = sum(rate**i for i in range(INJECTED_DRAFTS + 1))
    return {
        "shape": shape.name,
        "precision": "NF4" if shape.four_bits else "bf16",
        "exit_after": shape.exit_after,
        "weight_gb": total / 1e9,
        "plain_ms": 1e3 * seconds["plain"],
        "of_bound": total / bandwidth / seconds["plain"],
        "draft_over_share": seconds["draft"] / seconds["plain"] / (early / total),
        "verify_over_plain": [seconds[m] / seconds["plain"] for m in range(1, VERIFIED + 1)],
        "overhead_share": 1 - parts / took,
        "injected_rate": rate,
        "injected_speedup": sum(drawn) / len(drawn) * seconds["plain"] / took,
        "law_speedup": expected * seconds["plain"] / parts,
        "graphs": drafting.recorder.graphs,
        "note": drafting.recorder.note,
    }


def embedded(device: torch.device) -> dict:
    """The embedded model end to end, greedy, both methods by device steps. Their texts are compared with each other and with the one that
    the host's steps write. In bf16 the latter may differ: the device pads its passes, and on a CPU it has other kernels."""
    engine = load_engine(device=device.type, dtype="bfloat16")
    speedups, same, as_host, accepted, drafted = [], 0, 0, 0, 0
    prompts = read_prompts(None, 8 if device.type == "cuda" else 2)
    for prompt in prompts:
        new = 128 if device.type == "cuda" else 16
        settings = {"controller": "fixed", "settings": {"length": 3}}
        requests = {method: Request(prompt, new, method=method, **settings) for method in ("vanilla", "eesd")}
        layers, capacity = {"vanilla": None, "eesd": engine.exit_layer_at(Sampling())}, len(engine.encode(requests["eesd"])) + new
        steps = {method: DeviceSteps(engine.target, layer, capacity, Sampling()) for method, layer in layers.items()}
        for method, request in requests.items():
            timed_run(engine, request, steps[method])  # records the graphs that the timed run replays
        runs = {method: timed_run(engine, request, steps[method]) for method, request in requests.items()}
        pace = {method: len(run.ids) / run.seconds for method, run in runs.items()}
        speedups.append(pace["eesd"] / pace["vanilla"])
        reference = fold(engine.run(requests["vanilla"]), "vanilla").token_ids
        same += runs["eesd"].ids == runs["vanilla"].ids
        as_host += runs["vanilla"].ids == reference
        accepted += runs["eesd"].accepted
        drafted += sum(runs["eesd"].draft_lengths)
    facts = {"prompts": len(prompts), "identical": same, "as_host": as_host, "speedup": median(speedups)}
    facts |= {"acceptance_rate": accepted / drafted, "level": "exact-as-observed"}
    return facts | {"costs": engine.measured.to_json(), "costs_on_device": engine.on_device.measured.to_json()}


def _again(steps: DeviceSteps, key, step: Callable[[], None]) -> None:
    """Run a step at the same place every time."""
    steps.at.fill_(steps.start)
    steps.place.copy_(steps.at)
    steps.recorder(("suite", key), step)


def _accepted(chance: random.Random, rate: float, drafts: int) -> int:
    count = 0
    while count < drafts and chance.random() < rate:
        count += 1
    return count


def _fill(module: nn.Module, device: torch.device) -> None:
    """Replace weights that are only shapes by random ones."""
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            value = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device)
            value.normal_(0.0, 0.02) if parameter.ndim == 2 else value.fill_(1.0)
            owner.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _to_nf4(module: nn.Module, device: torch.device) -> None:
    import bitsandbytes as bnb

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                small = bnb.nn.Linear4bit(child.in_features, child.out_features, False, torch.bfloat16, quant_type="nf4", device="meta")
                small.weight = bnb.nn.Params4bit(child.weight.data.cpu(), requires_grad=False, quant_type="nf4").to(device)
                setattr(parent, name, small)


def _bytes(module: nn.Module) -> int:
    """Bytes that a pass reads: the weights, and the scales of quantised ones."""
    total = 0
    for parameter in module.parameters():
        state = getattr(parameter, "quant_state", None)
        total += parameter.numel() * parameter.element_size() + (state.absmax.numel() * state.absmax.element_size() if state else 0)
    return total


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

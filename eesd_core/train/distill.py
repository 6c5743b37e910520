"""Self-distillation of the exit layer: the frozen model writes, and the exit layer learns to predict what it wrote.

The paper says that the layer learns from the target's own output; prompts, temperatures, loss and schedule are ours. Targets are soft
(KL divergence from the target's distribution) on text that the target generated itself (generations.py). With `greedy_steps` the layer
then gets a twin for greedy decoding: a copy that is trained further with hard targets (cross-entropy with the target's most likely token)
on what the target wrote greedily. In one set of weights, either would get worse at the expense of the other (docs/notes.md).

Drafters that feed on their own predicted features (EAGLE) must be trained on rollouts of their own mistakes. Here these would teach
nothing: a draft is only judged after accepted drafts, which are the target's own text, and its input is what the target's own first layers
compute from that text. Training sees exactly what drafting uses.

Only the exit layer has gradients and float32 weights; the target may be in any dtype, or quantised. Several GPUs, each with the whole
target: `accelerate launch -m eesd_core distill ...`.
"""

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn

from ..costs import CostTracker
from ..errors import UserError
from ..heads.exit_layer import ExitLayer
from ..heads.files import WEIGHTS, rewrite_training
from ..heads.fingerprint import fingerprint, norms_fingerprint
from ..limits import MAX_DRAFT
from ..loading import load_engine
from ..metrics import Metrics
from ..model.load import load_target
from ..model.placement import weight_bytes
from ..model.quantize import is_quantized
from ..model.target import Target
from ..request import Request
from ..sampling import Sampling
from ..simulate.courses import Course, best_fixed
from .evaluate import acceptance_per_position
from .generations import DRAWS, Prompts, Texts, collect, read
from .pretrain import load_checkpoint, save_checkpoint

MOST_KEPT = 8e9  # bytes of hidden states kept in memory; above this, the target runs again in every step
MAY_CHANGE = ("steps", "greedy_steps", "save_seconds")  # settings that may change when training is resumed
TRACED = 200  # number of steps from which compiling the loss pays off


@dataclass(frozen=True)
class DistillConfig:
    exit_after: int
    generations: int = 4096
    prompt_tokens: int = 32  # of the longest prompt
    new_tokens: int = 224
    rows: int = 16
    steps: int = 1500  # 0: the exit layer stays as it is
    greedy_steps: int = 0  # of the twin; 0: no twin
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    seed: int = 1
    save_seconds: float = 300.0

    @property
    def held_out(self) -> int:
        """Number of texts that are not learned from."""
        return max(1, min(128, self.generations // 8))

    def __post_init__(self):
        if self.generations < 2 or min(self.steps, self.greedy_steps) < 0 or not self.steps + self.greedy_steps:
            raise UserError("--generations must be at least 2, and --steps or --greedy-steps at least 1")


class Student(nn.Module):
    """Computes the exit layer's loss on a batch: the module that `accelerate` distributes."""

    def __init__(self, target: Target, layer: ExitLayer, hard: bool):
        super().__init__()
        self.layer, self.hard, self.target = layer, hard, [target]  # in a list, so that its weights are no part of this module

    def forward(self, states: Tensor, finals: Tensor, judged: Tensor) -> Tensor:
        """States after N layers and after the final norm (B, T, D), which places count (B, T) -> loss in nats per token."""
        target = self.target[0]
        law, teacher = self.layer.rows(target, states).log_softmax(-1), target.head_rows(finals)  # (B, T, V)
        if self.hard:
            losses = -law.gather(-1, teacher.argmax(-1, keepdim=True)).squeeze(-1)  # (B, T)
        else:
            losses = nn.functional.kl_div(law, teacher.log_softmax(-1), log_target=True, reduction="none").sum(-1)
        return (losses * judged).sum() / judged.sum()


def distill(
    model: str | None, data: list[Path] | None, prompts: Path | None, work: Path, out: Path, config: DistillConfig,
    device: str = "auto", quantize: str = "none",
) -> dict:  # fmt: skip
    """Train, save and measure an exit layer; prints and returns its facts. Resumes from `work`. Raises UserError.

    It starts from the model's own exit layer of this depth if there is one, else from the last layer; a twin starts from the layer. With a
    twin, new or kept, the twin learns from greedy text and the layer from drawn text.
    """
    accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available())
    main = accelerator.is_main_process
    on_cpu = accelerator.device.type == "cpu"
    place = "cpu" if on_cpu else f"cuda:{accelerator.local_process_index}"
    target = load_target(model, place, "float32" if on_cpu else "bfloat16", quantize, alone=True)
    target.model.requires_grad_(False)
    layer = ExitLayer(target, config.exit_after)
    folder = target.source.heads
    if folder and (folder / WEIGHTS).exists() and (own := ExitLayer.load(folder, target)).exit_after == config.exit_after:
        layer = own
    layer.float()
    work = work / (fingerprint(target) or f"{target.precision}-{norms_fingerprint(target)}")
    width = config.prompt_tokens + config.new_tokens
    if width > target.context:
        raise UserError(f"texts of {width} tokens exceed the context of {target.context}")
    if main:
        print(memory_estimate(target, layer, config, quantize), flush=True)
    target.see_whole_rows()
    drawn = Prompts(target, data, prompts, config.prompt_tokens)
    twin = layer.greedy if not config.greedy_steps else None
    kind = "greedy" if not config.steps else "drawn" if twin else "mixed"
    work /= kind
    shape = config.generations, config.new_tokens, config.seed, DRAWS[kind]
    collect(target, drawn, work, *shape, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    texts = read(work, config.generations, next(iter(sorted(target.end_ids)), 0))
    held, texts = texts.hold_out(config.held_out)
    checkpoint = work / f"exit-after-{config.exit_after}.safetensors"
    greedy, layer.greedy = texts.temperature == 0, None
    if config.steps:
        lessons = texts.part(~greedy) if twin or config.greedy_steps else texts
        train(accelerator, target, layer, lessons, config, checkpoint)
    if config.greedy_steps:
        twin = copy.deepcopy(layer)
        train(accelerator, target, twin, texts.part(greedy), config, checkpoint.with_stem(checkpoint.stem + "-greedy"), greedy=True)
    layer.greedy = twin
    facts = asdict(config) | {"data": "the model's own generations", "base_precision": target.precision}
    if kind != "mixed":
        facts["kept"] = layer.facts.get("training")  # of the part that is not trained now: the layer, or its twin
    quality, courses = evaluate(target, layer, held, config)
    facts |= quality
    if main:
        layer.save(out, target, facts)
        del target, layer
        facts |= measure(model, out, device, quantize, held, courses, config)
        rewrite_training(out, facts)
        print(json.dumps(facts))
    accelerator.wait_for_everyone()
    return facts


def train(
    accelerator: Accelerator, target: Target, layer: ExitLayer, texts: Texts, config: DistillConfig, checkpoint: Path, greedy: bool = False
) -> None:  # fmt: skip
    """Gradient steps in place on the exit layer, or on its twin for greedy decoding, from `checkpoint` on where there is one. Raises
    UserError if its settings differ."""
    steps, free = (config.greedy_steps, ("greedy_steps", "save_seconds")) if greedy else (config.steps, MAY_CHANGE)
    layer.requires_grad_(True)
    matrices, gains = ([p for p in layer.parameters() if (p.ndim == 2) == square] for square in (True, False))
    rate = {"lr": config.learning_rate, "weight_decay": 0.0}
    optimizers = [torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **rate), torch.optim.AdamW(gains, **rate)]
    first, settings = 0, json.dumps({name: value for name, value in asdict(config).items() if name not in free})
    if checkpoint.exists():
        with safe_open(checkpoint, "pt") as header:
            before = header.metadata()
        if before.get("settings", settings) != settings:  # older checkpoints do not say
            raise UserError(f"{checkpoint} was trained with other settings ({before['settings']}): delete it, or give another --work")
        load_checkpoint(checkpoint, layer, optimizers)
        first = int(before["step"])
        print(f"resuming at step {first}", flush=True)
        if first >= steps:
            return
    student = accelerator.prepare(Student(target, layer, greedy))
    loss_of = torch.compile(student) if steps - first >= TRACED and not is_quantized(target.model) else student
    kept = None
    if kept_bytes(target, len(texts), texts.ids.shape[1]) <= MOST_KEPT:
        lessons = [teach(target, part, config.exit_after) for part in texts.ids.split(32)]
        kept = [torch.cat(parts) for parts in zip(*lessons)]  # (G, T, D) each, bfloat16
    place = torch.arange(texts.ids.shape[1])
    judged = (place >= texts.first[:, None] // 2) & (place < texts.length[:, None] - 1)  # not early in the prompt: not its own text
    generator = torch.Generator().manual_seed(config.seed + first + 1000 * accelerator.process_index)
    began = saved = time.monotonic()
    losses: list[float] = []
    for step in range(first, steps):
        now = config.learning_rate * min((step + 1) / config.warmup_steps, 1 - step / steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = now
        picks = torch.randint(len(texts), (config.rows,), generator=generator)
        lesson = [part[picks] for part in kept] if kept else teach(target, texts.ids[picks], config.exit_after)
        with torch.autocast(target.device.type, dtype=torch.bfloat16):
            loss = loss_of(*(part.to(target.device) for part in (*lesson, judged[picks])))
        accelerator.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if not accelerator.is_main_process:
            continue
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - began) / (step + 1 - first) * (steps - step - 1) / 60
            print(f"step {step + 1}: loss {sum(losses) / len(losses):.4f} nats, {left:.1f} min left", flush=True)
            losses.clear()
        if step + 1 == steps or time.monotonic() - saved > config.save_seconds:
            save_checkpoint(checkpoint, layer, optimizers, {"step": str(step + 1), "settings": settings})
            saved = time.monotonic()
    layer.requires_grad_(False)


def kept_bytes(target: Target, texts: int, width: int) -> int:
    return 2 * 2 * texts * width * target.config.hidden_size


def memory_estimate(target: Target, layer: ExitLayer, config: DistillConfig, quantize: str) -> str:
    """One line, in GB: estimated from shapes, not measured."""
    width, size = config.prompt_tokens + config.new_tokens, sum(p.numel() for p in layer.parameters())
    weights = weight_bytes(target.config, quantize) * (1 if is_quantized(target.model) else target.dtype.itemsize / 2)
    logits = 6 * 4 * config.rows * width * target.vocab  # both distributions in float32, their logarithms and gradients
    kept = kept_bytes(target, config.generations, width)
    where = f"{kept / 1e9:.1f} of hidden states in main memory" if kept <= MOST_KEPT else "no hidden states kept: the target runs again"
    parts = f"target {weights / 1e9:.1f}, exit layer with gradients and momentum {12 * size / 1e9:.1f}, logits {logits / 1e9:.1f}"
    return f"memory, estimated in GB: {parts}; {where}"


@torch.no_grad()
def teach(target: Target, ids: Tensor, exit_after: int) -> tuple[Tensor, Tensor]:
    """Run the frozen model over ids (B, T): hidden states after N layers and after the final norm, (B, T, D) bfloat16, on the CPU.

    The frozen head computes the logits again from the second. Keeping logits would take far more memory: the vocabulary is 24 times the
    width.
    """
    with torch.autocast(target.device.type, dtype=torch.bfloat16):
        states = target.run_rows(target.layers[:exit_after], target.embed_rows(ids.to(target.device)))
        finals = target.norm(target.run_rows(target.layers[exit_after:], states))
    return states.bfloat16().cpu(), finals.bfloat16().cpu()


@torch.no_grad()
def evaluate(target: Target, layer: ExitLayer, held: Texts, config: DistillConfig) -> tuple[dict, list[Course]]:
    """On held-out texts: top-1 agreement; overlap, the sum of min(p, q), which is the expected acceptance at T = 1 (not for a twin, which
    has learned the most likely token only); acceptance per position."""
    overlaps, courses = [], []
    for number in range(len(held)):
        text = held.part(slice(number, number + 1))
        first, length = int(text.first), int(text.length)
        states, finals = (part.to(target.device) for part in teach(target, text.ids[:, : length - 1], config.exit_after))
        with torch.autocast(target.device.type, dtype=torch.bfloat16):
            drafting = layer.at(text.temperature.item())
            student, teacher = (rows[0, first - 1 :] for rows in (drafting.rows(target, states), target.head_rows(finals)))  # (n, V)
        law = student.softmax(-1)
        right = (student.argmax(-1) == teacher.argmax(-1)).tolist()
        entropies = torch.special.entr(law).sum(-1).tolist()
        best = student.topk(2).values.float()  # (n, 2)
        leads = (best[:, 0] - best[:, 1]).tolist()
        courses.append(Course([MAX_DRAFT * same for same in right], law.amax(-1).tolist(), entropies, leads))
        if drafting is layer:
            overlaps += torch.minimum(law, teacher.softmax(-1)).sum(-1).tolist()
    matches = [[reach > 0 for reach in course.reach] for course in courses]
    agreed = sum(map(sum, matches)) / max(1, sum(map(len, matches)))
    quality = {"held_out_agreement": round(agreed, 4), "held_out_overlap": round(sum(overlaps) / len(overlaps), 4) if overlaps else None}
    return quality | {"acceptance_per_position": acceptance_per_position(matches)}, courses


def measure(model: str | None, out: Path, device: str, quantize: str, held: Texts, courses: list[Course], config: DistillConfig) -> dict:
    """Measure the engine as users will run it: the costs of its steps, the fixed draft length that replaying held-out texts predicts to be
    best, and its speedup over vanilla on a few of them, greedy, in turns."""
    engine = load_engine(model, str(out), device, "auto", quantize, alone=True)  # only one process measures
    length, replayed = best_fixed(courses, CostTracker(engine.measured, config.exit_after).costs())
    plain = engine.measured.plain
    facts = {"draft_cost": round(engine.measured.draft / plain, 3), "best_draft_length": length}
    facts |= {"predicted_speedup": round(replayed.speed * plain, 3), "level": engine.level}

    def pace(prompt: str, method: str) -> float:  # tokens a second
        settings = {"length": length} if method == "eesd" else {}
        request = Request(prompt, min(64, config.new_tokens), Sampling(), method, "fixed", settings)
        metrics = Metrics.fold(engine.run(request), method)
        return len(metrics.token_ids) / metrics.seconds

    prompts = [engine.target.tokenizer.decode(held.ids[i, : held.first[i]]) for i in range(min(4, len(held)))]
    speedups = [pace(prompt, "eesd") / pace(prompt, "vanilla") for prompt in prompts if prompt.strip()]
    return facts | {"measured_speedup": round(median(speedups), 3) if speedups else None}

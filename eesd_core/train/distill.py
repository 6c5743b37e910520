"""Self-distillation of the exit layer: the frozen model writes, the exit layer learns to predict what it wrote.

The paper says that the layer learns from the target's own output; prompts, temperatures, loss and schedule are ours. Targets are soft
(KL divergence from the target's distribution), hard (cross-entropy with its likeliest token) or a mixture, on text that the target
generated from openings of the corpus.

Rollouts on the layer's own mistakes, which drafters that feed on their own predicted features need (EAGLE), would teach nothing here: a
draft is only ever judged behind accepted drafts, which are the target's own text, and its input is what the target's own first layers
compute from it. What is trained is what is used.
"""

import json
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..model.exit_layer import WEIGHTS, ExitLayer, fingerprint
from ..model.load import EMBEDDED, load_target
from ..model.split import Target
from .corpus import LAST_WEIGHTS, Windows, documents, find_sources, pack
from .pretrain import load_checkpoint, save_checkpoint

HELD_OUT = 128  # generations
TEMPERATURES = (0.0, 0.0, 0.7, 0.8, 1.0)  # greedy weighs most: it is what speed is quoted for


@dataclass(frozen=True)
class DistillConfig:
    exit_after: int
    generations: int = 4096
    prompt_tokens: int = 32
    new_tokens: int = 224
    rows: int = 16
    steps: int = 1500
    hard: float = 0.0  # share of the hard target in the loss
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    seed: int = 1
    save_seconds: float = 300.0


@torch.inference_mode()
def generate_rows(target: Target, prompts: Tensor, new_tokens: int, temperature: float) -> Tensor:
    """Plain batched sampling. prompts (B, P) -> (B, P + new_tokens); the end-of-text token does not stop a row."""
    with torch.autocast(target.device.type, dtype=torch.bfloat16):
        return target.model.generate(
            prompts, attention_mask=torch.ones_like(prompts), min_new_tokens=new_tokens, max_new_tokens=new_tokens,
            do_sample=temperature > 0, temperature=temperature or None, top_k=0 if temperature else None,
        )  # fmt: skip


def collect(target: Target, data: list[Path], work: Path, config: DistillConfig) -> Tensor:
    """The model's own text (G, P + new), kept in `work` batch by batch, so that an interruption loses one batch at most."""
    work.mkdir(parents=True, exist_ok=True)
    arrays = {name: pack(target.tokenizer, _openings(paths)) for name, paths in find_sources(data).items()}
    windows = Windows(arrays, LAST_WEIGHTS)
    batch, parts = 128, []
    began, made = time.monotonic(), 0
    for index in range(config.generations // batch):
        path = work / f"generations-{index:04d}.safetensors"
        if not path.exists():
            rng = np.random.default_rng([config.seed, index])
            prompts = torch.from_numpy(windows.batch(rng, batch, config.prompt_tokens)).to(target.device)
            torch.manual_seed(config.seed * 100_000 + index)
            rows = generate_rows(target, prompts, config.new_tokens, TEMPERATURES[index % len(TEMPERATURES)])
            save_file({"ids": rows.cpu().to(torch.int32)}, path)
            made += 1
            left = (time.monotonic() - began) / made * (config.generations // batch - index - 1) / 60
            print(f"generated {batch * (index + 1)} of {config.generations} texts, {left:.0f} min left", flush=True)
        parts.append(load_file(path)["ids"].long())
    return torch.cat(parts)


def _openings(paths: list[Path], characters: int = 4000, most: int = 1500):
    """Beginnings of a part of the documents are enough to draw prompts from."""
    return (text[:characters] for text in islice(documents(paths), most))


def distill(model: str | None, data: list[Path], work: Path, out: Path, config: DistillConfig, device: str) -> dict:
    """Train and save an exit layer; prints and returns its facts.

    It starts from the model's own exit layer of this depth, where there is one, else from the last layer. Resumes from `work`.
    """
    target = load_target(model or EMBEDDED, device, "float32")
    target.model.requires_grad_(False)
    target.model.config._attn_implementation = "sdpa"
    layer = ExitLayer(target, config.exit_after)
    folder = Path(model or EMBEDDED)
    if (folder / WEIGHTS).exists() and (own := ExitLayer.load(folder, target)).exit_after == config.exit_after:
        layer = own
    work = work / fingerprint(target)
    rows = collect(target, data, work, config)
    lessons = [teach(target, part, config.exit_after) for part in rows.split(32)]
    states, finals = (torch.cat(parts) for parts in zip(*lessons))  # (G, T, D) each, bfloat16
    layer.requires_grad_(True)
    matrices, gains = ([p for p in layer.parameters() if p.ndim == dims] for dims in (2, 1))
    optimizers = [
        torch.optim.Muon(matrices, lr=config.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(gains, lr=config.learning_rate, weight_decay=0.0),
    ]
    train = len(rows) - HELD_OUT

    @torch.compile
    def loss_of(states: Tensor, finals: Tensor) -> Tensor:  # (B, T, D) each
        student, teacher = student_logits(target, layer, states).float(), target.model.lm_head(finals).float()
        law = student.log_softmax(-1)
        losses = torch.nn.functional.kl_div(law, teacher.log_softmax(-1), log_target=True, reduction="none").sum(-1)  # (B, T)
        if config.hard:
            hard = torch.nn.functional.nll_loss(law.flatten(0, 1), teacher.argmax(-1).flatten(), reduction="none").view_as(losses)
            losses = losses + config.hard * (hard - losses)
        return losses[:, config.prompt_tokens // 2 :].mean()  # the first positions are guesses about somebody else's text

    checkpoint, first = work / f"exit-after-{config.exit_after}.safetensors", 0
    if checkpoint.exists():
        load_checkpoint(checkpoint, layer, optimizers)
        with safe_open(checkpoint, "pt") as header:
            first = int(header.metadata()["step"])
        print(f"resuming at step {first}", flush=True)
    generator = torch.Generator().manual_seed(config.seed + first)
    began = saved = time.monotonic()
    total = 0.0
    for step in range(first, config.steps):
        rate = config.learning_rate * min((step + 1) / config.warmup_steps, 1 - step / config.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        picks = torch.randint(train, (config.rows,), generator=generator)
        with torch.autocast(target.device.type, dtype=torch.bfloat16):
            loss = loss_of(states[picks].to(target.device), finals[picks].to(target.device))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - began) / (step + 1 - first) * (config.steps - step - 1) / 60
            print(f"step {step + 1}: loss {total / 50:.4f} nats, {left:.1f} min left", flush=True)
            total = 0.0
        if step + 1 == config.steps or time.monotonic() - saved > config.save_seconds:
            save_checkpoint(checkpoint, layer, optimizers, {"step": str(step + 1)})
            saved = time.monotonic()
    facts = asdict(config) | {"data": "the model's own generations"}
    facts |= evaluate(target, layer, states[train:], finals[train:], config)
    layer.save(out, target, facts)
    print(json.dumps(facts))
    return facts


@torch.no_grad()
def teach(target: Target, ids: Tensor, exit_after: int) -> tuple[Tensor, Tensor]:
    """The frozen model over ids (B, T): hidden states after N layers and after the final norm, (B, T, D) bfloat16, on the CPU.

    Both are kept instead of the logits, which the frozen head makes again from the second: vocabulary is 24 times the width.
    """
    with torch.autocast(target.device.type, dtype=torch.bfloat16):
        found = target.model(ids.to(target.device), use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states
    return found[exit_after].bfloat16().cpu(), found[-1].bfloat16().cpu()


def student_logits(target: Target, layer: ExitLayer, states: Tensor) -> Tensor:
    """The exit layer over whole rows, without a cache. (B, T, D) -> (B, T, V)."""
    length = states.shape[1]
    rope = target.rope(0, length)
    hidden = layer.layer(states.float(), attention_mask=None, position_embeddings=rope, is_causal=True)
    return target.model.lm_head(layer.norm(hidden))


@torch.no_grad()
def evaluate(target: Target, layer: ExitLayer, states: Tensor, finals: Tensor, config: DistillConfig) -> dict:
    """On held-out generations: top-1 agreement, and overlap (sum of min(p, q), the expected acceptance at T = 1)."""
    agreement, overlap = [], []
    for part, final in zip(states.split(16), finals.split(16)):
        part, final = part.to(target.device), final.to(target.device).float()
        student = student_logits(target, layer, part)[:, config.prompt_tokens :]
        teacher = target.model.lm_head(final)[:, config.prompt_tokens :]
        agreement.append((student.argmax(-1) == teacher.argmax(-1)).float().mean())
        overlap.append(torch.minimum(student.softmax(-1), teacher.softmax(-1)).sum(-1).mean())
    means = {"held_out_agreement": torch.stack(agreement).mean(), "held_out_overlap": torch.stack(overlap).mean()}
    return {name: round(value.item(), 4) for name, value in means.items()}

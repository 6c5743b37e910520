"""Self-distillation of the exit layer: the frozen model writes, the exit layer learns to predict what it wrote.

The paper says that the layer learns from the target's own output; prompts, temperatures, loss and schedule are ours. Targets are soft:
KL divergence from the target's distribution, on text that the target generated from openings of the corpus.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..model.exit_layer import ExitLayer
from ..model.load import EMBEDDED, load_target
from ..model.split import Target
from .corpus import SOURCE_WEIGHTS, Windows, documents, find_sources, pack

TEMPERATURES = (0.0, 0.0, 0.7, 0.8, 1.0)  # greedy weighs most: it is what speed is quoted for


@dataclass(frozen=True)
class DistillConfig:
    exit_after: int = 2
    generations: int = 4096
    prompt_tokens: int = 32
    new_tokens: int = 224
    rows: int = 32
    steps: int = 1500
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    seed: int = 1


@torch.inference_mode()
def generate_rows(target: Target, prompts: Tensor, new_tokens: int, temperature: float) -> Tensor:
    """Plain batched sampling. prompts (B, P) -> (B, P + new_tokens); the end-of-text token does not stop a row."""
    out = target.model.generate(
        prompts, attention_mask=torch.ones_like(prompts), min_new_tokens=new_tokens, max_new_tokens=new_tokens,
        do_sample=temperature > 0, temperature=temperature or None, top_k=0 if temperature else None,
    )  # fmt: skip
    return out


def collect(target: Target, data: Path, work: Path, config: DistillConfig) -> Tensor:
    """The model's own text (G, P + new), kept in `work` batch by batch, so that an interruption loses one batch at most."""
    work.mkdir(parents=True, exist_ok=True)
    arrays = {name: pack(target.tokenizer, _openings(paths)) for name, paths in find_sources(data).items()}
    windows = Windows(arrays, SOURCE_WEIGHTS)
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


def _openings(paths: list[Path], characters: int = 20_000):
    """The beginning of every document is enough to draw prompts from."""
    return (text[:characters] for text in documents(paths))


def distill(model: str | None, data: Path, work: Path, out: Path, config: DistillConfig, device: str) -> dict:
    """Train and save an exit layer; prints and returns its facts."""
    target = load_target(model or EMBEDDED, device, "float32" if device == "cpu" else "auto")
    target.model.requires_grad_(False)
    target.model.config._attn_implementation = "sdpa"
    rows = collect(target, data, work, config)
    held, rows = rows[-128:], rows[:-128]
    layer = ExitLayer(target, config.exit_after)
    layer.requires_grad_(True)
    optimizers = [
        torch.optim.Muon([p for p in layer.parameters() if p.ndim == 2], lr=config.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in layer.parameters() if p.ndim == 1], lr=config.learning_rate, weight_decay=0.0),
    ]
    generator = torch.Generator().manual_seed(config.seed)
    began, total = time.monotonic(), 0.0
    for step in range(config.steps):
        rate = config.learning_rate * min((step + 1) / config.warmup_steps, 1 - step / config.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        picks = torch.randint(len(rows), (config.rows,), generator=generator)
        states, teacher = teach(target, rows[picks].to(target.device), config.exit_after)
        with torch.autocast(target.device.type, dtype=torch.bfloat16):
            student = student_logits(target, layer, states)
        loss = torch.nn.functional.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - began) / (step + 1) * (config.steps - step - 1) / 60
            print(f"step {step + 1}: KL {total / 50:.4f} nats, {left:.1f} min left", flush=True)
            total = 0.0
    facts = asdict(config) | {"data": "the model's own generations", "loss": "KL on the target's logits"}
    facts |= evaluate(target, layer, held.to(target.device), config)
    layer.save(out, target, facts)
    print(json.dumps(facts))
    return facts


@torch.no_grad()
def teach(target: Target, ids: Tensor, exit_after: int) -> tuple[Tensor, Tensor]:
    """The frozen model over ids (B, T): hidden states after N layers (B, T, D), and its logits (B * T, V) in float32."""
    with torch.autocast(target.device.type, dtype=torch.bfloat16):
        found = target.model(ids, use_cache=False, output_hidden_states=True)
    return found.hidden_states[exit_after].float(), found.logits.float().flatten(0, 1)


def student_logits(target: Target, layer: ExitLayer, states: Tensor) -> Tensor:
    """(B, T, D) -> (B * T, V) float32: the exit layer over whole rows, without a cache."""
    rows, length = states.shape[:2]
    rope = target._cos[:, :length], target._sin[:, :length]
    causal = torch.full((length, length), -torch.inf, device=states.device).triu(1)[None, None]
    hidden = layer.layer(states, attention_mask=causal.expand(rows, 1, -1, -1), position_embeddings=rope)
    return target.model.lm_head(layer.norm(hidden)).float().flatten(0, 1)


@torch.no_grad()
def evaluate(target: Target, layer: ExitLayer, ids: Tensor, config: DistillConfig) -> dict:
    """Teacher-forced on held-out generations: top-1 agreement, and overlap (sum of min(p, q), expected acceptance at T = 1)."""
    agreement, overlap = [], []
    for rows in ids.split(16):
        states, teacher = teach(target, rows, config.exit_after)
        student = student_logits(target, layer, states)
        keep = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
        keep[:, config.prompt_tokens :] = True
        keep = keep.flatten()
        agreement.append((student.argmax(-1) == teacher.argmax(-1))[keep].float().mean())
        overlap.append(torch.minimum(student.softmax(-1), teacher.softmax(-1)).sum(-1)[keep].mean())
    return {"held_out_agreement": round(torch.stack(agreement).mean().item(), 4), "held_out_overlap": round(torch.stack(overlap).mean().item(), 4)}

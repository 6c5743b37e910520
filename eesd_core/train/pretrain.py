"""Pre-training of the embedded model: a deep and thin Llama, Muon for matrices, AdamW for the rest.

The schedule is trapezoidal (warm-up, constant, linear cool-down over the last part), so that the token budget may be changed
on resume: a background run goes on at constant rate until one decides when it shall end. Works on CPU and CUDA alike.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..model.load import choose_device
from .corpus import Windows, documents, find_sources, pack
from .tokenizer import train_tokenizer

VALIDATION_TOKENS = 32_768  # cut from the end of every source of ten times that size


@dataclass(frozen=True)
class PretrainConfig:
    """Sizes are those of the shipped model. Rates and budget: ours."""

    layers: int = 20
    hidden: int = 256
    mlp: int = 640
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 6144
    context: int = 1024
    window: int = 256  # tokens a training row
    rows: int = 32  # rows a step
    tokens: int = 20_000_000
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    cooldown: float = 0.3  # share of the tokens over which the rate falls to zero
    seed: int = 1
    save_seconds: float = 300.0


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(config.seed)
    end = tokenizer.eos_token_id
    llama = LlamaConfig(
        vocab_size=config.vocab,
        hidden_size=config.hidden,
        intermediate_size=config.mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = LlamaForCausalLM(llama)
    with torch.no_grad():  # residual branches start small, in proportion to depth (GPT-2)
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.mul_((2 * config.layers) ** -0.5)
    model.generation_config = GenerationConfig(bos_token_id=end, eos_token_id=end, pad_token_id=end)
    return model


def prepare_corpus(data: Path, work: Path, config: PretrainConfig) -> tuple[PreTrainedTokenizerFast, dict[str, np.ndarray]]:
    """Tokenizer and packed sources, made once and kept in `work`."""
    sources = find_sources(data)
    if not (work / "tokenizer" / "tokenizer.json").exists():
        print(f"training a tokenizer of {config.vocab} tokens on {', '.join(sources)}", flush=True)
        texts = (text[:200_000] for paths in sources.values() for text in documents(paths))
        train_tokenizer(texts, config.vocab, config.context).save_pretrained(work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    arrays = {}
    for name, paths in sources.items():
        packed = work / f"{name}.npy"
        if not packed.exists():
            np.save(packed, pack(tokenizer, documents(paths)))
        arrays[name] = np.load(packed, mmap_mode="r")
        print(f"{name}: {len(arrays[name]) / 1e6:.2f} M tokens", flush=True)
    return tokenizer, arrays


def split_validation(arrays: dict[str, np.ndarray], window: int) -> tuple[dict[str, np.ndarray], Tensor]:
    """Cut the end off the larger sources. Returns the rest and validation rows (n, window + 1)."""
    train, rows = {}, []
    for name, tokens in arrays.items():
        if len(tokens) < 10 * VALIDATION_TOKENS:
            train[name] = tokens
            continue
        train[name], held = tokens[:-VALIDATION_TOKENS], tokens[-VALIDATION_TOKENS:]
        count = len(held) // (window + 1)
        rows.append(held[: count * (window + 1)].reshape(count, window + 1))
    return train, torch.from_numpy(np.concatenate(rows).astype(np.int64))


def learning_rate(step: int, steps: int, config: PretrainConfig) -> float:
    """Trapezoid: up over `warmup_steps`, constant, down to zero over the last `cooldown` of the run."""
    up = (step + 1) / config.warmup_steps
    down = (steps - step) / (config.cooldown * steps)
    return config.learning_rate * max(0.0, min(1.0, up, down))


def _optimizers(model: LlamaForCausalLM, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=config.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def save_checkpoint(path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], facts: dict[str, str]) -> None:
    """Model, optimizer states and progress in one safetensors file, replaced in one step so that a kill leaves the old one."""
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{j}.{key}": value.clone() for key, value in state.items()}
    save_file(tensors, path.with_suffix(".new"), metadata=facts)
    path.with_suffix(".new").replace(path)


def load_checkpoint(path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer]) -> None:
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{i}."):
                _, _, j, name = key.split(".")
                state.setdefault(int(j), {})[name] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def pretrain(data: Path, work: Path, config: PretrainConfig, device: str) -> LlamaForCausalLM:
    """Train until the token budget is spent; resumes from `work/checkpoint.safetensors`. Returns the model in float32.

    Writes `work/log.jsonl` (step, tokens, loss, validation loss, rate, tokens per second).
    """
    work.mkdir(parents=True, exist_ok=True)
    tokenizer, arrays = prepare_corpus(data, work, config)
    arrays, held = split_validation(arrays, config.window)
    windows = Windows(arrays)
    model = build_model(config, tokenizer).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters on {device}", flush=True)
    optimizers = _optimizers(model, config)
    checkpoint, log = work / "checkpoint.safetensors", work / "log.jsonl"
    done = 0  # tokens
    if checkpoint.exists():
        load_checkpoint(checkpoint, model, optimizers)
        with safe_open(checkpoint, "pt") as header:
            done = int(header.metadata()["tokens"])
        print(f"resuming at {done / 1e6:.2f} M tokens", flush=True)

    @torch.compile
    def loss_of(rows: Tensor) -> Tensor:  # (B, T + 1)
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits  # (B, T, V)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())

    @torch.no_grad()
    def validate() -> float:
        with torch.autocast(device, dtype=torch.bfloat16):
            losses = [loss_of(rows.to(device)).item() for rows in held.split(config.rows) if len(rows) == config.rows]
        return sum(losses) / len(losses)

    per_step = config.rows * config.window
    steps, step = config.tokens // per_step, done // per_step
    rng = np.random.default_rng([config.seed, step])
    saved = began = time.monotonic()
    first, total, since = step, 0.0, step
    while step < steps:
        rate = learning_rate(step, steps, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        rows = torch.from_numpy(windows.batch(rng, config.rows, config.window + 1)).to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = loss_of(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        step += 1
        due = step == steps or time.monotonic() - saved > config.save_seconds
        if due or step % 20 == 0:
            speed = (step - first) * per_step / (time.monotonic() - began)
            entry = {"step": step, "tokens": step * per_step, "loss": round(total / (step - since), 4), "rate": round(rate, 6)}
            entry["tokens_per_second"] = round(speed)
            if due:
                save_checkpoint(checkpoint, model, optimizers, {"tokens": str(step * per_step), "config": json.dumps(asdict(config))})
                saved = time.monotonic()
                entry["validation_loss"] = round(validate(), 4)
            with log.open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            left = (steps - step) * per_step / speed / 60
            print(f"{entry}  {left:.0f} min left", flush=True)
            total, since = 0.0, step
    return model


def train_base(data: Path, work: Path, out: Path, config: PretrainConfig, device: str) -> None:
    """The command: train (or resume), then write a standard transformers checkpoint in bfloat16, with its log, to `out`."""
    model = pretrain(data, work, config, choose_device(device).type)
    model.to(torch.bfloat16).save_pretrained(out)
    PreTrainedTokenizerFast.from_pretrained(work / "tokenizer").save_pretrained(out)
    entries = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    (out / "training_log.json").write_text(json.dumps({"config": asdict(config), "entries": entries[::5] + entries[-1:]}) + "\n")
    print(f"written to {out}")

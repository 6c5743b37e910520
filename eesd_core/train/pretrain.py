"""Pre-training of the embedded model: a deep and thin Llama, Muon for matrices, AdamW for the rest.

An exit layer is trained along with it (LayerSkip's idea, arXiv 2404.16710; the loss is ours). It learns the model's own distribution, and
its gradient reaches the first N layers, so that these come to hold what an early exit needs. Its teacher is detached, so it does not pull
at the model's own distribution. With `exit_pull` (ours) the model is also pulled towards its exit layer by their KL divergence. That costs
little likelihood, and makes the model's text much easier to draft.

In the last stage a share of the rows may be the model's own text, in which it unlearns repetition (unlikelihood.py).

The schedule is trapezoidal (warm-up, constant, linear cool-down over the last part), so that the token budget may be changed on resume:
a background run continues at a constant rate until somebody decides when it ends. Works on CPU and CUDA.
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

from ..errors import UserError
from ..heads.exit_layer import ExitLayer
from ..heads.files import WEIGHTS
from ..model.load import choose_device
from ..model.target import Target
from ..replacing import replaced
from .corpus import LAST_WEIGHTS, SOURCE_WEIGHTS, Windows, documents, find_sources, pack
from .plot import loss_curve
from .tokenizer import CHAT_TEMPLATE, TURN_TOKENS, train_tokenizer
from .unlikelihood import OwnText, completes_repetition

VALIDATION_TOKENS = 32_768  # cut from the end of every source of at least ten times that size


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
    window: int = 256  # tokens per training row
    rows: int = 32  # rows per step
    tokens: int = 20_000_000
    learning_rate: float = 4e-3
    exit_after: int = 1
    exit_weight: float = 0.5  # of the exit layer's loss, relative to the model's
    exit_pull: float = 0.0  # weight of the loss that pulls the model towards its exit layer
    unlikelihood: float = 0.0  # share of the last stage's rows that the model writes itself, to unlearn repetition
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
    return model


def prepare_corpus(
    data: list[Path], work: Path, start: Path | None, config: PretrainConfig
) -> tuple[PreTrainedTokenizerFast, dict[str, np.ndarray]]:
    """The tokenizer (that of `start`, or a new one) and the packed sources. Both are made once and kept in `work`."""
    sources = find_sources(data)
    work.mkdir(parents=True, exist_ok=True)
    if start and not (work / "tokenizer").exists():
        PreTrainedTokenizerFast.from_pretrained(start).save_pretrained(work / "tokenizer")
    if not (work / "tokenizer" / "tokenizer.json").exists():
        print(f"training a tokenizer of {config.vocab} tokens on {', '.join(sources)}", flush=True)
        texts = (text[:200_000] for paths in sources.values() for text in documents(paths))
        train_tokenizer(texts, config.vocab, config.context).save_pretrained(work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer", chat_template=CHAT_TEMPLATE)
    arrays = {}
    for name, paths in sources.items():
        packed = work / f"{name}.npy"
        if not packed.exists():
            np.save(packed, pack(tokenizer, documents(paths)))
        arrays[name] = np.load(packed, mmap_mode="r")
        print(f"{name}: {len(arrays[name]) / 1e6:.2f} M tokens", flush=True)
    return tokenizer, arrays


def split_validation(arrays: dict[str, np.ndarray], window: int) -> tuple[dict[str, np.ndarray], Tensor]:
    """Cut the end off the larger sources. Returns the rest, and validation rows (n, window + 1)."""
    train, rows = {}, [np.empty((0, window + 1), np.uint16)]
    for name, tokens in arrays.items():
        if len(tokens) < 10 * VALIDATION_TOKENS or name in LAST_WEIGHTS.keys() - SOURCE_WEIGHTS.keys():
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


def forward(model: LlamaForCausalLM, layer: ExitLayer, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Whole rows without a cache. ids (B, T) -> logits of the model and of the exit layer, (B, T, V) each."""
    hidden = model.model.embed_tokens(ids)  # (B, T, D)
    rope = model.model.rotary_emb(hidden, torch.arange(ids.shape[1], device=ids.device)[None])
    for depth, block in enumerate(model.model.layers, 1):
        hidden = block(hidden, attention_mask=None, position_embeddings=rope, is_causal=True)
        if depth == layer.exit_after:
            early = layer.layers[0](hidden, attention_mask=None, position_embeddings=rope, is_causal=True)
    return model.lm_head(model.model.norm(hidden)), model.lm_head(layer.norm(early))


def losses(model: LlamaForCausalLM, layer: ExitLayer, rows: Tensor, signs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rows, signs (B, T + 1) -> losses of the model and of the exit layer, and the distance between them, in nats per token.

    The model's loss: -log p of tokens with sign 1, -log(1 - p) with sign -1, nothing with sign 0. The exit layer's: cross-entropy with the
    model's distribution, everywhere. The distance: KL(model || exit layer), everywhere; its gradient moves the model only.
    """
    final, early = (logits.float() for logits in forward(model, layer, rows[:, :-1]))  # (B, T, V)
    logs, early_logs = final.log_softmax(-1), early.log_softmax(-1)
    log, signs = logs.gather(-1, rows[:, 1:, None]).squeeze(-1), signs[:, 1:]  # (B, T), of the next tokens
    unlikely = -torch.log1p(-log.exp().clamp_max(1 - 1e-6))
    exit_loss = -(logs.detach().exp() * early_logs).sum(-1).mean()
    distance = (logs.exp() * (logs - early_logs.detach())).sum(-1).mean()
    return torch.where(signs < 0, unlikely, -log * signs).mean(), exit_loss, distance


def _optimizers(model: torch.nn.Module, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=config.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def save_checkpoint(path: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], facts: dict[str, str]) -> None:
    """Save model, optimizer states and progress in one safetensors file, replaced atomically: a killed process leaves the old one."""
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{j}.{key}": value.clone() for key, value in state.items()}
    with replaced(path) as part:
        save_file(tensors, part, metadata=facts)


def load_checkpoint(path: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
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


def pretrain(
    data: list[Path], work: Path, start: Path | None, config: PretrainConfig, device: str, corpus: Path
) -> tuple[LlamaForCausalLM, ExitLayer]:  # fmt: skip
    """Train until the token budget is spent, from `start` (a checkpoint folder) or from scratch; resumes from
    `work/checkpoint.safetensors`. `corpus` keeps the packed text. Returns the model and its exit layer in float32. Raises UserError for a
    budget that does not fit.

    Writes `work/log.jsonl` (step, tokens, loss, validation loss, rate, tokens per second).
    """
    per_step = config.rows * config.window
    if not 0 < per_step <= config.tokens:
        raise UserError(f"{config.tokens:,} tokens are not one step of {config.rows} rows of {config.window}: ask for more with --tokens")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer, arrays = prepare_corpus(data, corpus, start, config)
    arrays, held = split_validation(arrays, config.window)
    windows, last_windows = Windows(arrays, SOURCE_WEIGHTS), Windows(arrays, LAST_WEIGHTS)
    model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32) if start else build_model(config, tokenizer)
    target = Target(model.to(device), tokenizer, "embedded model")
    layer = ExitLayer.load(start, target) if start and (start / WEIGHTS).exists() else ExitLayer(target, config.exit_after)
    layer.greedy = None  # only distillation makes a twin
    own = OwnText(target, last_windows, config.window + 1)
    both = torch.nn.ModuleDict({"base": model, "exit": layer})
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters on {device}", flush=True)
    optimizers = _optimizers(both, config)
    checkpoint, log = work / "checkpoint.safetensors", work / "log.jsonl"
    done = 0  # tokens
    if checkpoint.exists():
        load_checkpoint(checkpoint, both, optimizers)
        with safe_open(checkpoint, "pt") as header:
            done = int(header.metadata()["tokens"])
        print(f"resuming at {done / 1e6:.2f} M tokens", flush=True)
        if done > config.tokens:
            raise UserError(f"{checkpoint} has seen {done:,} tokens already: ask for more with --tokens, or give another --work")
        entries = log.read_text().splitlines() if log.exists() else []
        with replaced(log) as part:
            part.write_text("".join(f"{line}\n" for line in entries if json.loads(line)["tokens"] <= done))  # later steps run again

    compiled = torch.compile(losses)

    @torch.no_grad()
    def validate() -> dict:
        """{} where there was too little text to hold any out."""
        with torch.autocast(device, dtype=torch.bfloat16):
            parts = [rows.to(device) for rows in held.split(config.rows) if len(rows) == config.rows]
            found = [compiled(model, layer, rows, torch.ones_like(rows))[0].item() for rows in parts]
        return {"validation_loss": round(sum(found) / len(found), 4)} if found else {}

    steps, step = config.tokens // per_step, done // per_step
    rng = np.random.default_rng([config.seed, step])
    saved = began = time.monotonic()
    first, total, exit_total, since = step, 0.0, 0.0, step
    while step < steps:
        rate = learning_rate(step, steps, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        late = step >= (1 - config.cooldown) * steps
        written = round(config.unlikelihood * config.rows) if late else 0
        text = (last_windows if late else windows).batch(rng, config.rows - written, config.window + 1)
        mine = own.batch(rng, written)
        rows = torch.from_numpy(np.concatenate([text, mine])).to(device)
        signs = torch.from_numpy(np.concatenate([np.ones_like(text), -completes_repetition(mine).astype(np.int64)])).to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss, exit_loss, distance = compiled(model, layer, rows, signs)
        (loss + config.exit_weight * exit_loss + config.exit_pull * distance).backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        exit_total += exit_loss.item()
        step += 1
        due = step == steps or time.monotonic() - saved > config.save_seconds
        if due or step % 20 == 0:
            speed = (step - first) * per_step / (time.monotonic() - began)
            entry = {"step": step, "tokens": step * per_step, "loss": round(total / (step - since), 4), "rate": round(rate, 6)}
            entry |= {"exit_loss": round(exit_total / (step - since), 4), "tokens_per_second": round(speed)}
            if due:
                save_checkpoint(checkpoint, both, optimizers, {"tokens": str(step * per_step), "config": json.dumps(asdict(config))})
                saved = time.monotonic()
                entry |= validate()
            with log.open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            left = (steps - step) * per_step / speed / 60
            print(f"{entry}  {left:.0f} min left", flush=True)
            total, exit_total, since = 0.0, 0.0, step
    return model, layer


def train_base(
    data: list[Path], work: Path, start: Path | None, out: Path, config: PretrainConfig, device: str, corpus: Path | None = None
) -> None:
    """The command: train (or resume), then write a standard transformers checkpoint in bfloat16, its exit layer and its log to `out`.

    `corpus`: where the packed text is kept, so that several models of one vocabulary can share it; None: in `work`.
    """
    corpus = corpus or work
    model, layer = pretrain(data, work, start, config, choose_device(device).type, corpus)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(corpus / "tokenizer", chat_template=CHAT_TEMPLATE)
    end, turn_end = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(TURN_TOKENS[-1])
    model.generation_config = GenerationConfig(bos_token_id=end, eos_token_id=[end, turn_end], pad_token_id=end)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    layer.save(out, Target(model, tokenizer, "embedded model"), {"trained": "along with the model", **asdict(config)})
    entries = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    kept = [e for e in entries if "validation_loss" in e or e["step"] % 100 == 0 or e is entries[-1]]
    earlier = start / "training_log.json" if start else Path()
    stages = json.loads(earlier.read_text())["stages"] if earlier.is_file() else []
    stages.append({"config": asdict(config), "entries": kept})
    with replaced(out / "training_log.json") as figures, replaced(out / "training_log.svg") as curve:
        figures.write_text(json.dumps({"stages": stages}) + "\n")
        curve.write_text(loss_curve(stages))
    print(f"written to {out}")

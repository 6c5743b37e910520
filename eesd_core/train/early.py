"""A model that meets its exit layer half way: a small LoRA on its last layers, trained together with the exit layer (`train-early`). Ours.

A frozen model's next token is often a near tie that no early exit can guess. The model loses little if it then takes the exit layer's side,
so its last layers learn to agree with the exit layer. The price: the changed model writes other text than the original. There are three
losses, over places of the model's own texts and some places of the requests, so that the model also stays itself on other people's text:

- *stay*: KL(original model || changed model);
- *pull*, times `pull`: the chance that a draft is refused, 1 - sum of min(p, q), with both distributions at temperature `SHARP`, between
  greedy and sampled decoding. Its slope is almost zero where the exit layer is far off, so the model changes only where that helps;
- *follow*, for the exit layer only: KL(changed model || exit layer).

No layer below `first` changes, so states up to there are read from kept texts (lessons.py), and only the layers above run here.
Distributions are over a list of tokens as in distill_texts.py, plus random tokens of the whole vocabulary, so that *stay* reaches every
token before long.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError
from ..heads.exit_layer import ExitLayer
from ..heads.shortlist import Shortlist, text_logits
from ..model.load import choose_device, load_target
from ..model.lora import A, B, merge_lora
from ..model.target import Target
from ..replacing import replaced
from .distill_texts import DRAWN, PLACES, as_stored
from .lessons import Batch, Lessons, Text
from .muon import Muon
from .pretrain import load_checkpoint, save_checkpoint
from .students import computing, deep_of, hidden_at

SHARP = 0.7  # temperature of the distributions in `pull`
OTHERS = 1024  # random tokens of the whole vocabulary in a step's list
ASKED = 0.25  # share of the places in requests that count
LOOKS, LOOKED = 50, 24  # steps between two evaluations on held-out texts, and the number of texts
FILE = "early.safetensors"


@dataclass(frozen=True)
class EarlyConfig:
    first: int  # layers from this number on change
    rank: int = 16
    pull: float = 0.3
    rows: int = 16  # texts per step
    steps: int = 600
    learning_rate: float = 1e-3  # of the LoRA
    exit_rate: float = 4e-3  # of the exit layer
    warmup_steps: int = 20
    seed: int = 1
    save_seconds: float = 300.0

    def __post_init__(self):
        if min(self.rank, self.rows, self.steps) < 1 or self.pull < 0:
            raise UserError("--rank, --rows and --steps must be at least 1, and --pull at least 0")


class LowRank(nn.Module):
    """W + B A in all linear layers of the target's layers from number `first` on, while it is attached."""

    def __init__(self, target: Target, first: int, rank: int, seed: int):
        super().__init__()
        names = {module: name for name, module in target.model.named_modules()}
        found = [(names[m], m) for layer in target.layers[first:] for m in layer.modules() if isinstance(m, nn.Linear)]
        generator = torch.Generator().manual_seed(seed)
        self.names, self.modules_changed = [name for name, _ in found], [module for _, module in found]
        down = [torch.randn(rank, m.in_features, generator=generator) / m.in_features**0.5 for _, m in found]
        self.a = nn.ParameterList(weight.to(target.device) for weight in down)  # (r, in) each
        self.b = nn.ParameterList(torch.zeros(m.out_features, rank, device=target.device) for _, m in found)  # (out, r)
        self.hooks = [module.register_forward_hook(self._adding(i)) for i, module in enumerate(self.modules_changed)]

    def _adding(self, i: int):
        return lambda module, given, made: made + given[0] @ self.a[i].T @ self.b[i].T

    def detach(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def save(self, path: Path) -> None:
        """Save as merge_lora reads it."""
        pairs = zip(self.names, self.a, self.b)
        tensors = {name + end: p.detach().bfloat16().contiguous() for name, a, b in pairs for end, p in ((A, a), (B, b))}
        with replaced(path) as part:
            save_file(tensors, part)


class Both(nn.Module):
    """All that is trained, as one module for checkpoints."""

    def __init__(self, lora: LowRank, layer: ExitLayer):
        super().__init__()
        self.lora, self.layer = lora, layer


def train_early(
    model: str | None, exit_layer: Path, folders: Sequence[Path], work: Path, out: Path, config: EarlyConfig, device: str = "auto"
) -> dict:  # fmt: skip
    """Train, evaluate on held-out texts, and write `out`/early.safetensors and the exit layer to `out`/early; prints and returns the facts.
    Resumes from `work`. `exit_layer`: the exit layer to start from. `folders` hold the texts; only texts of the first are held out. Raises
    UserError."""
    place = choose_device(device)
    target = load_target(model, device, "float32" if place.type == "cpu" else "bfloat16", alone=True)
    target.model.requires_grad_(False)
    target.see_whole_rows()
    layer = ExitLayer.load(exit_layer, target).float()
    if layer.shortlist is None or layer.greedy:
        raise UserError(f"the exit layer in {exit_layer} must have a shortlist and no twin: train one with `distill --texts`")
    if not layer.exit_after < config.first < target.depth:
        raise UserError(f"--first must be from {layer.exit_after + 1} to {target.depth - 1}: layers above the exit change")
    words, bits = layer.shortlist, layer.bits
    layer.read_only(None)
    lora = LowRank(target, config.first, config.rank, config.seed)
    lessons = Lessons(*folders)
    lessons.check_fit(target)
    work.mkdir(parents=True, exist_ok=True)
    curve = train(target, layer, lora, lessons, words, bits, config, work / "early.safetensors")
    quality = look(target, layer, lessons, lessons.held, words, bits, config)
    lora.detach()
    out.mkdir(parents=True, exist_ok=True)
    lora.save(out / FILE)
    merge_lora(target.model, out / FILE)
    facts = asdict(config) | {"data": "the model's own texts", "texts": len(lessons.texts), "curve": curve} | quality
    layer.read_only(words)
    layer.bits = bits
    layer.save(out / "early", target, facts)
    print(json.dumps({name: value for name, value in facts.items() if name != "curve"}))
    return facts


def train(
    target: Target, layer: ExitLayer, lora: LowRank, lessons: Lessons, words: Shortlist, bits: int, config: EarlyConfig,
    checkpoint: Path,
) -> list[dict]:  # fmt: skip
    """Gradient steps in place, from `checkpoint` on where there is one. Returns the evaluations on held-out texts along the way. Raises
    UserError if the checkpoint's settings differ."""
    layer.requires_grad_(True)
    both = Both(lora, layer)
    matrices, gains = ([p for p in layer.parameters() if (p.ndim == 2) == square] for square in (True, False))
    rates = config.learning_rate, config.exit_rate, config.exit_rate
    optimizers = [
        torch.optim.AdamW(lora.parameters(), rates[0], weight_decay=0.0, betas=(0.9, 0.99)),
        Muon(matrices, rates[1]),
        torch.optim.AdamW(gains, rates[2], weight_decay=0.0),
    ]
    settings = json.dumps({name: value for name, value in asdict(config).items() if name not in ("steps", "save_seconds")})
    first, curve = 0, []
    if checkpoint.exists():
        with safe_open(checkpoint, "pt") as header:
            before = header.metadata()
        if before["settings"] != settings:
            raise UserError(f"{checkpoint} was trained with other settings ({before['settings']}): delete it, or give another --work")
        load_checkpoint(checkpoint, both, optimizers)
        first, curve = int(before["step"]), json.loads(before["curve"])
        print(f"resuming at step {first}", flush=True)
    began = saved = time.monotonic()
    sums = torch.zeros(4)
    for step, picks in zip(range(first, config.steps), lessons.batches(lessons.texts, config.rows, config.seed, first)):
        for optimizer, rate in zip(optimizers, rates):
            for group in optimizer.param_groups:
                group["lr"] = rate * min((step + 1) / config.warmup_steps, 1 - step / config.steps)
        stay, pull, follow = losses(target, layer, lessons, picks, words, bits, config, step)
        (stay + config.pull * pull + follow).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        sums += torch.tensor([stay.item(), pull.item(), follow.item(), 1.0])
        done = step + 1
        if done % 10 == 0:
            pace = (time.monotonic() - began) / (done - first)
            told = ", ".join(f"{name} {value:.4f}" for name, value in zip(("stay", "refused", "follow"), sums[:3] / sums[3]))
            print(f"step {done}: {told}; {pace:.2f} s a step, {pace * (config.steps - done) / 60:.0f} min left", flush=True)
            sums.zero_()
        if done % LOOKS == 0 or done == config.steps:
            curve.append({"step": done} | look(target, layer, lessons, lessons.held[:LOOKED], words, bits, config))
            print(json.dumps(curve[-1]), flush=True)
        if done == config.steps or time.monotonic() - saved > config.save_seconds:
            save_checkpoint(checkpoint, both, optimizers, {"step": str(done), "curve": json.dumps(curve), "settings": settings})
            saved = time.monotonic()
    layer.requires_grad_(False)
    return curve


def losses(
    target: Target, layer: ExitLayer, lessons: Lessons, picks: Sequence[Text], words: Shortlist, bits: int, config: EarlyConfig,
    step: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """stay, pull and follow of one batch: means over the places that count."""
    generator = torch.Generator().manual_seed(config.seed + step)
    with computing(target):
        batch = lessons.batch(target, list(picks), depths_needed(target, layer, config.first))
        follows = torch.arange(batch.ids.shape[1])[None] < batch.lengths[:, None] - 1  # places that have a next token
        some = torch.rand(batch.ids.shape, generator=generator) < ASKED
        counts = (torch.nn.functional.pad(batch.reply[:, 1:], (0, 1)).cpu() | some) & follows
        counts = counts.to(batch.ids.device)
        drawn = torch.randperm(len(words), generator=generator)[:DRAWN].to(words.ids.device)
        drafted = torch.cat([words.ids[drawn], batch.ids[batch.reply]]).unique()
        others = torch.randint(target.vocab, (OTHERS,), generator=generator).to(drafted.device)
        others = others[~torch.isin(others, drafted)].unique()
        rows = words.rows(torch.cat([drafted, others]))[0].float()  # (U, D), first the tokens that may be drafted
        old = target.norm(batch.states[target.depth][counts].to(target.dtype))
        batch = with_new_states(target, batch, layer, config.first)
        new = target.norm(batch.states[target.depth][counts])
        seen = batch._replace(states={depth: states.detach() for depth, states in batch.states.items()})
        early = hidden_at(target, layer, seen.states[layer.exit_after], deep_of(layer, seen, config.seed + step), counts, bits)
        now = (new @ rows.T).float()  # (n, U)
        log_p, log_now = (old @ rows.T).float().log_softmax(-1), now.log_softmax(-1)
        exits = (early @ rows[: len(drafted)].T).float()  # (n, tokens that may be drafted)
    stay = (log_p.exp() * (log_p - log_now)).sum(-1).mean()
    sharp = (now / SHARP).softmax(-1)[:, : len(drafted)]
    pull = 1 - torch.minimum(sharp, (exits.detach() / SHARP).softmax(-1)).sum(-1).mean()
    log_goal = now.detach()[:, : len(drafted)].log_softmax(-1)
    follow = (log_goal.exp() * (log_goal - exits.log_softmax(-1))).sum(-1).mean()
    return stay, pull, follow


def depths_needed(target: Target, layer: ExitLayer, first: int) -> tuple[int, ...]:
    """Depths whose kept states are read: those that do not change, and the original last one."""
    return tuple(sorted({layer.exit_after, first, target.depth, *(tap for tap in layer.taps if tap < first)}))


def with_new_states(target: Target, batch: Batch, layer: ExitLayer, first: int) -> Batch:
    """Run the layers from `first` on again, as they are now."""
    hidden, low, states = batch.states[first].to(target.dtype), first, dict(batch.states)
    for depth in sorted({target.depth, *(tap for tap in layer.taps if tap > first)}):
        hidden, low = target.run_rows(target.layers[low:depth], hidden), depth
        states[depth] = hidden
    return batch._replace(states=states)


@torch.no_grad()
def look(
    target: Target, layer: ExitLayer, lessons: Lessons, texts: Sequence[Text], words: Shortlist, bits: int,
    config: EarlyConfig,
) -> dict:  # fmt: skip
    """Evaluate on held-out texts, at the places of replies, as drafting would have gone along them: agreement of the most likely tokens,
    also for greedy and for drawn texts separately; overlap of the distributions at temperature 1; KL(original || changed) in nats; how
    often its most likely token has changed."""
    reader = as_stored(layer, bits)
    sums: dict[str, list[float]] = {"greedy": [], "drawn": [], "overlap": [], "nats": [], "changed": []}
    for number, text in enumerate(texts):
        with computing(target):
            batch = lessons.batch(target, [text], depths_needed(target, layer, config.first))
            was = target.norm(batch.states[target.depth].to(target.dtype))
            batch = with_new_states(target, batch, layer, config.first)
            hidden = reader.rows_hidden(target, batch.states[layer.exit_after], deep_of(reader, batch, number))
            now = target.norm(batch.states[target.depth])
            ids, width = batch.ids[0].tolist(), batch.ids.shape[1]
            own = torch.nn.functional.pad(batch.reply[0, 1:], (0, 1))
            for low in range(own.tolist().index(True), width - 1, PLACES):
                part = slice(low, min(low + PLACES, width - 1))
                counts = own[part]
                early, listed = text_logits(words, hidden[:, part], ids, low)  # (m, U), (U,)
                before, after = (target.head_rows(rows[:, part])[0] for rows in (was, now))  # (m, V)
                best = after.argmax(-1)
                sums["greedy" if text.temperature == 0 else "drawn"] += (listed[early.argmax(-1)] == best)[counts].float().tolist()
                law = after.softmax(-1)
                sums["overlap"] += torch.minimum(law[:, listed], early.softmax(-1)).sum(-1)[counts].tolist()
                log_p = before.log_softmax(-1)
                sums["nats"] += (log_p.exp() * (log_p - after.log_softmax(-1))).sum(-1)[counts].tolist()
                sums["changed"] += (before.argmax(-1) != best)[counts].float().tolist()
    means = {name: round(sum(values) / max(1, len(values)), 4) for name, values in sums.items()}
    agreed = sums["greedy"] + sums["drawn"]
    return {"held_out_agreement": round(sum(agreed) / max(1, len(agreed)), 4), "held_out_places": len(agreed)} | {
        "agreement_greedy": means["greedy"], "agreement_drawn": means["drawn"], "held_out_overlap": means["overlap"],
        "nats_from_before": means["nats"], "likeliest_changed": means["changed"],
    }  # fmt: skip

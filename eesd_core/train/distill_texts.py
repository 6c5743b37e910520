"""Distillation from kept texts: an exit layer learns from what the target wrote and computed before (`distill --texts`).

The first N layers and the rest of the frozen model do not run here: their states are read (lessons.py). What is left is the exit layer and
products with the frozen LM head, and these are kept small:

- only places are judged whose next token is the target's own and can be drafted; for the other rows the last layer makes keys and values
  and no more;
- the list of a step is the tokens of its texts and as many of the shortlist as `DRAWN` says, another draw every step: some 3,500 rows
  instead of 49,152. The teacher is the target's law over this list, renormalised, and not its whole law: a token outside the shortlist is
  never drafted, so how likely it is tells the exit layer nothing, and what is right over every part of the list is right over all of it.
  What the restriction would change is the weight of a place, by the mass that the list leaves out; instead a place counts, or, where its
  next token could not be drafted, does not, which is the same on average and needs no product with the whole head;
- the twin's lesson is the token that was written greedily: it needs no teacher at all.

The exit layer's matrices are rounded as they will be stored (four_bits.py). Everything here is ours.
"""

import copy
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..heads.base import deep_rows
from ..heads.exit_layer import ExitLayer
from ..heads.four_bits import fake_quantize, fits_4_bits
from ..heads.shortlist import Shortlist, most_frequent, text_logits
from ..model.load import choose_device, load_target
from ..model.target import Target
from .evaluate import acceptance_per_position
from .lessons import Batch, Lessons, Text
from .listed_loss import hard_loss, soft_loss
from .muon import Muon
from .pretrain import load_checkpoint, save_checkpoint

PLAIN = ("llama", "mistral", "qwen2")  # families whose layer is two sub-layers behind a norm each, and nothing more
LOOKS, LOOKED = 500, 32  # steps between two looks at held-out texts, and how many of them
MOST_JUDGED = 160  # held-out texts at the end
CUT = 0.35  # chance that a round begins at a place, for taps: rounds of about three tokens
DRAWN = 2048  # tokens of the shortlist in the list of a step, beside those of its texts
PLACES = 128  # whose laws over the vocabulary are in memory at a time


@dataclass(frozen=True)
class TextsConfig:
    exit_after: int
    layers: int = 1
    taps: tuple[int, ...] = ()
    shortlist: int = 8192  # 0: the whole vocabulary
    bits: int = 4
    rows: int = 16  # texts a step
    steps: int = 3000
    greedy_steps: int = 0  # of the twin; 0: there is none
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    seed: int = 1
    save_seconds: float = 300.0

    def __post_init__(self):
        if min(self.steps, self.rows) < 1 or self.greedy_steps < 0:
            raise UserError("--steps and --rows must be at least 1, and --greedy-steps at least 0")
        if self.shortlist == 1:
            raise UserError("--shortlist must be at least 2, or 0 for the whole vocabulary")
        if self.bits not in (4, 16):
            raise UserError(f"a weight is stored in 4 or 16 bits, not {self.bits}")


def distill_texts(model: str | None, folder: Path, work: Path, out: Path, config: TextsConfig, device: str = "auto") -> dict:
    """Train, judge on held-out texts, and save into `out`; prints and returns the facts. Resumes from `work`. Raises UserError."""
    place = choose_device(device)
    target = load_target(model, device, "float32" if place.type == "cpu" else "bfloat16", alone=True)
    target.model.requires_grad_(False)
    target.see_whole_rows()
    if target.softcap or target.model.lm_head.bias is not None:
        raise UserError(f"the LM head of {target.name} is more than a product: leave --texts out, and `distill` has texts written anew")
    lessons = Lessons(folder)
    layer = ExitLayer(target, config.exit_after, layers=config.layers, taps=config.taps, start=config.exit_after)
    layer.float()
    layer.bits = config.bits
    work.mkdir(parents=True, exist_ok=True)
    shortlist = Shortlist(target, chosen(work, lessons, target, config.shortlist)) if config.shortlist else None
    everything = torch.arange(target.vocab, device=target.device)
    words = shortlist or Shortlist(target, everything)
    name = f"exit-after-{config.exit_after}"
    curves = {"curve": train(target, layer, lessons, lessons.texts, words, config, work / f"{name}.safetensors")}
    if config.greedy_steps:
        twin = copy.deepcopy(layer)
        greedy = [text for text in lessons.texts if text.temperature == 0]
        if not greedy:
            raise UserError(f"{folder} holds no greedy texts for a twin to learn from: leave --greedy-steps out")
        curves["greedy_curve"] = train(target, twin, lessons, greedy, words, config, work / f"{name}-greedy.safetensors", greedy=True)
        layer.greedy = twin
    facts = asdict(config) | {"data": "the model's own texts", "texts": len(lessons.texts), "replies": int(lessons.reply.sum())}
    facts |= curves | judge(target, layer, lessons, lessons.held[:MOST_JUDGED], words, config)
    layer.read_only(shortlist)
    layer.save(out, target, facts)
    print(json.dumps({name: value for name, value in facts.items() if "curve" not in name}))
    return facts


def chosen(work: Path, lessons: Lessons, target: Target, size: int) -> Tensor:
    """The shortlist, (S,): kept, so that training goes on with the same one when more texts are there."""
    path = work / f"shortlist-{size}.safetensors"
    if not path.exists():
        save_file({"ids": most_frequent(lessons.counts(target.vocab), min(size, target.vocab), target.end_ids)}, path)
    return load_file(path)["ids"]


def train(
    target: Target, layer: ExitLayer, lessons: Lessons, texts: list[Text], words: Shortlist, config: TextsConfig, checkpoint: Path,
    greedy: bool = False,
) -> list[tuple[int, float]]:  # fmt: skip
    """Gradient steps in place, from `checkpoint` on where there is one. Returns the curve: places learned from, agreement on held-out
    texts. Raises UserError if the checkpoint's settings differ."""
    steps = config.greedy_steps if greedy else config.steps
    layer.requires_grad_(True)
    matrices, gains = ([p for p in layer.parameters() if (p.ndim == 2) == square] for square in (True, False))
    rate = config.learning_rate
    optimizers = [Muon(matrices, rate), torch.optim.AdamW(gains, rate, weight_decay=0.0)]
    free = ("steps", "greedy_steps", "save_seconds")
    settings = json.dumps({name: value for name, value in asdict(config).items() if name not in free})
    first, seen, curve = 0, 0, []
    if checkpoint.exists():
        with safe_open(checkpoint, "pt") as header:
            before = header.metadata()
        if before["settings"] != settings:
            raise UserError(f"{checkpoint} was trained with other settings ({before['settings']}): delete it, or give another --work")
        load_checkpoint(checkpoint, layer, optimizers)
        first, seen, curve = int(before["step"]), int(before["seen"]), json.loads(before["curve"])
        print(f"resuming at step {first}", flush=True)
    began = saved = time.monotonic()
    sums = torch.zeros(2)
    held = [text for text in lessons.held if not greedy or text.temperature == 0][:LOOKED]
    listed = torch.zeros(target.vocab, dtype=torch.bool, device=target.device).index_fill_(0, words.ids, True)
    for step, picks in zip(range(first, steps), lessons.batches(texts, config.rows, config.seed, first)):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * min((step + 1) / config.warmup_steps, 1 - step / steps)
        depths = (config.exit_after, *config.taps, *(() if greedy else (target.depth,)))
        with computing(target):
            batch = lessons.batch(target, picks, depths)
            loss, judged = loss_of(target, layer, batch, words, listed, config, step, greedy)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += judged
        sums += torch.tensor([loss.item(), 1.0])
        done = step + 1
        if done % 50 == 0:
            pace = (time.monotonic() - began) / (done - first)
            left = pace * (steps - done) / 60
            print(f"step {done}: loss {sums[0] / sums[1]:.4f} nats, {pace:.2f} s a step, {left:.0f} min left", flush=True)
            sums.zero_()
        if (done % LOOKS == 0 or done == steps) and held:
            curve.append((seen, judge(target, layer, lessons, held, words, config)["held_out_agreement"]))
            print(f"step {done}: after {seen:,} places {curve[-1][1]:.4f} of held-out drafts agree", flush=True)
        if done == steps or time.monotonic() - saved > config.save_seconds:
            told = {"step": str(done), "seen": str(seen), "curve": json.dumps(curve), "settings": settings}
            save_checkpoint(checkpoint, layer, optimizers, told)
            saved = time.monotonic()
    layer.requires_grad_(False)
    return curve


def computing(target: Target) -> AbstractContextManager:
    """Products in bfloat16 where the device has instructions for it."""
    native = target.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(target.device.type, torch.bfloat16, enabled=native)


def loss_of(
    target: Target, layer: ExitLayer, batch: Batch, words: Shortlist, listed: Tensor, config: TextsConfig, step: int, greedy: bool
) -> tuple[Tensor, int]:  # fmt: skip
    """Of one batch: mean over the judged places, and how many there are. listed (V,): what is in the shortlist."""
    judged = torch.nn.functional.pad(batch.judged(listed), (0, 1))  # (B, T)
    drawn = torch.randperm(len(words), generator=torch.Generator().manual_seed(config.seed + step))[:DRAWN]
    ids = torch.cat([words.ids[drawn.to(words.ids.device)], batch.ids[batch.reply]]).unique()  # (U,)
    rows = words.rows(ids)[0]  # (U, D)
    deep = deep_of(layer, batch, config.seed + step)
    hidden = hidden_at(target, layer, batch.states[config.exit_after], deep, judged, config.bits)  # (n, D)
    if greedy:
        column = torch.zeros(target.vocab, dtype=torch.long, device=ids.device)
        column[ids] = torch.arange(len(ids), device=ids.device)
        return hard_loss(hidden, column[batch.ids.roll(-1, 1)[judged]], rows), len(hidden)
    finals = target.norm(batch.states[target.depth][judged].to(target.dtype))
    return soft_loss(hidden, finals, rows), len(hidden)


def deep_of(layer: ExitLayer, batch: Batch, seed: int) -> Tensor | None:
    """Deep states as drafting would have them, (B, T, taps D), for rounds that begin at random places of the replies."""
    if not layer.taps:
        return None
    rows, width = batch.ids.shape
    begins = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)).to(batch.ids.device) < CUT
    begins |= ~torch.nn.functional.pad(batch.reply[:, 1:], (0, 1))
    places = torch.arange(width, device=batch.ids.device).expand(rows, width)
    start = (places * begins).cummax(1).values  # where the round of each place began
    return deep_rows([batch.states[tap] for tap in layer.taps], start)


def hidden_at(target: Target, layer: ExitLayer, states: Tensor, deep: Tensor | None, judged: Tensor, bits: int) -> Tensor:
    """What the LM head's rows are multiplied by at the judged places (B, T), with weights rounded as they will be stored. states (B, T, D)
    -> (n, D)."""
    rounded = {n: fake_quantize(p) for n, p in layer.named_parameters() if bits == 4 and fits_4_bits(p)}
    reader = _Reader(layer, target, judged)
    return torch.func.functional_call(reader, {f"layer.{name}": weight for name, weight in rounded.items()}, (states, deep))


class _Reader(torch.nn.Module):
    """The exit layer at judged places only."""

    def __init__(self, layer: ExitLayer, target: Target, judged: Tensor):
        super().__init__()
        self.layer, self.target, self.judged = layer, (target,), judged  # in a tuple: its weights are no part of this module

    def forward(self, states: Tensor, deep: Tensor | None) -> Tensor:
        (target,), layer = self.target, self.layer
        if target.config.model_type not in PLAIN:
            return layer.rows_hidden(target, states, deep)[self.judged]
        *before, last = layer.layers
        hidden = target.run_rows(before, layer.mixed(states, deep))
        return layer.norm(target.run_rows([_LastLayer(last, self.judged)], hidden))


class _LastLayer:
    """Behind its attention nothing but the judged rows is needed: (B, T, D) -> (n, D)."""

    def __init__(self, layer: torch.nn.Module, judged: Tensor):
        self.layer, self.judged, self.kind = layer, judged, layer.kind

    def __call__(self, hidden: Tensor, **told) -> Tensor:
        mixed, _ = self.layer.self_attn(hidden_states=self.layer.input_layernorm(hidden), **told)
        hidden = (hidden + mixed)[self.judged]
        return hidden + self.layer.mlp(self.layer.post_attention_layernorm(hidden))


@torch.no_grad()
def judge(target: Target, layer: ExitLayer, lessons: Lessons, texts: Sequence[Text], words: Shortlist, config: TextsConfig) -> dict:
    """On held-out texts, as drafting would have gone along them, over the shortlist and the text so far. Of the replies' places: top-1
    agreement with the target; overlap, the sum of min(p, q) at temperature 1 (not of a twin); acceptance per position; how often the
    target's likeliest token is not in the list, and not in the text before either."""
    readers = {greedy: as_stored(layer.at(0.0 if greedy else 1.0), config.bits) for greedy in (True, False)}
    matches, overlaps, missed = [], [], torch.zeros(2)
    for number, text in enumerate(texts):
        reader, sampled = readers[text.temperature == 0], layer.greedy is None or text.temperature > 0
        depths = (config.exit_after, *config.taps, target.depth)
        with computing(target):
            batch = lessons.batch(target, [text], depths)
            ids, width = batch.ids[0].tolist(), batch.ids.shape[1]
            hidden = reader.rows_hidden(target, batch.states[config.exit_after], deep_of(reader, batch, number))
            finals = target.norm(batch.states[target.depth].to(target.dtype))
            own = torch.nn.functional.pad(batch.reply[0, 1:], (0, 1)).tolist()
            same: list[bool] = []
            for low in range(own.index(True), width - 1, PLACES):
                part = slice(low, min(low + PLACES, width - 1))
                early, listed = text_logits(words, hidden[:, part], ids, low)  # (m, U), (U,)
                final = target.head_rows(finals[:, part])[0]  # (m, V)
                judged = torch.tensor(own[part])
                best = final.argmax(-1)
                same += (listed[early.argmax(-1)] == best)[judged].tolist()
                there = (listed == best[:, None]) & early.isfinite()
                missed += torch.tensor([(~there[:, : len(words)].any(-1))[judged].sum(), (~there.any(-1))[judged].sum()])
                if sampled:
                    chances = final.softmax(-1)[:, listed]
                    overlaps += torch.minimum(chances, early.softmax(-1)).sum(-1)[judged].tolist()
        matches.append(same)
    count = sum(map(len, matches))
    facts = {"held_out_agreement": round(sum(map(sum, matches)) / max(1, count), 4), "held_out_places": count}
    for name, greedy in (("agreement_greedy", True), ("agreement_drawn", False)):
        chosen = [same for same, text in zip(matches, texts) if (text.temperature == 0) == greedy]
        facts[name] = round(sum(map(sum, chosen)) / max(1, sum(map(len, chosen))), 4)
    facts |= {"held_out_overlap": round(sum(overlaps) / len(overlaps), 4) if overlaps else None}
    facts |= dict(zip(("missed_by_shortlist", "missed_with_context"), (round(value, 4) for value in (missed / max(1, count)).tolist())))
    return facts | {"acceptance_per_position": acceptance_per_position(matches)}


def as_stored(layer: ExitLayer, bits: int) -> ExitLayer:
    """A copy with weights as they will come back from the file."""
    stored = copy.deepcopy(layer)
    for parameter in stored.parameters():
        rounded = fake_quantize(parameter) if bits == 4 and fits_4_bits(parameter) else parameter.bfloat16()
        parameter.data = rounded.detach().to(parameter.dtype)
    return stored

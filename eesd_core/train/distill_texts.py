"""Distillation from kept texts: a head, the exit layer or another one (`--head`), learns from what the target wrote and computed before
(`distill --texts`). All heads go through one loop; students.py holds what differs between them.

The frozen model does not run here where its states were kept (lessons.py). What remains is the head and products with the frozen LM head,
and these are kept small:

- a place is judged only if its next token is the target's own and can be drafted; for other rows the exit layer's last layer computes keys
  and values only;
- a step's list holds the tokens of its texts and `DRAWN` tokens of the shortlist, drawn anew for every step: some 3,500 rows instead of
  49,152. The teacher is the target's distribution over this list, renormalised. A token outside the shortlist is never drafted, so its
  probability teaches the head nothing; and a head that is right over every part of the shortlist is right over all of it. Renormalising
  loses one thing: each place should be weighted by the probability of the tokens that can be drafted. Counting a place only if its next
  token can be drafted has the same effect on average, and needs no product with the whole head;
- the twin learns the token that was written greedily, which needs no teacher.

The head's matrices are rounded as they will be stored (four_bits.py). Everything here is ours.
"""

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..heads import files
from ..heads.exit_layer import ExitLayer
from ..heads.files import WEIGHTS
from ..heads.four_bits import fake_quantize, fits_4_bits
from ..heads.kinds import kind_of
from ..heads.shortlist import Shortlist, most_frequent, text_logits
from ..heads.trained import TrainedHead, places_of
from ..model.load import choose_device, load_target
from ..model.target import Target
from ..replacing import replaced
from .evaluate import acceptance_per_position
from .lessons import Batch, Lessons, Text
from .listed_loss import hard_loss, soft_loss
from .muon import Muon
from .pretrain import load_checkpoint, save_checkpoint
from .students import Student, computing, depths_of, even_rounds, judged_rows, rows_of

LOOKS, LOOKED = 500, 32  # steps between two evaluations on held-out texts, and the number of texts
MOST_JUDGED = 160  # held-out texts in the last evaluation
DRAWN = 2048  # tokens of the shortlist in a step's list, besides those of its texts
PLACES = 128  # places whose distributions over the vocabulary are in memory at a time


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings common to all heads."""

    shortlist: int = 8192  # 0: the whole vocabulary
    bits: int = 4
    rows: int = 16  # texts per step
    steps: int = 3000
    greedy_steps: int = 0  # steps of the twin; 0: no twin
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

    @property
    def name(self) -> str:
        """Name of its checkpoint."""
        raise NotImplementedError

    def made(self, target: Target) -> Student:
        """The head before training. Raises UserError for settings that do not fit."""
        raise NotImplementedError


@dataclass(frozen=True)
class TextsConfig(TrainingConfig):
    """Settings for an exit layer."""

    exit_after: int
    layers: int = 1
    taps: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"exit-after-{self.exit_after}"

    def made(self, target: Target) -> ExitLayer:
        return ExitLayer(target, self.exit_after, layers=self.layers, taps=self.taps, start=self.exit_after)


@dataclass(frozen=True)
class HeadConfig(TrainingConfig):
    """Settings for another kind of head (heads/kinds.py)."""

    head: str
    settings: dict = field(default_factory=dict)  # the kind's own

    def __post_init__(self):
        super().__post_init__()
        kind_of(self.head)
        if self.greedy_steps:
            raise UserError("--greedy-steps is for a twin of the exit layer: other heads have none")

    @property
    def name(self) -> str:
        return self.head

    def made(self, target: Target) -> TrainedHead:
        try:
            return kind_of(self.head)(target, **self.settings)
        except TypeError as problem:
            known = f"look at the settings in heads/{kind_of(self.head).__module__.rpartition('.')[2]}.py"
            raise UserError(f"the settings {self.settings} are not those of a {self.head} head ({problem}): {known}") from None


def distill_texts(
    model: str | None, folders: Sequence[Path], work: Path, out: Path, config: TrainingConfig, device: str = "auto",
    begin_with: Path | None = None,
) -> dict:  # fmt: skip
    """Train, evaluate on held-out texts, and save to `out`; prints and returns the facts. Resumes from `work`. `folders` hold the texts;
    only texts of the first folder are held out. begin_with: a stored exit layer that learns on, with its shortlist. Raises UserError."""
    place = choose_device(device)
    target = load_target(model, device, "float32" if place.type == "cpu" else "bfloat16", alone=True)
    target.model.requires_grad_(False)
    target.see_whole_rows()
    if target.softcap or target.model.lm_head.bias is not None:
        raise UserError(f"the LM head of {target.name} is more than a product: leave --texts out, and `distill` has texts written anew")
    lessons = Lessons(*folders)
    lessons.check_fit(target)
    layer = stored(begin_with, target, config) if begin_with else config.made(target)
    layer.float()
    layer.bits = config.bits
    work.mkdir(parents=True, exist_ok=True)
    shortlist, before = layer.shortlist, layer.facts.get("training", {}).get("curve")
    if config.shortlist and not shortlist:
        shortlist = Shortlist(target, chosen(work, lessons, target, config.shortlist))
    layer.read_only(None)
    everything = torch.arange(target.vocab, device=target.device)
    words = shortlist or Shortlist(target, everything)
    checkpoint = work / f"{config.name}.safetensors"
    curves = {"curve": train(target, layer, lessons, lessons.texts, words, config, checkpoint)}
    if config.greedy_steps:
        twin = copy.deepcopy(layer)
        greedy = [text for text in lessons.texts if text.temperature == 0]
        if not greedy:
            raise UserError(f"{folders[0]} holds no greedy texts for a twin to learn from: leave --greedy-steps out")
        checkpoint = checkpoint.with_stem(f"{config.name}-greedy")
        curves["greedy_curve"] = train(target, twin, lessons, greedy, words, config, checkpoint, greedy=True)
        layer.greedy = twin
    facts = asdict(config) | {"data": "the model's own texts", "texts": len(lessons.texts)}
    facts |= {"curve_before": before} if before else {}
    facts |= {"replies": int(lessons.reply.sum()) - lessons.given, "given": lessons.given}
    facts |= curves | judge(target, layer, lessons, lessons.held[:MOST_JUDGED], words, config)
    layer.read_only(shortlist)
    layer.save(out, target, facts)
    print(json.dumps({name: value for name, value in facts.items() if "curve" not in name}))
    return facts


def stored(folder: Path, target: Target, config: TrainingConfig) -> ExitLayer:
    """An exit layer that learns on. Raises UserError unless its shape is the one asked for."""
    layer = ExitLayer.load(folder, target)
    shape = layer.exit_after, len(layer.layers), layer.taps, len(layer.shortlist or ())
    wanted = (config.exit_after, config.layers, tuple(config.taps), config.shortlist) if isinstance(config, TextsConfig) else None
    if shape != wanted or layer.greedy:
        depth, layers, taps, listed = shape
        asked = f"--exit-after {depth} --layers {layers} --taps {' '.join(map(str, taps))} --shortlist {listed}"
        raise UserError(f"only an exit layer without a twin learns on, in its own shape: the one in {folder} has {asked}")
    return layer


def chosen(work: Path, lessons: Lessons, target: Target, size: int) -> Tensor:
    """The shortlist, (S,): the one of the model's exit layer if it is as long, because heads with the same list share its rows; else the
    most frequent tokens. It is kept in `work`, so that training resumes with the same one when texts have been added."""
    path = work / f"shortlist-{size}.safetensors"
    if not path.exists():
        ids, folder = None, target.source and target.source.heads
        if folder and (folder / WEIGHTS).exists():
            ids = files.read(folder).shortlist
        if ids is None or len(ids) != size:
            ids = most_frequent(lessons.counts(target.vocab), min(size, target.vocab), target.end_ids)
        with replaced(path) as part:
            save_file({"ids": ids}, part)
    return load_file(path)["ids"]


def train(
    target: Target, layer: Student, lessons: Lessons, texts: list[Text], words: Shortlist, config: TrainingConfig, checkpoint: Path,
    greedy: bool = False,
) -> list[tuple[int, float]]:  # fmt: skip
    """Gradient steps in place, from `checkpoint` on where there is one. Returns the curve: (places learned from, agreement on held-out
    texts). Raises UserError if the checkpoint's settings differ."""
    steps = config.greedy_steps if greedy else config.steps
    layer.requires_grad_(True)
    matrices, gains = ([p for p in layer.parameters() if (p.ndim == 2) == square] for square in (True, False))
    rate = config.learning_rate
    optimizers = [Muon(matrices, rate), *([torch.optim.AdamW(gains, rate, weight_decay=0.0)] if gains else [])]
    free = ("steps", "greedy_steps", "save_seconds")
    settings = json.dumps({name: value for name, value in asdict(config).items() if name not in free})
    first, seen, curve = 0, 0, []
    if checkpoint.exists():
        with safe_open(checkpoint, "pt") as header:
            before = header.metadata()
        if json.loads(before["settings"]) != json.loads(settings):
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
        depths = (*depths_of(layer), *(() if greedy else (target.depth,)))
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


def loss_of(
    target: Target, layer: Student, batch: Batch, words: Shortlist, listed: Tensor, config: TrainingConfig, step: int, greedy: bool
) -> tuple[Tensor, int]:  # fmt: skip
    """The mean loss of a batch over its judged places, and their number. listed (V,): whether a token is in the shortlist."""
    judged = torch.nn.functional.pad(batch.judged(listed), (0, 1))  # (B, T)
    drawn = torch.randperm(len(words), generator=torch.Generator().manual_seed(config.seed + step))[:DRAWN]
    ids = torch.cat([words.ids[drawn.to(words.ids.device)], batch.ids[batch.reply]]).unique()  # (U,)
    rows = words.rows(ids)[0]  # (U, D)
    hidden = judged_rows(target, layer, batch, judged, config.seed + step, config.bits)  # (n, D)
    if greedy:
        column = torch.zeros(target.vocab, dtype=torch.long, device=ids.device)
        column[ids] = torch.arange(len(ids), device=ids.device)
        return hard_loss(hidden, column[batch.ids.roll(-1, 1)[judged]], rows), len(hidden)
    finals = target.norm(batch.states[target.depth][judged].to(target.dtype))
    return soft_loss(hidden, finals, rows), len(hidden)


@torch.no_grad()
def judge(target: Target, layer: Student, lessons: Lessons, texts: Sequence[Text], words: Shortlist, config: TrainingConfig) -> dict:
    """Evaluate on held-out texts, as drafting would have gone along them, over the shortlist and the text so far. At the places of replies:
    top-1 agreement with the target; overlap, the sum of min(p, q) at temperature 1 (not for a twin); acceptance per position; how often the
    target's most likely token is not in the shortlist, and how often it is not in the preceding text either. Heads other than the exit
    layer draft consecutive rounds of their greatest length."""
    readers = {greedy: as_stored(layer.at(0.0 if greedy else 1.0), config.bits) for greedy in (True, False)}
    matches, overlaps, rounds, missed = [], [], [], torch.zeros(2)
    for number, text in enumerate(texts):
        reader, sampled = readers[text.temperature == 0], layer.greedy is None or text.temperature > 0
        with computing(target):
            batch = lessons.batch(target, [text], (*depths_of(layer), target.depth))
            ids, width = batch.ids[0].tolist(), batch.ids.shape[1]
            start = even_rounds(batch, layer.longest) if isinstance(layer, TrainedHead) else None
            hidden = rows_of(target, reader, batch, number, start)
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
        if start is not None:
            rounds += in_rounds(same, [place for place, mine in zip((places_of(start) - start)[0].tolist(), own) if mine])
    count = sum(map(len, matches))
    facts = {"held_out_agreement": round(sum(map(sum, matches)) / max(1, count), 4), "held_out_places": count}
    for name, greedy in (("agreement_greedy", True), ("agreement_drawn", False)):
        chosen = [same for same, text in zip(matches, texts) if (text.temperature == 0) == greedy]
        facts[name] = round(sum(map(sum, chosen)) / max(1, sum(map(len, chosen))), 4)
    facts |= {"held_out_overlap": round(sum(overlaps) / len(overlaps), 4) if overlaps else None}
    facts |= dict(zip(("missed_by_shortlist", "missed_with_context"), (round(value, 4) for value in (missed / max(1, count)).tolist())))
    return facts | (per_place(rounds) if rounds else {"acceptance_per_position": acceptance_per_position(matches)})


def in_rounds(same: Sequence[bool], places: Sequence[int]) -> list[list[bool]]:
    """Split `same`, whether each draft agreed, into rounds. `places`: each draft's place in its round."""
    rounds: list[list[bool]] = []
    for agreed, place in zip(same, places):
        if place == 0:
            rounds.append([])
        rounds[-1].append(agreed)
    return rounds


def per_place(rounds: Sequence[Sequence[bool]]) -> dict:
    """agreement_per_place: of the rounds that reach a place, the share that agrees there. acceptance_per_position: the same, of the rounds
    in which all places before agreed. accepted_per_round: mean number of accepted drafts."""
    agreed = [[round[place] for round in rounds if len(round) > place] for place in range(max(map(len, rounds)))]
    tested = [[round[place] for round in rounds if len(round) > place and all(round[:place])] for place in range(len(agreed))]
    accepted = sum(next((i for i, ok in enumerate(round) if not ok), len(round)) for round in rounds) / len(rounds)
    shares = {"agreement_per_place": agreed, "acceptance_per_position": tested}
    told = {name: [round(sum(found) / max(1, len(found)), 3) for found in places] for name, places in shares.items()}
    return told | {"accepted_per_round": round(accepted, 3)}


def as_stored(layer: Student, bits: int) -> Student:
    """A copy with the weights that will come back from the file."""
    stored = copy.deepcopy(layer)
    for parameter in stored.parameters():
        rounded = fake_quantize(parameter) if bits == 4 and fits_4_bits(parameter) else parameter.bfloat16()
        parameter.data = rounded.detach().to(parameter.dtype)
    return stored

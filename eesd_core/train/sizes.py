"""Which model size? Candidates are trained alike, from scratch, on the same number of tokens of the same text, and then measured as they
would run.

A wider or deeper model learns more from every token and takes longer over it; a deeper exit drafts better and costs more; a larger
vocabulary makes fewer and longer tokens and a more expensive head. The loss is also given with every matrix rounded to 8 bits, because a
model of twice the size, stored so, would fit into the same file.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..bench import read_prompts
from ..control import FixedController
from ..costs import CostTracker
from ..engine import Engine
from ..errors import UserError
from ..loading import load_engine
from ..metrics import Metrics
from ..model.load import load_target
from ..model.quantize import from_8_bits, to_8_bits
from ..replacing import replaced
from ..request import Request
from ..sampling import Sampling
from ..simulate.courses import best_fixed, drafts_of, replay
from .evaluate import bits_per_character
from .pretrain import PretrainConfig, train_base

HEAD, MLP = 64, 2.5  # width of an attention head; MLP width relative to the model's
SAMPLING = Sampling(0.8, min_p=0.1, seed=7)  # as on the page; half-trained models only repeat themselves when greedy
NEW_TOKENS = 96
SHOWN = {"parameters": "M weights", "mib": "MiB bf16", "bits": "bits/char", "bits_8": "from 8 bits", "plain_ms": "step ms", "c": "c",
         "accepted": "accepted", "length": "best k", "speedup": "speedup", "pace": "tokens/s"}  # fmt: skip


@dataclass(frozen=True)
class Size:
    layers: int
    width: int
    exit_after: int = 1
    vocab: int = 6144

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}:{self.exit_after}:{self.vocab}"

    @classmethod
    def parse(cls, text: str) -> "Size":
        """`LAYERSxWIDTH[:N[:VOCABULARY]]`, as in 20x256:1:6144. Raises UserError."""
        if not (found := re.fullmatch(r"(\d+)x(\d+)(?::(\d+))?(?::(\d+))?", text)):
            raise UserError(f"{text!r} is no size: write LAYERSxWIDTH[:EXIT[:VOCABULARY]], for example 20x256:1:6144")
        size = cls(*(int(part) for part in found.groups() if part))
        if size.width % HEAD or not size.width or not 0 < size.exit_after < size.layers:
            raise UserError(f"{text}: the width must be a multiple of {HEAD}, and the exit after fewer layers than there are")
        return size

    def config(self, like: PretrainConfig) -> PretrainConfig:
        heads, mlp = self.width // HEAD, -(-int(MLP * self.width) // HEAD) * HEAD
        shape = {"layers": self.layers, "hidden": self.width, "heads": heads, "kv_heads": heads // 2 if heads % 2 == 0 else 1, "mlp": mlp}
        return replace(like, **shape, vocab=self.vocab, exit_after=self.exit_after)


def compare_sizes(
    sizes: list[Size], data: list[Path], validation: Path, prompts: Path | None, work: Path, out: Path, config: PretrainConfig, device: str
) -> list[dict]:  # fmt: skip
    """Writes every candidate to `out/SIZE`, and `sizes.json`; prints a table. Resumes from `work`. Raises UserError."""
    rows = []
    for size in sizes:
        folder = out / str(size).replace(":", "-")
        if not (folder / "config.json").exists():
            train_base(data, work / folder.name, None, folder, size.config(config), device, work / f"corpus-{size.vocab}")
        trained = json.loads((folder / "training_log.json").read_text())["stages"][-1]["config"]  # perhaps earlier
        rows.append({"size": str(size), "tokens": trained["tokens"]} | judge(folder, validation, prompts, device))
    with replaced(out / "sizes.json") as part:
        part.write_text(json.dumps(rows, indent=2) + "\n")
    print("size              " + "".join(f"{title:>13}" for title in SHOWN.values()))
    for row in rows:
        print(f"{row['size']:18}" + "".join(f"{row[key]:13g}" for key in SHOWN))
    return rows


def judge(folder: Path, validation: Path, prompts: Path | None, device: str) -> dict:
    """Loss, and what the exit layer is worth: its acceptance on the model's own text drawn as on the page, its costs, and the speedup that
    the best fixed draft length would give with both."""
    target = load_target(folder, device, "float32", alone=True)
    target.see_whole_rows()
    count = sum(p.numel() for p in target.model.parameters())
    row = {"parameters": round(count / 1e6, 2), "mib": round(2 * count / 2**20, 1)}
    row["bits"] = round(bits_per_character(target, validation), 4)
    round_to_8_bits(target.model)
    row["bits_8"] = round(bits_per_character(target, validation), 4)
    engine: Engine = load_engine(str(folder), None, device)
    courses = []
    for prompt in read_prompts(prompts, None):
        request = Request(prompt, NEW_TOKENS, SAMPLING, "vanilla")
        opening, text = engine.encode(request), Metrics.fold(engine.run(request), "vanilla").token_ids
        courses.append(drafts_of(engine, opening + text, len(opening), SAMPLING))
    costs = CostTracker(engine.measured, engine.exit_layer.exit_after).costs()
    length, best = best_fixed(courses, costs)
    without = replay(FixedController(0), courses, costs)
    right = [reach > 0 for course in courses for reach in course.reach]
    plain = engine.measured.plain
    row |= {"plain_ms": round(1e3 * plain, 2), "c": round(engine.measured.draft / plain, 3), "accepted": round(sum(right) / len(right), 3)}
    return row | {"length": length, "speedup": round(best.speed / without.speed, 3), "pace": round(best.speed, 1)}


@torch.no_grad()
def round_to_8_bits(model: nn.Module) -> None:
    """Round every matrix in place to the values that 8-bit storage would give back."""
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.copy_(from_8_bits(*to_8_bits(weight)))

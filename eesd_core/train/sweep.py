"""Which exit depth? An exit layer is trained and measured at every depth; a deeper one drafts better and costs more.

All depths learn from the same texts, which the model writes once.
"""

import json
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..model.catalog import locate
from ..model.checkpoint import explain, read_config
from ..model.load import split_revision
from ..replacing import replaced
from .distill import DistillConfig, distill
from .plot import line_chart

SHOWN = {"held_out_agreement": "agreement", "draft_cost": "draft cost c", "predicted_speedup": "predicted", "measured_speedup": "measured"}


def default_depths(layers: int) -> list[int]:
    """1, and every eighth of the model up to half of it."""
    return sorted({1, *(layers * part // 8 for part in range(1, 5) if 0 < layers * part // 8 < layers)})


def sweep(
    model: str | None, depths: list[int] | None, data: list[Path] | None, prompts: Path | None, work: Path, out: Path,
    config: DistillConfig, device: str, quantize: str,
) -> list[dict]:  # fmt: skip
    """Writes an exit layer for every depth into `out/exit-after-N`, and `sweep.json` and `sweep.svg`; prints a table. Raises UserError."""
    name, revision = split_revision(locate(model).checkpoint)
    try:
        layers = read_config(name, revision).num_hidden_layers
    except UserError:
        raise
    except Exception as problem:  # transformers raises all kinds of exceptions over files
        raise UserError(explain(name, problem)) from None
    depths = sorted(set(depths or default_depths(layers)))
    if not 0 < depths[0] <= depths[-1] < layers:
        raise UserError(f"exit depths of a model of {layers} layers are 1 to {layers - 1}")
    rows = []
    for depth in depths:
        folder = out / f"exit-after-{depth}"
        rows.append(
            {"exit_after": depth} | distill(model, data, prompts, work, folder, replace(config, exit_after=depth), device, quantize)
        )
    with replaced(out / "sweep.json") as figures, replaced(out / "sweep.svg") as picture:
        figures.write_text(json.dumps(rows, indent=2) + "\n")
        picture.write_text(chart(rows))
    print("exit after  " + "  ".join(f"{title:>12}" for title in SHOWN.values()) + "  best draft length")
    for row in rows:
        cells = "  ".join(f"{row[key]:12.3f}" if row[key] is not None else f"{'-':>12}" for key in SHOWN)
        print(f"{row['exit_after']:10d}  {cells}  {row['best_draft_length']:17d}")
    return rows


def chart(rows: list[dict]) -> str:
    """Agreement, cost and speedups by depth, as SVG."""
    series = {title: [(row["exit_after"], row[key]) for row in rows if row[key] is not None] for key, title in SHOWN.items()}
    return line_chart({title: points for title, points in series.items() if points}, "exit after N layers", "share, or times vanilla")

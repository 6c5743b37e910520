"""Drafters: who proposes tokens. They never accept any."""

from ..errors import UserError
from ..heads.base import WITHOUT_EXIT
from ..heads.exit_layer import ExitLayer
from ..model.target import Target
from .base import Context, Draft, Drafter
from .disturbed import DisturbedDrafter
from .early_exit import EarlyExitDrafter
from .layer_skip import LayerSkipDrafter, SkipSet
from .none import NoDrafter
from .prompt_lookup import PromptLookupDrafter

DRAFTERS = ("early-exit", "prompt-lookup", "layer-skip", "disturbed")
EXITING = ("early-exit", "disturbed")  # those that need an exit layer
MOST_FIRST = 99_999  # new token from which drafts may be disturbed


def parse_drafter(text: str) -> tuple[str, int | SkipSet | tuple[float, int] | None]:
    """Name and setting of a drafter: `early-exit`, `prompt-lookup` or `prompt-lookup:2` (longest n-gram), `layer-skip` or
    `layer-skip:a3.m4` (what is skipped), `disturbed:0.5:64` (early exit, but from new token 64 on every draft is with probability 0.5 a
    random token). Raises UserError."""
    name, _, setting = text.partition(":")
    if name not in DRAFTERS or (setting and name == "early-exit"):
        raise UserError(f"unknown drafter {text[:60]!r}: choose one of {', '.join(DRAFTERS)}, as in prompt-lookup:2 or layer-skip:a3.m4")
    if name == "disturbed":
        return name, _disturbance(setting)
    if not setting:
        return name, None
    if name == "layer-skip":
        return name, SkipSet.parse(setting)
    if not setting.isdecimal() or len(setting) > 4:
        raise UserError(f"prompt-lookup takes the length of its longest n-gram, as in prompt-lookup:2, not {setting[:40]!r}")
    return name, int(setting)


def _disturbance(setting: str) -> tuple[float, int]:
    """Probability and first new token. Raises UserError."""
    share, _, first = setting.partition(":")
    try:
        probability = float(share[:40])
    except ValueError:
        probability = -1.0
    first = first or "0"
    if not 0 <= probability <= 1 or not first.isdecimal() or int(first[:9]) > MOST_FIRST:
        raise UserError(f"disturbed takes a probability and the new token it begins at, as in disturbed:0.5:64, not {setting[:40]!r}")
    return probability, int(first)


def make_drafter(text: str, target: Target, exit_layer: ExitLayer | None, capacity: int) -> Drafter:
    """`capacity`: positions that prompt and text need. Raises UserError."""
    name, setting = parse_drafter(text)
    if name == "prompt-lookup":
        return PromptLookupDrafter(target, *([] if setting is None else [setting]))
    if name == "layer-skip":
        return LayerSkipDrafter(target, setting)
    if exit_layer is None and target.depth == 1:
        raise UserError(f"{target.name} has one layer, which leaves nothing to exit from: {WITHOUT_EXIT}")
    if exit_layer is None:
        raise UserError("no exit layer is loaded: give --exit-layer a folder, use another --drafter, or --method vanilla")
    early_exit = EarlyExitDrafter(target, exit_layer, capacity)
    return DisturbedDrafter(early_exit, *setting) if name == "disturbed" else early_exit


__all__ = [
    "DRAFTERS",
    "EXITING",
    "Context",
    "Draft",
    "Drafter",
    "EarlyExitDrafter",
    "NoDrafter",
    "SkipSet",
    "make_drafter",
    "parse_drafter",
]

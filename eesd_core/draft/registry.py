"""The table of drafters. Command line, page, API and benchmark read it; a new drafter is a file of its own and a row here.

On the command line settings follow the name, in the order of the table or by name: `prompt-lookup:2`, `disturbed:0.5:64`,
`disturbed:share=0.5`. No drafter is imported before it is made: `--help` must not wait for torch.
"""

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from ..control.base import check_number, check_whole
from ..errors import UserError
from ..limits import MAX_ROWS
from .skip_set import SkipSet

if TYPE_CHECKING:
    from .base import Drafter, Parts

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    kind: Literal["whole", "number", "skips"]
    about: str
    usual: Value | None = None  # None: it must be given
    low: float = 0
    high: float = 0

    def check(self, value: Value) -> Value:
        """Raises UserError."""
        if self.kind == "whole":
            return check_whole(self.about, value, int(self.low), int(self.high))
        if self.kind == "number":
            return check_number(self.about, value, self.low, self.high)
        return str(SkipSet.parse(str(value)))

    def read(self, text: str) -> Value:
        """As it is typed. Raises UserError."""
        try:
            return {"whole": int, "number": float, "skips": str}[self.kind](text[:40])
        except ValueError:
            return self.check(text[:40])  # says what it should have been


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: `home` is the drafter's file and class, made with `Parts` and the settings by name."""

    name: str
    home: str
    about: str  # one line
    source: str
    settings: tuple[Setting, ...] = ()
    needs_exit_layer: bool = False
    usual_controller: str = "throughput"  # in benchmarks that name none
    for_show: bool = False  # nobody would write a text with it


def rows(usual: int) -> Setting:
    """Of drafters of trees."""
    return Setting("rows", "whole", "siblings may fill up a verify pass to so many rows; 1: chains", usual, 1, MAX_ROWS)


ROWS = (
    Entry(
        "early-exit", "early_exit.EarlyExitDrafter", "the target's first layers and the exit layer",
        "EESD, arXiv 2406.03853; the tree is ours",
        (rows(1),),
        needs_exit_layer=True,
    ),
    Entry(
        "prompt-lookup", "prompt_lookup.PromptLookupDrafter", "what followed the last few tokens where they stood before",
        "Saxena 2023; LLMA, arXiv 2304.04487",
        (Setting("longest", "whole", "the longest n-gram looked up", 3, 1, 10),),
        usual_controller="fixed:10",
    ),
    Entry(
        "layer-skip", "layer_skip.LayerSkipDrafter", "the target without some of its attention and MLP sub-layers",
        "Draft & Verify, arXiv 2309.08168",
        (Setting("skips", "skips", "sub-layers left out, as in a3.m3.m4; empty for every second one", ""),),
        usual_controller="adaptive-threshold",
    ),
    Entry(
        "recycling", "recycling.RecyclingDrafter", "what the target last thought would follow a token",
        "Token Recycling, arXiv 2408.08696",
        (Setting("successors", "whole", "how many successors of a token are kept", 8, 1, 64),),
    ),
    Entry(
        "disturbed", "disturbed.DisturbedDrafter", "early exit, made worse on purpose: some drafts are random tokens", "ours",
        (
            Setting("share", "number", "the share of drafts that become random", None, 0, 1),
            Setting("first", "whole", "the new token from which on they do", 0, 0, 99_999),
        ),
        needs_exit_layer=True,
        for_show=True,
    ),
)  # fmt: skip
DRAFTERS = {row.name: row for row in ROWS}


@dataclass(frozen=True, slots=True)
class Drafting:
    """Which drafter, and its settings; those not given have their usual values. Raises UserError."""

    name: str
    settings: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self):
        if self.name not in DRAFTERS:
            raise UserError(f"unknown drafter {self.name[:60]!r}: choose one of {', '.join(DRAFTERS)}, as in {examples()}")
        known = {setting.name: setting for setting in DRAFTERS[self.name].settings}
        if unknown := [name for name in self.settings if name not in known]:
            takes = f"it takes {', '.join(known)}" if known else "it has none"
            raise UserError(f"the drafter {self.name} has no setting {unknown[0][:40]!r}: {takes}")
        values = {name: self.settings.get(name, setting.usual) for name, setting in known.items()}
        if missing := [known[name] for name, value in values.items() if value is None]:
            raise UserError(f"the drafter {self.name} needs {missing[0].name}, {missing[0].about}: write {example(DRAFTERS[self.name])}")
        object.__setattr__(self, "settings", {name: known[name].check(value) for name, value in values.items()})

    def __str__(self) -> str:
        """As on the command line, usual values left out at the end."""
        values = [(setting, self.settings[setting.name]) for setting in DRAFTERS[self.name].settings]
        while values and values[-1][0].usual == values[-1][1]:
            values.pop()
        return ":".join([self.name, *(f"{value:g}" if isinstance(value, float) else str(value) for _, value in values)])


def parse_drafter(text: str) -> Drafting:
    """A name and its settings, from one word. Raises UserError."""
    name, *given = text.split(":")
    row = DRAFTERS.get(name)
    if row is None:
        return Drafting(name)  # says which there are
    known = {setting.name: setting for setting in row.settings}
    if len(given) > len(known):
        raise UserError(f"the drafter {name} takes {len(known) or 'no'} settings, not {len(given)}: write {example(row)}")
    settings: dict[str, Value] = {}
    for setting, part in zip(row.settings, given):
        named, equals, value = part.partition("=")
        if equals and named not in known:
            raise UserError(f"the drafter {name} has no setting {named[:40]!r}: it takes {', '.join(known)}")
        chosen, value = (known[named], value) if equals else (setting, part)
        if value or setting.kind == "skips":
            settings[chosen.name] = chosen.read(value)
    return Drafting(name, settings)


def make_drafter(drafting: Drafting, parts: "Parts") -> "Drafter":
    """Raises UserError where the drafter needs what is not there."""
    row = DRAFTERS[drafting.name]
    if row.needs_exit_layer and parts.exit_layer is None and parts.target.depth == 1:
        from ..heads.base import WITHOUT_EXIT

        raise UserError(f"{parts.target.name} has one layer, which leaves nothing to exit from: {WITHOUT_EXIT}")
    if row.needs_exit_layer and parts.exit_layer is None:
        raise UserError("no exit layer is loaded: give --exit-layer a folder, use another --drafter, or --method vanilla")
    module, _, kind = row.home.partition(".")
    return getattr(import_module(f".{module}", __package__), kind)(parts, **drafting.settings)


def example(row: Entry) -> str:
    """How a drafter is spelled."""
    shown = {"whole": "2", "number": "0.5", "skips": "a3.m4"}
    return ":".join([row.name, *(shown[setting.kind] for setting in row.settings)])


def examples() -> str:
    return " or ".join(example(row) for row in ROWS if row.settings and not row.for_show)

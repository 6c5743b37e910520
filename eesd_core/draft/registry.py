"""The table of drafters, read by command line, page, API and benchmark. A new drafter is a file of its own and a row here.

On the command line settings follow the name, in the order of the table or by name: `prompt-lookup:2`, `disturbed:0.5:64`,
`disturbed:share=0.5`. A drafter's module is imported only when it is made, so that `--help` need not import torch.
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
    usual: Value | None = None  # the default; None: the setting is required
    low: float = 0
    high: float = 0

    def check(self, value: Value) -> Value:
        """Returns the value in its proper type. Raises UserError for one that is not allowed."""
        what = f"{self.name} ({self.about})"
        if self.kind == "whole":
            return check_whole(what, value, int(self.low), int(self.high))
        if self.kind == "number":
            return check_number(what, value, self.low, self.high)
        return str(SkipSet.parse(str(value)))

    def read(self, text: str) -> Value:
        """Reads a value from the command line. Raises UserError."""
        if self.kind == "skips":
            return text
        text = text[:40]  # longer numbers are out of range anyway, and slow to parse
        try:
            return int(text) if self.kind == "whole" else float(text)
        except ValueError:
            return self.check(text)  # raises UserError, which says what is allowed


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table. `home`: the drafter's module and class, which is called with `Parts` and the settings by name."""

    name: str
    home: str
    about: str  # one line
    source: str
    settings: tuple[Setting, ...] = ()
    needs_exit_layer: bool = False
    needs_head: str = ""  # the kind of trained head that it drafts with (heads/kinds.py)
    likes_head: str = ""  # a kind that it drafts with where the model has one
    usual_controller: str = "throughput"  # the default in benchmarks
    for_show: bool = False  # for demonstration only


def rows(usual: int) -> Setting:
    """The setting `rows` of drafters that make trees."""
    return Setting("rows", "whole", "rows of a tree; 1: chains", usual, 1, MAX_ROWS)


def every(usual: int) -> Setting:
    """The setting `every` of drafters that search for layers to skip while they write."""
    return Setting("every", "whole", "rounds between two searches for a better set", usual, 1, 1000)


PHRASE = Setting("phrase", "whole", "tokens of a phrase", 4, 2, 10)

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
        "swift", "swift.SwiftDrafter", "layer skipping, with sets tried while the text is written",
        "SWIFT, arXiv 2410.06916; how sets are proposed is ours",
        (every(4), Setting("window", "whole", "most tokens that a trial reads", 24, 8, 128)),
        usual_controller="adaptive-threshold",
    ),
    Entry(
        "clasp", "clasp.ClaspDrafter", "whole layers skipped, chosen by the last token's hidden states", "CLaSp, arXiv 2505.24196",
        (Setting("share", "number", "the share of layers that are skipped", 0.4, 0, 1), every(8)),
        usual_controller="adaptive-threshold",
    ),
    Entry(
        "ffn-skip", "ffn_skip.FfnSkipDrafter", "feed-forward layers left out where they change little; cannot win by much",
        "FFN-SkipLLM, arXiv 2404.03865, as a drafter",
        (
            Setting("cosine", "number", "above it the next ones are skipped", 0.95, 0, 1),
            Setting("skipped", "whole", "how many are skipped then", 2, 1, 30),
        ),
        usual_controller="adaptive-threshold",
    ),
    Entry(
        "recycling", "recycling.RecyclingDrafter", "what the target last thought would follow a token",
        "Token Recycling, arXiv 2408.08696; the shape of its tree is ours",
        (Setting("successors", "whole", "how many successors of a token are kept", 8, 1, 64), rows(8)),
    ),
    Entry(
        "phrase-pool", "phrase_pool.PhrasePoolDrafter", "phrases of the text and of earlier passes, by the last tokens",
        "after Ouroboros, arXiv 2402.13720; whole drafts from the pool are ours",
        (PHRASE, Setting("key", "whole", "tokens a phrase is looked up by", 2, 1, 4), rows(8)),
        usual_controller="fixed:10",
    ),
    Entry(
        "ouroboros", "ouroboros.OuroborosDrafter", "early exit, with phrases of a pool behind the draft",
        "Ouroboros, arXiv 2402.13720, with the exit layer as its draft model",
        (PHRASE, rows(8)),
        needs_exit_layer=True,
    ),
    Entry(
        "cape", "cape.CapeDrafter", "early exit, with more candidates where it is less sure", "CaPE of GliDe, arXiv 2402.02082",
        (rows(16), Setting("priced", "whole", "1: a candidate must be worth its row too", 0, 0, 1)),
        needs_exit_layer=True, usual_controller="fixed:4",
    ),
    Entry(
        "gsd", "gsd.GsdDrafter", "early exit, with siblings that go on as the spine does",
        "after GSD, arXiv 2407.16207, with its merge turned round",
        (rows(8),),
        needs_exit_layer=True,
    ),
    Entry(
        "mixed", "mixed.MixedDrafter", "the text's own repetitions where they promise more, a trained head elsewhere", "ours", (rows(1),),
        needs_exit_layer=True,
        likes_head="feature",
    ),
    Entry(
        "hedge", "hedge.HedgeDrafter", "of a trained head and three others, mostly the one that would have earned most",
        "HedgeSpec, arXiv 2510.20064",
        (rows(8),),
        needs_exit_layer=True,
        likes_head="feature",
    ),
    Entry(
        "feature", "feature.FeatureDrafter", "a small layer that reads tokens and states of the target, and goes on from its own",
        "EAGLE-3, arXiv 2503.01840; gated after the idea of FSPAD, arXiv 2408.15562", (rows(1),),
        needs_head="feature",
    ),
    Entry(
        "chimera", "chimera.ChimeraDrafter", "a small network on the last three tokens and the state of the last verified one",
        "the trigram encoder of Chimera, arXiv 2402.15758; the rest is ours", (rows(1),),
        needs_head="chimera",
    ),
    Entry(
        "block", "block.BlockDrafter", "all tokens of a round at once, from masks behind the target's states",
        "after SpecDiff, arXiv 2408.05636, in the form of DFlash, arXiv 2602.06036, and DSpark, arXiv 2607.05147",
        (rows(1),),
        needs_head="block",
    ),
    Entry(
        "glide", "glide.GlideDrafter", "layers on token embeddings that read the target's cached keys and values",
        "GliDe with a CaPE, arXiv 2402.02082; one attention for both is ours",
        (rows(1), Setting("cape", "whole", "1: candidates beside the spine as CaPE's table says", 0, 0, 1)),
        needs_head="glide",
    ),
    Entry(
        "hidden-transfer", "hidden_transfer.HiddenTransferDrafter", "pseudo states of the next positions through the target's upper layers",
        "Hidden Transfer, arXiv 2404.12022, in two passes; that it reads drafted tokens is ours", (rows(1),),
        needs_head="hidden-transfer",
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
    """A drafter's name and settings; missing settings get their defaults. Raises UserError for unknown names and bad values."""

    name: str
    settings: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self):
        if self.name not in DRAFTERS:
            raise UserError(f"unknown drafter {self.name[:60]!r}: choose one of {', '.join(DRAFTERS)}")
        known = {setting.name: setting for setting in DRAFTERS[self.name].settings}
        if unknown := [name for name in self.settings if name not in known]:
            takes = f"it takes {', '.join(known)}" if known else "it has none"
            raise UserError(f"the drafter {self.name} has no setting {unknown[0][:40]!r}: {takes}")
        values = {name: self.settings.get(name, setting.usual) for name, setting in known.items()}
        if missing := [known[name] for name, value in values.items() if value is None]:
            raise UserError(f"the drafter {self.name} needs {missing[0].name}, {missing[0].about}: write {example(DRAFTERS[self.name])}")
        object.__setattr__(self, "settings", {name: known[name].check(value) for name, value in values.items()})

    def __str__(self) -> str:
        """As on the command line, without trailing default values."""
        values = [(setting, self.settings[setting.name]) for setting in DRAFTERS[self.name].settings]
        while values and values[-1][0].usual == values[-1][1]:
            values.pop()
        return ":".join([self.name, *(f"{value:g}" if isinstance(value, float) else str(value) for _, value in values)])


def parse_drafter(text: str) -> Drafting:
    """Parses a drafter's name and settings from one word. Raises UserError."""
    name, *given = text.split(":")
    row = DRAFTERS.get(name)
    if row is None:
        return Drafting(name)  # raises UserError, which lists the drafters
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
    """Make the drafter. Raises UserError if the exit layer or trained head that it needs is missing."""
    row = DRAFTERS[drafting.name]
    if row.needs_exit_layer and parts.exit_layer is None and parts.target.depth == 1:
        from ..heads.base import WITHOUT_EXIT

        raise UserError(f"{parts.target.name} has one layer, which leaves nothing to exit from: {WITHOUT_EXIT}")
    if row.needs_exit_layer and parts.exit_layer is None:
        raise UserError("no exit layer is loaded: give --exit-layer a folder, use another --drafter, or --method vanilla")
    if row.needs_head and row.needs_head not in parts.heads:
        raise without_head(row.needs_head, parts.target.name)
    module, _, kind = row.home.partition(".")
    drafter = getattr(import_module(f".{module}", __package__), kind)(parts, **drafting.settings)
    drafter.name = drafter.name or str(drafting)
    return drafter


def without_head(kind: str, model: str) -> UserError:
    train = f"train one with `distill --head {kind}` and give --heads its folder"
    return UserError(f"no {kind} head is there for {model}: {train}, or use another --drafter")


def example(row: Entry) -> str:
    """An example of the drafter's spelling on the command line."""
    shown = {"whole": "2", "number": "0.5", "skips": "a3.m4"}
    return ":".join([row.name, *(shown[setting.kind] for setting in row.settings)])

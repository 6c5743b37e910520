"""What a benchmark consists of: groups of methods, each with its prompts and settings.

`default`       the paper's question: EESD beside vanilla, transformers and the other drafters
`full`          the default suite's methods, every controller, every fixed draft length; and both acceptance rules with sampling
`thompson`      the paper's rule over prior, discount and draft limit
`sensitivity`   the rules that have a prior and a discount, over both
`distillation`  with a distilled exit layer, an untrained copy of the last layer, the frozen norm and head
`length`        text length up to the full context
`temperature`   from greedy to flat
"""

from dataclasses import dataclass, replace

from ..control import CONTROLLERS
from ..errors import UserError
from ..sampling import Sampling
from .prompts import Prompt

DEFAULT = (
    "vanilla", "hf", "hf-stock", "hf-early-exit", "hf-prompt-lookup", "prompt-lookup", "layer-skip", "fixed:3", "beta", "throughput",
)  # fmt: skip
LADDER = tuple(f"fixed:{k}" for k in range(1, 9))
RULES = tuple(name for name in CONTROLLERS if name != "fixed")
FULL = (
    "vanilla", "hf", "hf-stock", "hf-static", "hf-early-exit", "hf-prompt-lookup", "prompt-lookup", "prompt-lookup+throughput",
    "layer-skip", "layer-skip+throughput", "frozen-exit", "untrained-exit", *RULES, *LADDER,
)  # fmt: skip
COMPARED = ("vanilla", "hf", "fixed:3", "beta", "throughput")
DRAWN = 0.8  # temperature for groups that need sampling, if the user gives none
PRIORS, FORGETS, LIMITS = ((1, 1), (8, 2), (2, 8)), (1, 0.98, 0.9), (2, 4, 8, 15)
GRID = tuple(f"beta:alpha={a}:beta={b}:forget={f}:limit={n}" for a, b in PRIORS for f in FORGETS for n in LIMITS)
LEARNERS = tuple(f"{rule}:alpha={a}:beta={b}:forget={f}" for rule in ("beta", "throughput") for a, b in PRIORS for f in FORGETS)
LENGTHS = (64, 128, 256, 512)
TEMPERATURES = (0.0, 0.4, 0.7, 0.8, 1.0, 1.2)
FEW = 14  # prompts, two of each category, for suites that compare many settings


@dataclass(frozen=True, slots=True)
class Group:
    """Methods that are compared with each other. `x`: the group's value on its suite's axis, if it has one."""

    name: str
    title: str
    methods: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    new_tokens: int
    repeats: int
    x: float | None = None


def make_suite(
    name: str, prompts: list[Prompt], methods: list[str] | None, sampling: Sampling, new_tokens: int, repeats: int, context: int
) -> tuple[Group, ...]:
    """The groups of a suite. `methods` replaces the default suite's. `context`: of the model, in tokens. Raises UserError."""
    check_suite(name, methods, repeats)
    every, few = tuple(prompts), tuple(prompts[:FEW])
    drawn = sampling if sampling.temperature else replace(sampling, temperature=DRAWN)
    base = Group(name, "Methods", DEFAULT, every, sampling, new_tokens, repeats)
    if name == "default":
        chosen = dict.fromkeys(["vanilla", *(methods or DEFAULT)])  # everything is compared with vanilla
        return (replace(base, methods=tuple(chosen)),)
    if name == "full":
        shared, rejection = replace(drawn, acceptance="shared-noise"), ("throughput@rejection", "fixed:3@rejection", "beta@rejection")
        rules = ("vanilla", "hf", "throughput", "fixed:3", "beta", *rejection)
        title = f"Acceptance rules at temperature {drawn.temperature:g}"
        return replace(base, methods=FULL), replace(base, name="acceptance", title=title, methods=rules, sampling=shared)
    if name == "thompson":
        title = "Prior, discount and draft limit of the paper's rule"
        return (replace(base, title=title, methods=("vanilla", *GRID), prompts=few, repeats=1),)
    if name == "sensitivity":
        title = "How much prior and discount matter"
        return (replace(base, title=title, methods=("vanilla", *LEARNERS), prompts=few, repeats=1),)
    if name == "distillation":
        exits = tuple(f"{exit}{rule}" for rule in ("throughput", "fixed:3") for exit in ("frozen-exit+", "untrained-exit+", ""))
        return (replace(base, title="With and without self-distillation", methods=("vanilla", *exits)),)
    if name == "length":
        longest = context - 128  # room for the prompt
        lengths = sorted({min(length, longest) for length in (*LENGTHS, longest)} - {0})
        base = replace(base, methods=COMPARED, prompts=few[: FEW // 2], repeats=1)
        return tuple(replace(base, name=f"length {n}", title=f"{n} new tokens", new_tokens=n, x=n) for n in lengths if n > 0)
    groups = []
    for t in TEMPERATURES:
        at = replace(base, name=f"temperature {t:g}", title=f"Temperature {t:g}", prompts=few, x=t)
        rules = (*COMPARED, "throughput@rejection") if t else COMPARED
        groups.append(replace(at, methods=rules, sampling=replace(sampling, temperature=t, acceptance="shared-noise")))
    return tuple(groups)


def check_suite(name: str, methods: list[str] | None, repeats: int) -> None:
    """Needs no model, so that a mistake is said before one is loaded. Raises UserError."""
    if name not in (*SUITES, *OTHERS):
        raise UserError(f"unknown suite {name[:60]!r}: choose one of {', '.join((*SUITES, *OTHERS))}")
    if methods and name not in ("default", *OTHERS):
        raise UserError(f"the suite {name} brings its own methods: leave out --methods, or --suite")
    if repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {repeats}")


SUITES = ("default", "full", "thompson", "sensitivity", "distillation", "length", "temperature")
OTHERS = ("batch", "gpu")  # made elsewhere: batch_suite.py, gpu_suite.py

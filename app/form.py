"""The form as a table. Each setting of the page is defined once: its component, its parameter in a link, and its check on the server."""

from dataclasses import dataclass
from inspect import signature

from eesd_core.control import CONTROLLERS
from eesd_core.draft.registry import DRAFTERS
from eesd_core.limits import MAX_DRAFT
from eesd_core.model.catalog import NAMES as NAMES_OF_MODELS
from eesd_core.model.precisions import CHOICES
from eesd_core.text.stop_strings import LONGEST

MOST_CHARACTERS = 4000
MOST_NEW_TOKENS = 512
MOST_SYSTEM = 1000  # characters, as below
MOST_HISTORY = 12_000  # of all earlier turns together, since a link holds them


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is the argument, the link's parameter and, with dashes, the element's id unless `own_id` is set.

    An `optional` field may be empty; it then shows `usual`, the value that applies.
    """

    name: str
    label: str
    info: str
    value: str | float | bool | None
    kind: str  # text, number, whole, choice, flag or history
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    optional: bool = False
    usual: str = ""
    own_id: str = ""

    @property
    def element(self) -> str:
        return self.own_id or self.name.replace("_", "-")


def takers(setting: str) -> list[str]:
    """Names of the controllers that have this setting."""
    return [name for name, kind in CONTROLLERS.items() if setting in signature(kind).parameters]


def drafters_with(setting: str) -> list[str]:
    return [name for name, row in DRAFTERS.items() if any(setting == own.name for own in row.settings)]


def usual(setting: str) -> str:
    """The setting's default, as a text where controllers differ."""
    return in_words({signature(CONTROLLERS[name]).parameters[setting].default for name in takers(setting)})


def usual_of_drafters(setting: str) -> str:
    return in_words({own.usual for name in drafters_with(setting) for own in DRAFTERS[name].settings if own.name == setting})


def in_words(values: set) -> str:
    return f"{values.pop():g}" if len(values) == 1 else "its own"


def knob(name: str, label: str, info: str) -> Field:
    """A field for a controller's own setting; the controller checks its range."""
    return Field(name, label, info, None, "number", -1e6, 1e6, optional=True, usual=usual(name))


def drafts(name: str, label: str, info: str, least: int) -> Field:
    """A field for a controller's setting that is a number of drafts."""
    return Field(name, label, info, None, "whole", least, MAX_DRAFT, optional=True, usual=usual(name))


PROMPT = Field("prompt", "Prompt", "Ctrl+Enter runs, Escape stops", "", "text", 1, MOST_CHARACTERS)
RULES = ("shared-noise", "rejection")
SAMPLING = (
    Field("temperature", "Temperature", "0 is greedy; at most 2", 0.8, "number", 0, 2),
    Field("top_k", "Top-k", "0 keeps every token", 0, "whole", 0, 1_000_000),
    Field("top_p", "Top-p", "1 keeps every token", 1, "number", 0.01, 1),
    Field("min_p", "Min-p", "0 keeps every token", 0.1, "number", 0, 0.99),
    Field("seed", "Seed", "same seed, same text", "7", "whole", 0, 2**53),
    Field("new_tokens", "New tokens", f"1 to {MOST_NEW_TOKENS}", 128, "whole", 1, MOST_NEW_TOKENS),
    Field("acceptance", "Acceptance", "keeps vanilla's text, or its probabilities", RULES[0], "choice", choices=RULES),
    Field("chat", "Chat", "reply to the prompt", False, "flag"),
)
CONTROLLER = Field("controller", "Controller", "when to stop drafting", "beta", "choice", choices=tuple(CONTROLLERS))
KNOBS = (
    knob("alpha", "Prior alpha", "prior count of right drafts"),
    knob("beta", "Prior beta", "prior count of wrong drafts"),
    Field("draw", "Draw theta", "per token, or once a round", "token", "choice", choices=("token", "round")),
    knob("forget", "Forget", "share of counts kept"),
    knob("explore", "Explore", "time for trying again"),
    drafts("length", "Draft length", f"0 to {MAX_DRAFT}, every round", 0),
    drafts("start", "First length", "of the first round", 1),
    knob("threshold", "Threshold", "lowest confidence to go on"),
    knob("wanted", "Wanted rate", "share of accepted drafts"),
    knob("bound", "Bound", "most of sqrt(factor x entropy)"),
    knob("factor", "Factor", "of the entropy"),
    knob("width", "Width", "of the confidence bound"),
    drafts("limit", "Limit", f"most per round, 1 to {MAX_DRAFT}", 1),
)
DRAFTER_NAMES = tuple(row.name for row in DRAFTERS.values() if not row.for_show)
HEADS_NEEDED = {name: DRAFTERS[name].needs_head for name in DRAFTER_NAMES if DRAFTERS[name].needs_head}  # kinds of trained heads
DRAFTER = Field("drafter", "Drafter", "who proposes tokens", "early-exit", "choice", choices=DRAFTER_NAMES)
_NUMBERS = {s.name: s for name in DRAFTER_NAMES for s in DRAFTERS[name].settings if s.kind in ("whole", "number")}
DRAFTER_SETTINGS = tuple(  # numbers only; a set of layers can be given on the command line
    Field(s.name, s.name.capitalize(), s.about, None, s.kind, s.low, s.high, optional=True, usual=usual_of_drafters(s.name))
    for s in _NUMBERS.values()
)
WRONG = Field("wrong", "Wrong drafts", "share made random", None, "number", 0, 1, optional=True, usual="0")
WRONG_FROM = Field("wrong_from", "Wrong from", "first new token", None, "whole", 0, MOST_NEW_TOKENS, optional=True, usual="the middle")
QUANTIZE = Field("quantize", "Weights", "precision of the next run", None, "choice", choices=CHOICES, optional=True)
MODEL = Field("model", "Model", "who writes", None, "choice", choices=NAMES_OF_MODELS, optional=True)
STOP = Field("stop", "Stop text", "the text ends just before it", "", "text", 0, LONGEST, optional=True, own_id="stop-text")
SYSTEM = Field("system", "System prompt", "told to the model first", "", "text", 0, MOST_SYSTEM, optional=True)
# Earlier requests of a conversation and their replies, as JSON: [["request", "reply"], ...].
HISTORY = Field("history", "Conversation", "", "", "history", 0, MOST_HISTORY, optional=True)
DRAFTING = (DRAFTER, *DRAFTER_SETTINGS, WRONG, WRONG_FROM)
FIELDS = (PROMPT, *SAMPLING, CONTROLLER, *KNOBS, *DRAFTING, QUANTIZE, MODEL, STOP, SYSTEM, HISTORY)
NAMES = tuple(field.name for field in FIELDS)


def visibility() -> str:
    """CSS that shows a controller's or drafter's settings only while it is chosen, and the system prompt only with chat, and that hides
    drafters whose trained head the chosen model lacks."""
    rules = [f"#settings:not(:has(#chat input:checked)) #{SYSTEM.element} {{ display: none; }}"]
    owners = [(CONTROLLER, field, takers(field.name)) for field in KNOBS]
    owners += [(DRAFTER, field, drafters_with(field.name)) for field in DRAFTER_SETTINGS]
    owners += [(DRAFTER, field, ["early-exit"]) for field in (WRONG, WRONG_FROM)]
    for owner, field, names in owners:
        chosen = ", ".join(f"[value='{name}']" for name in names)
        rules.append(f"#settings:not(:has(#{owner.element} input:is({chosen}):checked)) #{field.element} {{ display: none; }}")
    for name in HEADS_NEEDED:
        rules.append(f":root[data-lacking~='{name}'] #{DRAFTER.element} label:has(input[value='{name}']) {{ display: none; }}")
    return "\n".join(rules)


def for_links() -> list[dict]:
    """What the browser needs to write and read a link."""
    keys = ("name", "kind", "low", "high", "choices", "optional")
    return [{key: getattr(field, key) for key in keys} for field in FIELDS]

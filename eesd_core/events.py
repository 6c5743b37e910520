"""Events: what the engine says while it runs. Plain data, no tensors, no tokenizer.

Words, as in the whole project: a *draft token* is proposed by the drafter; *accepted* drafts are confirmed by the target; the
first one it does not confirm is *rejected*, those after it are *untested*; the *correction* is the target's token in place
of a rejected one, the *bonus* its token after a fully accepted draft.

An event is wrapped in a `Record` that says where it belongs: run, lane, row, gapless `seq` in that lane and row, and `t`, seconds
on the lane's own compute clock, which starts when prefill ends and stands still while anybody else works. A run can be
rebuilt from its records alone (rounds.py). As JSON a record is one flat object; `trace.py` reads and writes them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

FORMAT = "eesd-trace/2"
OLDER = "eesd-trace/1"  # chains only; reading makes it the newer one (schema.py)

StopReason = Literal["controller", "limit", "length", "eos", "stop", "none"]
NextKind = Literal["correction", "bonus", "none"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """First event of a lane. `settings` holds controller, sampling and limits as plain values."""

    type: ClassVar[str] = "run_started"
    method: str  # "eesd", "vanilla", or the name of another program, which says less than an engine of ours (foreign/)
    model: str
    device: str
    dtype: str
    level: str  # what can be promised: "exact-by-construction", "exact-as-observed" or, by rejection sampling, "same-distribution"
    prompt: str
    prompt_ids: tuple[int, ...]
    settings: dict
    versions: dict
    special_ids: tuple[int, ...] | None = None  # tokens that say something about the text and are not part of it; None: not known
    end_ids: tuple[int, ...] | None = None  # tokens that end it; None: not known
    format: str = FORMAT


@dataclass(frozen=True, slots=True)
class PrefillDone:
    type: ClassVar[str] = "prefill_done"
    tokens: int
    seconds: float  # not on the lane's clock: t is still 0


@dataclass(frozen=True, slots=True)
class CostMeasured:
    """What a round of k drafts costs when the run begins, in seconds: fixed + k x draft + verify[k]. They are tracked while running."""

    type: ClassVar[str] = "cost_measured"
    draft: float
    verify: tuple[float, ...]  # T_v(1), T_v(2) ...
    fixed: float


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """`posterior` is the controller's snapshot before the round; `position` that of the first token to be written."""

    type: ClassVar[str] = "round_started"
    round: int
    position: int
    limit: int  # most drafts this round may have
    posterior: dict


@dataclass(frozen=True, slots=True)
class DraftToken:
    """One draft token, and what the controller decided after it: go on (`go`) or stop, with its terms (theta, chi, u ...)."""

    type: ClassVar[str] = "draft_token"
    round: int
    i: int  # 0-based number in the draft
    position: int
    id: int
    text: str
    probability: float  # of this token under the drafter, after temperature and cuts (greedy: the plain softmax)
    confidence: float  # largest probability under the drafter
    entropy: float  # nats
    go: bool
    terms: dict
    lead: float | None = None  # of its score over the runner-up's, in logits over temperature; older traces do not say
    parent: int = None  # number of the draft token that it continues; -1: the last token of the text. By default i - 1, as in a chain

    def __post_init__(self):
        if self.parent is None:
            object.__setattr__(self, "parent", self.i - 1)


@dataclass(frozen=True, slots=True)
class DraftStopped:
    type: ClassVar[str] = "draft_stopped"
    round: int
    drafted: int
    reason: StopReason


@dataclass(frozen=True, slots=True)
class RoundVerified:
    """The target's judgement. `probabilities[i]` is the target's probability of draft i; `margins[0]` the lead of its choice
    for the first token, `margins[i + 1]` of its choice behind draft i.

    `target_ids` are the target's choices at these places; by rejection sampling they end with the token that follows
    the accepted drafts. There `accept_probabilities` and `uniforms` say for every tested draft how likely it was to be accepted and the
    random number that decided: accepted if below. They are None for definite choices. A vanilla step is a round without drafts.
    """

    type: ClassVar[str] = "round_verified"
    round: int
    drafted: int
    accepted: int
    target_ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    margins: tuple[float, ...]
    next_id: int | None
    next_text: str
    next_probability: float
    next_kind: NextKind
    draft_seconds: float
    verify_seconds: float
    accept_probabilities: tuple[float, ...] | None = None
    uniforms: tuple[float, ...] | None = None
    path: tuple[int, ...] = None  # numbers of the accepted draft tokens, each the parent of the next. By default 0, 1 ..., as in a chain

    def __post_init__(self):
        if self.path is None:
            object.__setattr__(self, "path", tuple(range(self.accepted)))


@dataclass(frozen=True, slots=True)
class PosteriorUpdated:
    type: ClassVar[str] = "posterior_updated"
    round: int
    posterior: dict


@dataclass(frozen=True, slots=True)
class DrafterLearned:
    """What a drafter that learns shows of itself, where it has changed: its set of layers, its pool, its choice."""

    type: ClassVar[str] = "drafter_learned"
    round: int
    drafter: dict


@dataclass(frozen=True, slots=True)
class TokensCommitted:
    """Tokens that now belong to the text. `text` is what they add; bytes of an unfinished character wait for the next commit, and so does
    what may be the beginning of a stop string."""

    type: ClassVar[str] = "tokens_committed"
    round: int
    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class RoundTold:
    """A round of another program's run (foreign/), which says no more of it than this; None is what it did not say. `t` of its record is
    the sum of `seconds` so far."""

    type: ClassVar[str] = "round_told"
    round: int
    drafted: int
    accepted: int
    ids: tuple[int, ...] | None  # tokens that it wrote, and their text
    text: str | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TextTold:
    """The text of another program's run whose rounds do not say what each of them wrote."""

    type: ClassVar[str] = "text_told"
    ids: tuple[int, ...] | None
    text: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """`t` of its record is the decoding time; 0 where another program did not say it."""

    type: ClassVar[str] = "run_finished"
    reason: Literal["length", "eos", "stop", "unknown"]  # stop: the last token completed a stop string; unknown: another program's
    new_tokens: int
    speculative_decoding: dict | None = None  # vLLM's figures of the run (metrics.py); None without a drafter, and in an older trace


@dataclass(frozen=True, slots=True)
class RunCancelled:
    type: ClassVar[str] = "run_cancelled"
    new_tokens: int


@dataclass(frozen=True, slots=True)
class RaceFinished:
    """The verdict over both lanes (lane "race"). `first_difference` is None or {position, margin, vanilla_id, eesd_id,
    candidates}: the best five of each lane there (candidates.py).

    By rejection sampling the texts are two draws from one distribution: level "same-distribution", `identical` None.
    """

    type: ClassVar[str] = "race_finished"
    identical: bool | None
    level: str
    first_difference: dict | None
    speedup: float | None  # decoding tokens per second, eesd over vanilla
    cache_difference: float | None = None  # the largest between the lanes' keys and values; None: the texts differ, or nobody looked


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What other controllers and draft lengths would have made of this run (simulate/courses.py, simulate/hindsight.py): a row each.

    A row has name, tokens_per_second, speedup (over the run's own vanilla lane), regret_fixed and regret_oracle (ms), rounds, accepted and
    draft_lengths.
    """

    type: ClassVar[str] = "what_if"
    rows: tuple[dict, ...]


Event = (
    RunStarted | PrefillDone | CostMeasured | RoundStarted | DraftToken | DraftStopped | RoundVerified | PosteriorUpdated
    | DrafterLearned | TokensCommitted | RoundTold | TextTold | RunFinished | RunCancelled | RaceFinished | WhatIf
)  # fmt: skip
EVENT_TYPES = {cls.type: cls for cls in Event.__args__}


@dataclass(frozen=True, slots=True)
class Record:
    run: str
    lane: str  # "eesd", "vanilla" or "race"
    seq: int
    t: float
    event: Event
    row: int = 0  # which of several texts that are written in the same passes

    def to_json(self) -> dict:
        head = {"type": self.event.type, "run": self.run, "lane": self.lane, "row": self.row, "seq": self.seq}
        event = self.event  # flat, so its fields are taken as they are: `asdict` would copy every one of them, ten times as slowly
        return head | {"t": round(self.t, 6)} | {name: getattr(event, name) for name in event.__slots__}

    @classmethod
    def from_json(cls, data: dict) -> "Record":
        """Inverse of `to_json`, of lines that have been checked (schema.py). Raises ValueError that names what is missing or unknown."""
        try:
            kind = EVENT_TYPES[data["type"]]
            if type(data["seq"]) is not int or not isinstance(data["t"], int | float):
                raise ValueError("seq and t must be numbers")
            values = {name: tuple(value) if isinstance(value := data[name], list) else value for name in kind.__slots__}
            return cls(data["run"], data["lane"], data["seq"], data["t"], kind(**values), data["row"])
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not an {FORMAT} record: {problem!r}") from problem

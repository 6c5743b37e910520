"""Events: what the engine reports while it runs. Plain data, no tensors, no tokenizer.

Terms, as in the whole project: a *draft token* is proposed by the drafter; *accepted* drafts are confirmed by the target; the
first one it does not confirm is *rejected*, those after it are *untested*; the *correction* is the target's token in place
of a rejected one, the *bonus* its token after a fully accepted draft.

An event is wrapped in a `Record` that says where it belongs: run, lane, row, gapless `seq` in that lane and row, and `t`, seconds
on the lane's own compute clock, which starts when prefill ends and pauses while other lanes work. A run can be rebuilt from its
records alone (rounds.py). As JSON a record is one flat object; `trace.py` reads and writes them.

Nobody changes an event once it is made. The classes do not enforce that, because a frozen dataclass takes five times as long to make, and
a round has about eight events.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

FORMAT = "eesd-trace/2"
OLDER = "eesd-trace/1"  # chains only; converted to the newer format when read (schema.py)

StopReason = Literal["controller", "limit", "length", "eos", "stop", "none"]
NextKind = Literal["correction", "bonus", "none"]


@dataclass(slots=True)
class RunStarted:
    """First event of a lane. `settings` holds controller, sampling and limits as plain values."""

    type: ClassVar[str] = "run_started"
    method: str  # "eesd", "vanilla", or the name of another program, which reports less than our engine (foreign/)
    model: str
    device: str
    dtype: str
    level: str  # the guarantee: "exact-by-construction", "exact-as-observed" or, with rejection sampling, "same-distribution"
    prompt: str
    prompt_ids: tuple[int, ...]
    settings: dict
    versions: dict
    special_ids: tuple[int, ...] | None = None  # control tokens, which are not part of the text; None: unknown
    end_ids: tuple[int, ...] | None = None  # tokens that end the text; None: unknown
    format: str = FORMAT


@dataclass(slots=True)
class PrefillDone:
    type: ClassVar[str] = "prefill_done"
    tokens: int
    seconds: float  # not on the lane's clock: t is still 0


@dataclass(slots=True)
class CostMeasured:
    """Cost of a round of k > 0 drafts when the run begins, in seconds: fixed + k x draft + verify[k]. Costs are tracked while running."""

    type: ClassVar[str] = "cost_measured"
    draft: float
    verify: tuple[float, ...]  # T_v(1), T_v(2) ...
    fixed: float


@dataclass(slots=True)
class RoundStarted:
    """`posterior`: the controller's snapshot before the round. `position`: of the first token that the round will write."""

    type: ClassVar[str] = "round_started"
    round: int
    position: int
    limit: int  # most drafts this round may have
    posterior: dict


@dataclass(slots=True)
class DraftToken:
    """One draft token and the controller's decision after it: continue (`go`) or stop, with its terms (theta, chi, u ...)."""

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
    lead: float | None = None  # its score minus the runner-up's, in logits / temperature; None in older traces
    parent: int = None  # number of the draft token that it continues; -1: the last token of the text. By default i - 1, as in a chain

    def __post_init__(self):
        if self.parent is None:
            self.parent = self.i - 1


@dataclass(slots=True)
class DraftStopped:
    type: ClassVar[str] = "draft_stopped"
    round: int
    drafted: int
    reason: StopReason


@dataclass(slots=True)
class RoundVerified:
    """The target's judgement. `probabilities[i]`: the target's probability of draft i. `margins[0]`: the lead of the target's choice for
    the first token; `margins[i + 1]`: of its choice behind draft i.

    `target_ids`: the target's choices at these places; with rejection sampling they end with the token that follows the accepted drafts.
    With rejection sampling `accept_probabilities` and `uniforms` hold, for every tested draft, its probability of acceptance and the random
    number, which accepts if it is lower. Otherwise they are None. A vanilla step is a round without drafts.
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
            self.path = tuple(range(self.accepted))


@dataclass(slots=True)
class PosteriorUpdated:
    type: ClassVar[str] = "posterior_updated"
    round: int
    posterior: dict


@dataclass(slots=True)
class DrafterLearned:
    """A drafter's snapshot, after it has changed: its set of layers, its pool, its choice."""

    type: ClassVar[str] = "drafter_learned"
    round: int
    drafter: dict


@dataclass(slots=True)
class TokensCommitted:
    """Tokens that now belong to the text. `text`: what they add to it. Bytes of an unfinished character, and text that may be the beginning
    of a stop string, wait for a later commit."""

    type: ClassVar[str] = "tokens_committed"
    round: int
    ids: tuple[int, ...]
    text: str


@dataclass(slots=True)
class RoundTold:
    """A round of another program's run (foreign/), of which nothing else is known. None: not reported. `t` of its record is the sum of
    `seconds` so far."""

    type: ClassVar[str] = "round_told"
    round: int
    drafted: int
    accepted: int
    ids: tuple[int, ...] | None  # tokens that it wrote, and their text
    text: str | None
    seconds: float | None


@dataclass(slots=True)
class TextTold:
    """The text of another program's run whose rounds do not report what each wrote."""

    type: ClassVar[str] = "text_told"
    ids: tuple[int, ...] | None
    text: str


@dataclass(slots=True)
class RunFinished:
    """`t` of its record is the decoding time; 0 if another program did not report it."""

    type: ClassVar[str] = "run_finished"
    reason: Literal["length", "eos", "stop", "unknown"]  # stop: the last token completed a stop string; unknown: other programs only
    new_tokens: int
    speculative_decoding: dict | None = None  # the run's metrics in vLLM's names (metrics.py); None without a drafter or in older traces


@dataclass(slots=True)
class RunCancelled:
    type: ClassVar[str] = "run_cancelled"
    new_tokens: int


@dataclass(slots=True)
class RaceFinished:
    """The verdict over both lanes (lane "race"). `first_difference` is None or {position, margin, vanilla_id, eesd_id,
    candidates}, where `candidates` has the best five of each lane there (candidates.py).

    With rejection sampling the texts are two draws from one distribution: level "same-distribution", `identical` None.
    """

    type: ClassVar[str] = "race_finished"
    identical: bool | None
    level: str
    first_difference: dict | None
    speedup: float | None  # ratio of decoding tokens per second, eesd / vanilla
    cache_difference: float | None = None  # largest difference between the lanes' cached keys and values; None: not compared


@dataclass(slots=True)
class WhatIf:
    """How this run would have gone with other controllers and draft lengths, one row each (simulate/courses.py, simulate/hindsight.py).

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


@dataclass(slots=True)
class Record:
    run: str
    lane: str  # "eesd", "vanilla" or "race" in traces; comparisons name lanes after methods, forms or precisions (racing.py, forms.py)
    seq: int
    t: float
    event: Event
    row: int = 0  # number of the text, if several are written in the same passes

    def to_json(self) -> dict:
        head = {"type": self.event.type, "run": self.run, "lane": self.lane, "row": self.row, "seq": self.seq}
        event = self.event  # flat, so its fields can be used directly; `asdict` would copy them all and take ten times as long
        return head | {"t": round(self.t, 6)} | {name: getattr(event, name) for name in event.__slots__}

    @classmethod
    def from_json(cls, data: dict) -> "Record":
        """Inverse of `to_json`, for lines that have been checked (schema.py). Raises ValueError, which names what is missing or unknown."""
        try:
            kind = EVENT_TYPES[data["type"]]
            if type(data["seq"]) is not int or not isinstance(data["t"], int | float):
                raise ValueError("seq and t must be numbers")
            values = {name: tuple(value) if isinstance(value := data[name], list) else value for name in kind.__slots__}
            return cls(data["run"], data["lane"], data["seq"], data["t"], kind(**values), data["row"])
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not an {FORMAT} record: {problem!r}") from problem

"""Folds records into rounds. Text, metrics, exports and the terminal's output are all computed from the result.

`Lane.add` takes one record at a time, so a live run can be folded while it goes on; `fold` takes all of them. Only `Round.judge` decides
the state of a token. The browser has the same fold (assets/web/lib/rounds.js), and a test checks that both give the same result.

The drafts of a round are nodes of a tree: each knows its parent, and a chain is a tree without branches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .events import (
    CostMeasured,
    DrafterLearned,
    DraftStopped,
    DraftToken,
    PosteriorUpdated,
    PrefillDone,
    Record,
    RoundStarted,
    RoundTold,
    RoundVerified,
    RunCancelled,
    RunFinished,
    RunStarted,
    StopReason,
    TextTold,
    TokensCommitted,
)

State = Literal["pending", "accepted", "rejected", "untested", "correction", "bonus", "plain"]
ROOT = -1  # the parent of nodes that continue the pending token, the last one of the text so far


@dataclass(slots=True)
class Token:
    """A token of a round: a draft, or the target's own. `parent`: number of the node that it continues, or ROOT."""

    state: State
    id: int
    text: str
    position: int
    parent: int
    probability: float | None = None  # under the target; None: not judged
    margin: float | None = None  # the lead of the target's choice at this place
    draft: DraftToken | None = None  # its draft event; None: the target's own
    start: float = 0.0  # the lane's clock when its drafting began
    end: float = 0.0  # and when it was drafted


@dataclass(slots=True)
class Round:
    """One draft-verify cycle, complete when `committed` is set. Times are on the lane's clock; rounds follow each other without gaps."""

    number: int  # from 0
    position: int | None  # of the first token that it writes; None: another program's round
    limit: int | None  # most drafts it may have
    belief: dict  # the controller's posterior before the round
    start: float
    end: float
    nodes: list[Token] = field(default_factory=list)
    stop: StopReason | None = None
    verdict: RoundVerified | None = None
    verified: float | None = None  # when the verdict came
    next: Token | None = None  # the target's own token: correction, bonus, or plain if nothing was drafted
    learned: dict | None = None  # the posterior after the round; None: nothing was drafted
    news: dict | None = None  # the drafter's snapshot after the round; None: unchanged
    committed: TokensCommitted | None = None
    told: RoundTold | None = None  # set only for another program's round, and all that is known of it

    def judge(self, verdict: RoundVerified) -> None:
        """Sets the states of all nodes. Nodes on the path are accepted. The target chose a token behind each of them and behind the pending
        token, so other children there are rejected. All remaining nodes are untested."""
        self.verdict, path = verdict, set(verdict.path)
        for number, node in enumerate(self.nodes):
            if node.parent == ROOT or node.parent in path:
                node.state = "accepted" if number in path else "rejected"
                node.probability, node.margin = verdict.probabilities[number], verdict.margins[node.parent + 1]
            else:
                node.state = "untested"
        if verdict.next_id is not None:
            last = verdict.path[-1] if path else ROOT
            state: State = verdict.next_kind if self.nodes else "plain"
            place, margin = self.position + verdict.accepted, verdict.margins[last + 1]
            self.next = Token(state, verdict.next_id, verdict.next_text, place, last, verdict.next_probability, margin)

    @property
    def tokens(self) -> list[Token]:
        """All tokens: the drafts in order, then the target's own."""
        return self.nodes if self.next is None else [*self.nodes, self.next]

    @property
    def written(self) -> list[Token]:
        """The tokens that the round added to the text."""
        return [token for token in self.tokens if token.state not in ("pending", "rejected", "untested")]

    @property
    def drafted(self) -> int:
        return self.told.drafted if self.told else len(self.nodes)

    @property
    def accepted(self) -> int:
        return self.told.accepted if self.told else self.verdict.accepted if self.verdict else 0

    @property
    def spine(self) -> list[Token]:
        """The first path of the tree, which the controller was asked about: the leading nodes that are each the parent of the next."""
        length = next((i for i, node in enumerate(self.nodes) if node.parent != i - 1), len(self.nodes))
        return self.nodes[:length]

    @property
    def tested(self) -> int:
        """Number of draft positions that the target judged: the accepted ones and, if there is one, the rejected one behind them."""
        if self.told:
            return min(self.drafted, self.accepted + 1)
        last = self.verdict.path[-1] if self.accepted else ROOT
        return self.accepted + any(node.state == "rejected" and node.parent == last for node in self.nodes)


class Lane:
    """The run so far of one lane and one text (`row`)."""

    def __init__(self, name: str, row: int = 0):
        self.name, self.row = name, row
        self.started: RunStarted | None = None
        self.prefill: PrefillDone | None = None
        self.costs: CostMeasured | None = None
        self.rounds: list[Round] = []
        self.ended: RunFinished | RunCancelled | None = None
        self.told: TextTold | None = None  # another program's text, if its rounds do not report what they wrote
        self.clock = 0.0

    def add(self, record: Record) -> None:
        """Add the next record. Records of other lanes and rows are ignored."""
        if (record.lane, record.row) != (self.name, self.row):
            return
        before, self.clock = self.clock, record.t
        if self.rounds and not self.round.told:
            self.round.end = record.t  # time until the next round begins is this round's overhead
        match record.event:
            case RunStarted() as e:
                self.started = e
            case PrefillDone() as e:
                self.prefill = e
            case CostMeasured() as e:
                self.costs = e
            case RoundStarted() as e:
                self.rounds.append(Round(e.round, e.position, e.limit, e.posterior, record.t, record.t))
            case DraftToken() as e:
                node = Token("pending", e.id, e.text, e.position, e.parent, draft=e, start=before, end=record.t)
                self.round.nodes.append(node)
            case DraftStopped() as e:
                self.round.stop = e.reason
            case RoundVerified() as e:
                self.round.judge(e)
                self.round.verified = record.t
            case PosteriorUpdated() as e:
                self.round.learned = e.posterior
            case DrafterLearned() as e:
                self.round.news = e.drafter
            case TokensCommitted() as e:
                self.round.committed = e
            case RoundTold() as e:
                self.rounds.append(Round(e.round, None, None, {}, before, record.t, told=e))
            case TextTold() as e:
                self.told = e
            case RunFinished() | RunCancelled() as e:
                self.ended = e

    @property
    def round(self) -> Round:
        """The current round. Raises IndexError before the first."""
        return self.rounds[-1]

    @property
    def judged(self) -> list[Round]:
        return [round for round in self.rounds if round.verdict or round.told]

    @property
    def foreign(self) -> bool:
        """Whether this is another program's run, of which less is known."""
        return self.started is not None and self.started.method not in ("eesd", "vanilla")

    @property
    def backend(self) -> str:
        """Which backend wrote it (backends.py); "" for another program's run."""
        return "" if self.foreign or not self.started else self.started.settings.get("backend", "host")

    @property
    def finished(self) -> bool:
        return isinstance(self.ended, RunFinished)

    @property
    def token_ids(self) -> list[int]:
        return [id for part in self._written for id in part.ids or ()]

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self._written)

    @property
    def _written(self) -> list[TokensCommitted | RoundTold | TextTold]:
        return [part for part in (*(round.committed or round.told for round in self.rounds), self.told) if part]

    @property
    def margins(self) -> list[float]:
        """The lead of the target's choice, in logits, at every token of the text."""
        return [token.margin for round in self.rounds for token in round.written]


def fold(records: Iterable[Record], lane: str, row: int = 0) -> Lane:
    result = Lane(lane, row)
    for record in records:
        result.add(record)
    return result


def fold_all(records: Iterable[Record]) -> list[Lane]:
    """All lanes and rows that wrote a text, sorted by name and row, so EESD comes before vanilla."""
    lanes: dict[tuple[str, int], Lane] = {}
    for record in records:
        if record.lane != "race":
            lanes.setdefault((record.lane, record.row), Lane(record.lane, record.row)).add(record)
    return [lanes[key] for key in sorted(lanes)]

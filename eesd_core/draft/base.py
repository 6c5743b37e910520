"""The drafter's interface and its data types.

A drafter is asked for nodes until the controller stops it (run.py). Then it hands over the hidden states that it has already computed,
and after verification it learns which nodes were accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from ..control import Facts
from ..control.base import Stateful
from ..events import StopReason
from ..heads.base import Head
from ..heads.shortlist import spread
from ..heads.trained import TrainedHead
from ..limits import MAX_DRAFT
from ..model.cache import KVCache
from ..model.target import Target
from ..sampling import Ranked, Sampler
from ..verify import Verdict

MOST_LEAD = 1e4  # means "there was no other token"; JSON has no infinity
LOGITS = -1  # key in `seen`, in place of a depth, for the target's logits, (k + 1, V)
CERTAIN = (1.0, 0.0, MOST_LEAD)  # confidence, entropy and lead for a drafter without a distribution


@dataclass(slots=True)
class Text:
    """The text so far. The last of `ids` is *pending*: written, but not yet run through the target (not in `cache`)."""

    ids: list[int]
    cache: KVCache
    sampler: Sampler
    round: int = 0
    ranked: Ranked | None = None  # the best tokens at every row of the last verify pass, by the scores that the target chose by

    @property
    def start(self) -> int:
        """Position of the pending token = number of positions cached at a round boundary."""
        return len(self.ids) - 1


class Law(NamedTuple):
    """The distribution that a draft token was drawn from."""

    ids: Tensor | None  # (S,) the shortlist's tokens; None: the whole vocabulary
    probs: Tensor  # (S,) or (V,)

    def over(self, vocab: int) -> Tensor:
        """The probabilities over the whole vocabulary, (V,)."""
        return self.probs if self.ids is None else spread(self.ids, self.probs, vocab)


class Node(NamedTuple):
    """A draft token. In a chain every node's parent is the one before it; in a tree the spine comes first, a chain of its own."""

    id: int
    parent: int  # number of the node before it on its path; -1: the pending token
    law: Law | None  # None: a definite choice, a point mass, or a draw whose distribution no rule asks for (shared noise)
    facts: Facts
    probability: float = 1.0  # of this token under its law
    ranked: tuple[tuple[int, float], ...] = ()  # spine of a tree only: (token, chance) for this place, best first, starting with this one


class Room(NamedTuple):
    """How many nodes may be added beside and behind the spine, and what each costs."""

    depth: int  # most nodes on a path
    prices: tuple[float, ...]  # of each further row: its time, in tokens that the run writes in that time


def parents_of(nodes: Sequence[Node]) -> tuple[int, ...]:
    """For every row of the verify pass, the row that it follows (see Target.run). Row 0 is the pending token. (): a chain."""
    if all(node.parent == number - 1 for number, node in enumerate(nodes)):
        return ()
    return (-1, *(node.parent + 1 for node in nodes))


@dataclass(slots=True)
class Draft:
    """What a round drafted."""

    nodes: list[Node] = field(default_factory=list)
    states: Tensor | None = None  # (1, k + 1, D) after the drafter's `reuses` layers, pending token first; None: full verify
    stop: StopReason = "none"
    seconds: float = 0.0  # of the drafter's work

    @property
    def ids(self) -> list[int]:
        return [node.id for node in self.nodes]

    @property
    def spine(self) -> list[Node]:
        """The nodes that the controller was asked about."""
        return [node for node in self.nodes if not node.facts.sibling]


class Parts(NamedTuple):
    """What drafters are built from."""

    target: Target
    exit_layer: Head | None  # the one for this temperature (Head.at)
    capacity: int  # positions that prompt and text need
    heads: Mapping[str, TrainedHead] = MappingProxyType({})  # other trained heads, by kind


class Step(NamedTuple):
    """A text's next draft step, behind its last token; `goes`: whether a draft is wanted there."""

    drafter: "Drafter"
    text: Text
    id: int
    position: int
    goes: bool


class Drafter(Stateful):
    """A drafter must define `extend`; the other methods have defaults. Its state is what it has learned, and a new drafter with the same
    settings can continue from it.

    `text.cache` is the target's. A drafter may run ahead in it, but `finish` must leave it at `text.start`, except for the first `reuses`
    layers.
    """

    name: str = ""  # as spelled on the command line, with settings chosen by the drafter; "": registry.py fills in the given spelling
    rows: int = 1  # siblings may fill up a verify pass to this many rows; 1: it drafts chains
    reuses: int = 0  # number of the target's first layers that drafting has already run when verification begins
    at_once: bool = False  # one step makes all drafts of a round, and its time does not depend on their number
    copies: bool = False  # some of its rounds need no step of a model, although others do: `free` says which
    cost_guess: float = 0.0  # draft step time / plain step time, used if it is not measured at load (reuses = 0); 0: unknown
    ranks: int = 0  # how many tokens it wants to find at every row of `Text.ranked`
    taps: tuple[int, ...] = ()  # depths at which it wants the hidden states of every row; each >= reuses

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        """Called after prefill. seen: depth -> (1, n, D), hidden states of the n cached positions, for every depth of `taps`."""

    def free(self, text: Text, room: Room) -> bool:
        """Called before a round is planned, if `copies`. Whether its drafts need no step of a model. room: all rows behind the pending
        token's."""
        return False

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        """Draft further spine nodes behind those of this round: none, one or several, at most `room`."""
        raise NotImplementedError

    def whole_draft(self, text: Text) -> list[int]:
        """Token ids of the longest draft here, at most MAX_DRAFT. For drafters that run no model, since it costs almost nothing."""
        nodes: list[Node] = []
        while len(nodes) < MAX_DRAFT and (more := self.extend(text, nodes, MAX_DRAFT)):
            nodes += more
        return [node.id for node in nodes]

    def shared(self, text: Text) -> Head | None:
        """The head whose draft steps of several texts can be one step; None: this text drafts alone."""
        return None

    @staticmethod
    def step_together(steps: Sequence[Step]) -> None:
        """The next step of several texts, at most MAX_ROWS, whose drafters share a head. What it finds waits for each drafter's `extend`
        and `finish`. A step that does not go is only asked for if drafting runs some of the target's layers (`reuses`)."""
        raise NotImplementedError

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        """Called when the spine is complete. Returns nodes beside and behind it, parents before their children (tree.py)."""
        return []

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor | None:
        """Called when drafting has ended. Returns the states from which verification begins (see Draft), or None."""
        return None

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        """Called after a round, when `text` already contains its tokens. The drafter rolls back its own state behind `text.start`.
        seen: depth -> (1, k + 1, D), for the pending token and every node, and LOGITS. `verdict` None means that the text was cut back to
        an earlier place (checks/same_law.py)."""

    def snapshot(self) -> dict:
        """Its state as JSON values, for display."""
        return {}


def certain(id: int, depth: int, chance: float) -> Node:
    """A spine node from a drafter without a distribution. `chance`: how often such tokens have been right; prices what hangs below it."""
    return Node(id, depth - 1, None, Facts(depth, *CERTAIN), ranked=((id, chance),))


def last_id(text: Text, nodes: Sequence[Node]) -> int:
    """The last token of a chain: the last node's, or the pending one."""
    return nodes[-1].id if nodes else text.ids[-1]

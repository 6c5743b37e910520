"""The drafter's interface and what passes through it.

A drafter is asked for nodes, one call after the other, until the controller stops it (run.py); then it hands over the hidden states that
it already has, and learns what the target made of its nodes.
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
from ..sampling import Sampler
from ..verify import Verdict

MOST_LEAD = 1e4  # stands for "there was no other token", since JSON has no infinity
LOGITS = -1  # in place of a depth, in what a drafter sees of a round: the target's logits, (k + 1, V)
CERTAIN = (1.0, 0.0, MOST_LEAD)  # confidence, entropy and lead of a drafter that has no distribution


@dataclass(slots=True)
class Text:
    """What a run has so far. The last of `ids` is *pending*: written, but not yet run through the target (not in `cache`)."""

    ids: list[int]
    cache: KVCache
    sampler: Sampler
    round: int = 0

    @property
    def start(self) -> int:
        """Position of the pending token = number of positions cached at a round boundary."""
        return len(self.ids) - 1


class Law(NamedTuple):
    """The distribution that a draft token was drawn from."""

    ids: Tensor | None  # (S,) the shortlist it is over; None: the whole vocabulary
    probs: Tensor  # (S,) or (V,)

    def over(self, vocab: int) -> Tensor:
        """Over the whole vocabulary, (V,)."""
        return self.probs if self.ids is None else spread(self.ids, self.probs, vocab)


class Node(NamedTuple):
    """A draft token. In a chain every node's parent is the one before it; in a tree the spine comes first, a chain of its own."""

    id: int
    parent: int  # number of the node before it on its path; -1: the pending token
    law: Law | None  # None: a definite choice, a point mass
    facts: Facts
    probability: float = 1.0  # of this token under its law
    ranked: tuple[tuple[int, float], ...] = ()  # on the spine of a tree: the best tokens for this place, this one first, with their chances


class Room(NamedTuple):
    """What a round has room for behind its spine."""

    depth: int  # most nodes on a path
    prices: tuple[float, ...]  # of one row more, and then one more: the tokens that would be written in the time it takes


def parents_of(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Of every row of the verify pass, the row that it follows (see Target.run): row 0 is the pending token. (): a chain."""
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
    """What drafters are made of."""

    target: Target
    exit_layer: Head | None  # for this temperature
    capacity: int  # positions that prompt and text need
    heads: Mapping[str, TrainedHead] = MappingProxyType({})  # other trained heads, by kind


class Drafter(Stateful):
    """`extend` is all that a drafter must have. Its state is what it has learned: a new drafter of the same settings goes on with it.

    `text.cache` is the target's: a drafter may run ahead in it, and leaves it at `text.start`, apart from its first `reuses` layers.
    """

    name: str = ""  # as it is spelled on the command line, with what was chosen for it; "": as it was asked for
    rows: int = 1  # siblings may fill up a verify pass to so many rows; 1: it drafts chains
    reuses: int = 0  # of the target's first layers, those that drafting has already run when verification begins
    at_once: bool = False  # all drafts of a round come from one step, whose time does not depend on how many they are
    cost_guess: float = 0.0  # of a draft step's time over a plain step's, where it is not measured at load (reuses = 0); 0: none
    taps: tuple[int, ...] = ()  # behind how many layers it wants to see the hidden states of every row; each >= reuses

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        """After prefill. seen: depth -> (1, n, D), hidden states of the n cached positions, at every depth of `taps`."""

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        """More nodes behind those of this round, at most `room` on the spine: none, the next one, or several."""
        raise NotImplementedError

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        """Drafting of the spine has ended: nodes beside it and behind it, parents before their children (tree.py)."""
        return []

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor | None:
        """Drafting has ended with these nodes. Returns the states from which verification begins (see Draft), or None."""
        return None

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        """The round is over, and `text` has what was written: roll back whatever lies behind `text.start`. seen: depth -> (1, k + 1, D), of
        the pending token and every node, and LOGITS. Without a verdict the text was taken back to an earlier place (checks/same_law.py)."""

    def snapshot(self) -> dict:
        """What the page shows of it."""
        return {}


def certain(id: int, depth: int, chance: float) -> Node:
    """A node of the spine whose drafter has no distribution. `chance`: how often such tokens have been right, for its siblings."""
    return Node(id, depth - 1, None, Facts(depth, *CERTAIN), ranked=((id, chance),))


def whole_draft(drafter: Drafter, text: Text) -> list[int]:
    """All that a drafter which runs no model would draft here."""
    nodes: list[Node] = []
    while len(nodes) < MAX_DRAFT and (more := drafter.extend(text, nodes, MAX_DRAFT)):
        nodes += more
    return [node.id for node in nodes]


def last_id(text: Text, nodes: Sequence[Node]) -> int:
    """The token that a chain goes on from."""
    return nodes[-1].id if nodes else text.ids[-1]

"""From a spine to a tree: which further nodes are worth a row of the verify pass. Ours.

Every accepted node is one more token, so a row is worth the probability that its node is on the accepted path: the product of the chances
along its path. Nodes are added, best first, while this is more than the price of a row, the number of tokens that the run would write in
the row's time (run.py). Candidates are siblings of spine nodes and the children of nodes already added.

The target's own choice is written anyway. So accepting a sibling without children gains exactly one token, the target's choice behind it.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from ..control import Facts
from ..verify import Verdict
from .base import Node, Room

Ranked = Sequence[tuple[int, float]]  # (token, chance that it is the target's choice), best first
Follow = Callable[[Sequence[Node], int], Ranked]  # (nodes so far, number of one of them) -> candidates for its children


class Trust:
    """Corrects the chances that a drafter states by the ratio of accepted nodes to the sum of their stated chances, over judged nodes."""

    def __init__(self):
        self.hits = self.promised = 2.0  # ratio 1 at first

    def __call__(self, chance: float) -> float:
        return min(1.0, chance * self.hits / self.promised)

    def learn(self, judged: Iterable[tuple[float, bool]]) -> None:
        """judged: (stated chance, was it accepted) of each node."""
        for chance, hit in judged:
            self.promised, self.hits = self.promised + chance, self.hits + hit


def nothing(nodes: Sequence[Node], number: int) -> Ranked:
    return ()


def grow(spine: Sequence[Node], room: Room, follow: Follow = nothing) -> list[Node]:
    """The nodes to add. Candidates are the other ranked tokens at the spine's places and, behind the last spine node and every added node,
    the tokens that `follow` returns."""
    nodes, chances, taken, waiting = list(spine), [], {(node.parent, node.id) for node in spine}, []

    def offer(parent: int, ranked: Ranked, sibling: int = 0) -> None:
        """Adds candidates. `sibling`: number of the branch that they continue; 0: each begins a branch, numbered by its rank."""
        before, depth = (chances[parent], nodes[parent].facts.depth + 1) if parent >= 0 else (1.0, 0)
        for rank, (id, chance) in enumerate(ranked, 1):
            if depth < room.depth and (parent, id) not in taken:
                taken.add((parent, id))
                heappush(waiting, (-before * chance, len(taken), parent, Facts(depth, chance, 0.0, 0.0, sibling or rank), id))

    for number, node in enumerate(spine):
        offer(number - 1, node.ranked[1:])
        before = chances[-1] if chances else 1.0
        chances.append(before * (node.ranked[0][1] if node.ranked else 1.0))
    if spine:
        offer(len(spine) - 1, follow(nodes, len(spine) - 1))
    for price in room.prices:
        if not waiting or -waiting[0][0] <= price:
            break
        worth, _, parent, facts, id = heappop(waiting)
        nodes.append(Node(id, parent, None, facts, facts.confidence))
        chances.append(-worth)
        offer(len(nodes) - 1, follow(nodes, len(nodes) - 1), facts.sibling)
    return nodes[len(spine) :]


def hang(spine: Sequence[Node], room: Room, sequences: Sequence[tuple[Sequence[int], float]]) -> list[Node]:
    """`grow` with further candidates: whole sequences from the pending token on, given as (token ids, chance of each of its tokens)."""

    def going_on(ids: list[int]) -> dict[int, float]:
        found: dict[int, float] = {}
        for sequence, chance in sequences:
            if len(sequence) > len(ids) and list(sequence[: len(ids)]) == ids:
                found[sequence[len(ids)]] = max(chance, found.get(sequence[len(ids)], 0.0))
        return found

    places = []
    for number, node in enumerate(spine):
        own, *others = node.ranked or ((node.id, 1.0),)
        more = dict(others)
        more |= {id: max(chance, more.get(id, 0.0)) for id, chance in going_on(path_to(spine, number - 1)).items() if id != node.id}
        places.append(node._replace(ranked=(own, *more.items())))
    return grow(places, room, lambda tree, number: tuple(going_on(path_to(tree, number)).items()))


def judged(nodes: Sequence[Node], verdict: Verdict) -> list[tuple[Node, bool]]:
    """The judged nodes, i.e. children of the pending token and of accepted nodes, and whether each was accepted."""
    path = {-1, *verdict.path}
    return [(node, number in path) for number, node in enumerate(nodes) if node.parent in path]


def path_to(nodes: Sequence[Node], number: int) -> list[int]:
    """Token ids on the path to a node, itself included; [] for -1."""
    ids: list[int] = []
    while number >= 0:
        ids.append(nodes[number].id)
        number = nodes[number].parent
    return ids[::-1]

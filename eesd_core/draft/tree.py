"""From a spine to a tree: which nodes beside it are worth a row of the verify pass. Ours.

Every accepted node is one token more, so a row is worth the chance that its node is on the accepted path: the chances along its path, one
times the other. It is added while that is more than its price, the tokens that would be written in the time the row takes (run.py). The
best comes first, whether a sibling of the spine's nodes or what follows one.

The target's own choice is written anyway, so a sibling without children earns nothing but the token that the target chooses behind it.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from ..control import Facts
from ..verify import Verdict
from .base import Node, Room

Ranked = Sequence[tuple[int, float]]  # tokens, the best first, and their chances of being the target's choice
Follow = Callable[[Sequence[Node], int], Ranked]  # (nodes so far, number of one of them) -> what may follow it


class Trust:
    """How far the chances that a drafter names hold: of the nodes that were judged, what was accepted over what their chances promised."""

    def __init__(self):
        self.hits = self.promised = 2.0  # it believes them at first

    def __call__(self, chance: float) -> float:
        return min(1.0, chance * self.hits / self.promised)

    def learn(self, judged: Iterable[tuple[float, bool]]) -> None:
        """Chances as they were named, and what came of them."""
        for chance, hit in judged:
            self.promised, self.hits = self.promised + chance, self.hits + hit


def nothing(nodes: Sequence[Node], number: int) -> Ranked:
    return ()


def grow(spine: Sequence[Node], room: Room, follow: Follow = nothing) -> list[Node]:
    """The nodes to be added. Beside the spine stand the other ranked tokens of its places; behind its last node, and behind every node that
    is added, what `follow` says."""
    nodes, chances, taken, waiting = list(spine), [], {(node.parent, node.id) for node in spine}, []

    def offer(parent: int, ranked: Ranked, sibling: int = 0) -> None:
        """`sibling`: of the branch that the tokens go on with; 0: each begins one."""
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
    """`grow`, and beside and behind the spine also the tokens of whole sequences, each with the chance of every one of its tokens."""

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
    """The nodes that the target had a say on, those behind the pending token and behind accepted nodes, and whether each was accepted."""
    path = {-1, *verdict.path}
    return [(node, number in path) for number, node in enumerate(nodes) if node.parent in path]


def path_to(nodes: Sequence[Node], number: int) -> list[int]:
    """Token ids from the first node on a node's path to itself; none for -1."""
    ids: list[int] = []
    while number >= 0:
        ids.append(nodes[number].id)
        number = nodes[number].parent
    return ids[::-1]

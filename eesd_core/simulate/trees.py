"""What siblings beside the exit layer's chains would have brought on a text. The trees grow by the rule that drafting uses
(draft/tree.py), over simulated drafts (courses.py) and at measured costs; no model runs."""

from ..control import Controller, Costs, Facts, Outcome
from ..draft.base import Node, Room
from ..draft.tree import grow
from .courses import Course, Replay


def replay_trees(controller: Controller, course: Course, costs: Costs, rows: int, again: float) -> Replay:
    """Run a controller over a course as the engine would with `early-exit:ROWS`: siblings fill up a verify pass to at most `rows`.

    `again`: time of a pass over all layers / time over those behind the first N. The rows of a tree pass the first N layers once more.
    """
    result, runs, tokens, place = Replay(), course.runs(), len(course.reach), 0
    written, seconds = 1, costs.round(0)  # the pace that prices a row: before the first round, that of plain decoding
    while place < tokens:
        limit = min(controller.start_round(costs).nodes, tokens - place - 1)
        spine: list[Node] = []
        go = limit > 0
        while go:
            at, depth = place + len(spine), len(spine)
            facts = Facts(depth, course.confidence[at], course.entropy[at], course.lead[at])
            spine.append(Node(0, depth - 1, None, facts, ranked=tuple(enumerate(course.best[at]))))  # ids are ranks
            go = controller.keep_drafting(facts).go and len(spine) < limit
        pace = again * written / seconds
        prices = tuple(pace * (costs.verify[row] - costs.verify[row - 1]) for row in range(len(spine) + 1, rows))
        siblings = grow(spine, Room(tokens - place - 1, prices)) if spine else []
        reached = min(len(spine), runs[place])
        found = (reached - 1, course.rank[place + reached]) if reached < len(spine) else None  # parent and id of the node that is right
        accepted = reached + any((node.parent, node.id) == found for node in siblings)
        controller.observe(Outcome.of([node.facts for node in spine], reached))
        time = costs.round(len(spine))
        if siblings:
            time += again * costs.verify[len(spine) + len(siblings)] - costs.verify[len(spine)]
        written, seconds = written + accepted + 1, seconds + time
        result.draft_lengths.append(len(spine) + len(siblings))
        result.accepted += accepted
        result.seconds += time
        place += accepted + 1
    result.tokens = tokens
    return result

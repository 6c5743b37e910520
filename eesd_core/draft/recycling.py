"""The recycling drafter proposes what the target itself last found likely behind a token (Token Recycling, arXiv 2408.08696).

It runs no model. Every verify pass computes the target's most likely successors of each token in it, also of drafts that were rejected or
untested. A table keeps them for each token; the latest pass replaces older entries. A draft, and each branch of its tree, follows the table
from token to token. Ours: branches are added while they are worth their rows, instead of a fixed tree; chances are corrected by the
acceptance of earlier ones; with shared noise, successors are ordered by their noisy scores.
"""

from collections.abc import Sequence
from math import exp

import numpy as np
from torch import Tensor

from ..control import Facts
from ..sampling import SHARED, Sampler, Sampling, few_gumbels
from ..verify import Verdict
from .base import LOGITS, MOST_LEAD, Drafter, Node, Parts, Room, Text, last_id
from .tree import Trust, grow, judged


class RecyclingDrafter(Drafter):
    def __init__(self, parts: Parts, successors: int = 8, rows: int = 8):
        """`successors`: how many to keep per token. `rows`: siblings may fill up a verify pass to this many rows; 1: a chain."""
        self.successors, self.ranks, self.rows = successors, successors, rows
        self.plain = Sampler(Sampling(), parts.target.vocab, parts.target.device)  # ranks by the target's own probabilities
        self.table: dict[int, tuple[list[int], list[float]]] = {}  # token -> its successors, likeliest first, and their log probabilities
        self.seen: list[int] = []  # the tokens of the current verify pass
        self.trust = Trust()

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        depth, id = len(nodes), last_id(text, nodes)
        if id not in self.table:
            return []
        ids, scores = self._ordered(text, id, depth)
        lead = scores[0] - scores[1] if len(scores) > 1 else MOST_LEAD
        log_probs = self.table[id][1]
        entropy = -sum(exp(log_p) * log_p for log_p in log_probs)  # over the kept successors only
        facts = Facts(depth, exp(log_probs[0]), entropy, min(lead, MOST_LEAD))
        return [Node(ids[0], depth - 1, None, facts, ranked=self._ranked(text, id, depth))]

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room, lambda tree, number: self._ranked(text, tree[number].id, tree[number].facts.depth + 1))

    def _ordered(self, text: Text, id: int, depth: int) -> tuple[list[int], list[float]]:
        """A token's successors and the scores by which the target would choose among them at this depth, highest first."""
        (ids, scores), sampling = self.table[id], text.sampler.sampling
        if not sampling.temperature or sampling.rejects:
            return ids, scores
        noise = few_gumbels(sampling.seed, text.start + depth + 1, np.array(ids), SHARED).tolist()
        scores = [log_p / sampling.temperature + g for log_p, g in zip(scores, noise)]
        order = sorted(range(len(ids)), key=lambda i: -scores[i])
        return [ids[i] for i in order], [scores[i] for i in order]

    def _ranked(self, text: Text, id: int, depth: int) -> tuple[tuple[int, float], ...]:
        if self.rows == 1 or id not in self.table:
            return ()
        ids, scores = self._ordered(text, id, depth)
        weights = [exp(score - scores[0]) for score in scores]
        total = sum(weights)
        return tuple([(id, self.trust(weight / total)) for id, weight in zip(ids, weights)])

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        self.seen = [text.ids[-1], *(node.id for node in nodes)]

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:
            return
        self.trust.learn((node.ranked[0][1] if node.ranked else node.facts.confidence, hit) for node, hit in judged(nodes, verdict))
        found, count = text.ranked, self.successors
        if text.sampler.sampling.temperature:  # it was ranked by other scores
            found = self.plain.rank(seen[LOGITS], range(len(self.seen)), count)
        self.table |= {id: (ids[:count], log_probs[:count]) for id, ids, log_probs in zip(self.seen, found.ids, found.log_probs)}

    def state(self) -> dict:
        return {"table": [[id, *row] for id, row in self.table.items()]}

    def restore(self, state: dict) -> None:
        self.table = {id: (ids, log_probs) for id, ids, log_probs in state["table"]}

    def snapshot(self) -> dict:
        return {"tokens": len(self.table)}

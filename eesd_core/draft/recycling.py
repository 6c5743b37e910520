"""The recycling drafter: what the target itself last thought would follow a token (Token Recycling, arXiv 2408.08696).

It runs no model. Every verify pass says which tokens the target finds likeliest behind each token in it, also behind drafts that were
rejected or never judged. These are kept, a row for each token, and the latest pass counts; a draft follows them from token to token. Ours:
a chain in place of a tree, and with shared noise the successor that this noise would choose among those kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..control import Facts
from ..verify import Verdict
from .base import LOGITS, MOST_LEAD, Drafter, Node, Parts, Text, last_id


class RecyclingDrafter(Drafter):
    def __init__(self, parts: Parts, successors: int = 8):
        """`successors`: how many are kept of a token."""
        self.successors, self.name = successors, "recycling" if successors == 8 else f"recycling:{successors}"
        self.table: dict[int, tuple[list[int], list[float]]] = {}  # token -> its successors, likeliest first, and their log probabilities
        self.rows: list[int] = []  # the tokens of the pass under way

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        row = self.table.get(last_id(text, nodes))
        if row is None:
            return []
        depth, (ids, log_probs), sampling = len(nodes), row, text.sampler.sampling
        scores = log_probs
        if sampling.temperature and not sampling.rejects:
            noise = text.sampler.shared_noise(text.start + depth + 1)[ids].tolist()
            scores = [log_p / sampling.temperature + g for log_p, g in zip(log_probs, noise)]
        order = sorted(range(len(ids)), key=lambda i: -scores[i])
        lead = scores[order[0]] - scores[order[1]] if len(order) > 1 else MOST_LEAD
        probs = torch.tensor(log_probs).exp()
        entropy = float(-(probs * torch.tensor(log_probs)).sum())  # of those kept
        return [Node(ids[order[0]], depth - 1, None, Facts(depth, float(probs[0]), entropy, min(lead, MOST_LEAD)))]

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        self.rows = [text.ids[-1], *(node.id for node in nodes)]

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        if verdict is None:
            return
        best, ids = torch.log_softmax(seen[LOGITS], -1).topk(min(self.successors, seen[LOGITS].shape[-1]))  # (k + 1, successors)
        self.table |= dict(zip(self.rows, zip(ids.tolist(), best.tolist())))

    def state(self) -> dict:
        return {"table": [[id, *row] for id, row in self.table.items()]}

    def restore(self, state: dict) -> None:
        self.table = {id: (ids, log_probs) for id, ids, log_probs in state["table"]}

    def snapshot(self) -> dict:
        return {"tokens": len(self.table)}

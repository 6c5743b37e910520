"""From a drafter's logits to a node: the token is drawn as the target draws its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..control import Facts
from .base import MOST_LEAD, Law, Node, Text


def choose(text: Text, nodes: Sequence[Node], logits: Tensor, listed: Tensor | None = None) -> Node:
    """The next node of a chain. logits: the drafter's, behind the last node, (1, V), or (1, S) over the tokens `listed` (S,)."""
    sampler, depth = text.sampler, len(nodes)
    log_probs = sampler.log_probs(logits)
    scores = sampler.draft_scores(logits, log_probs, text.start + depth + 1, text.round, ids=listed)[0]  # (V,) or (S,)
    best, places = scores.topk(2)
    logs, probs = log_probs[0], log_probs[0].exp()
    entropy = -probs.dot(logs.clamp(min=-MOST_LEAD))  # 0 x -inf is none
    numbers = torch.stack([probs[places[0]], probs.amax(), entropy, (best[0] - best[1]).clamp(max=MOST_LEAD)])
    probability, *facts = numbers.tolist()
    id = int(places[0] if listed is None else listed[places[0]])
    return Node(id, depth - 1, Law(listed, probs), Facts(depth, *facts), probability)

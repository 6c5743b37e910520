"""From a drafter's logits to a node: the token is drawn as the target draws its own.

For a tree the best tokens of the place are kept with it, ranked by the scores that the target's choice will be made by: with shared noise
the runner-up of the noisy scores is the target's likeliest second choice (ours). A chance is then the softmax of the best of these scores;
greedy, it is the probability. Where the target draws with noise of its own, nothing is drawn here: a tree holds the likeliest tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..control import Facts
from .base import MOST_LEAD, Law, Node, Text


def choose(text: Text, nodes: Sequence[Node], logits: Tensor, listed: Tensor | None = None, width: int = 1) -> Node:
    """The next node of a spine. logits: the drafter's, behind the last node, (1, V), or (1, S) over the tokens `listed` (S,). `width`: how
    many tokens are ranked for this place; 1: it is part of a chain."""
    sampler, depth = text.sampler, len(nodes)
    log_probs = sampler.log_probs(logits)
    definite = width > 1 and sampler.sampling.rejects
    scores = log_probs if definite else sampler.draft_scores(logits, log_probs, text.start + depth + 1, text.round, ids=listed)
    scores = scores[0]  # (V,) or (S,)
    best, places = scores.topk(min(max(width, 2), len(scores)))
    logs, probs = log_probs[0], log_probs[0].exp()
    entropy = -probs.dot(logs.clamp(min=-MOST_LEAD))  # 0 x -inf is none
    numbers = torch.stack([probs[places[0]], probs.amax(), entropy, (best[0] - best[1]).clamp(max=MOST_LEAD)])
    probability, *facts = numbers.tolist()
    ids = (places[:width] if listed is None else listed[places[:width]]).tolist()
    ranked = ()
    if width > 1:
        shared = sampler.sampling.temperature and not definite
        chances = best.softmax(-1) if shared else probs[places]  # noise aside, the others hardly count
        ranked = tuple(zip(ids, chances.tolist()))
    return Node(ids[0], depth - 1, None if definite else Law(listed, probs), Facts(depth, *facts), probability, ranked)

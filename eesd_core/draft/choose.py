"""From a drafter's logits to a node. The token is drawn in the same way as the target draws its own.

In a tree the node also keeps the best tokens of its place, ranked by the scores that the target chooses by. With shared noise the
runner-up of the noisy scores is the target's most likely second choice (ours), and chances are the softmax over the best of these scores.
In greedy decoding they are the probabilities. Under rejection sampling the target draws with its own noise, so a tree holds the likeliest
tokens and nothing is drawn here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..control import Facts
from .base import MOST_LEAD, Law, Node, Text


def choose(text: Text, nodes: Sequence[Node], logits: Tensor, listed: Tensor | None = None, width: int = 1) -> Node:
    """The next node of a spine. `logits`: the drafter's, behind the last node, (1, V), or (1, S) over the tokens `listed` (S,). `width`:
    number of tokens to rank for this place; 1: a chain."""
    sampler, depth = text.sampler, len(nodes)
    log_probs = sampler.log_probs(logits)
    definite = width > 1 and sampler.sampling.rejects
    scores = log_probs if definite else sampler.draft_scores(logits, log_probs, text.start + depth + 1, text.round, ids=listed)
    scores = scores[0]  # (V,) or (S,)
    best, places = scores.topk(min(max(width, 2), len(scores)))
    logs, probs = log_probs[0], log_probs[0].exp()
    entropy = -probs.dot(logs.clamp(min=-MOST_LEAD))  # the clamp avoids 0 x -inf = nan
    numbers = torch.stack([probs[places[0]], probs.amax(), entropy, (best[0] - best[1]).clamp(max=MOST_LEAD)])
    probability, *facts = numbers.tolist()
    ids = (places[:width] if listed is None else listed[places[:width]]).tolist()
    ranked = ()
    if width > 1:
        shared = sampler.sampling.temperature and not definite
        chances = best.softmax(-1) if shared else probs[places]  # tokens with lower scores hardly matter to the softmax
        ranked = tuple(zip(ids, chances.tolist()))
    return Node(ids[0], depth - 1, None if definite else Law(listed, probs), Facts(depth, *facts), probability, ranked)

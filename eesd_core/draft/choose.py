"""From a drafter's logits to a node. The token is drawn in the same way as the target draws its own.

In a tree the node also keeps the best tokens of its place, ranked by the scores that the target chooses by. With shared noise the
runner-up of the noisy scores is the target's most likely second choice (ours), and chances are the softmax over the best of these scores.
In greedy decoding they are the probabilities. Under rejection sampling the target draws with its own noise, so a tree holds the likeliest
tokens and nothing is drawn here.
"""

from collections.abc import Sequence
from math import exp

from torch import Tensor

from ..control import Facts
from ..sampling import DRAFT, SHARED, Ranked, stream
from .base import MOST_LEAD, Law, Node, Text


def choose(
    text: Text, nodes: Sequence[Node], logits: Tensor, listed: Tensor | None = None, width: int = 1, keeps_law: bool = False
) -> Node:  # fmt: skip
    """The next node of a spine. `logits`: the drafter's, behind the last node, (1, V), or (1, S) over the tokens `listed` (S,). `width`:
    number of tokens to rank for this place; 1: a chain. `keeps_law`: the node must know its distribution even where no rule needs it."""
    sampler, definite = text.sampler, width > 1 and text.sampler.sampling.rejects
    noise = None if definite else stream(DRAFT, text.round) if sampler.sampling.rejects else SHARED
    found = sampler.rank(logits, [text.start + len(nodes) + 1], max(width, 2), noise, listed)
    needed = (sampler.sampling.rejects and not definite) or keeps_law
    return node_of(text, nodes, found, width, Law(listed, sampler.log_probs(logits)[0].exp()) if needed else None)


def node_of(text: Text, nodes: Sequence[Node], found: Ranked, width: int, law: Law | None = None) -> Node:
    """The next node, of the best tokens behind the last one: at least two, and at least `width`."""
    depth, sampling = len(nodes), text.sampler.sampling
    ids, scores, probs = found.ids[0], found.scores[0], [exp(log_p) for log_p in found.log_probs[0]]
    ranked = ()
    if width > 1:
        ranked = tuple(zip(ids[:width], _softmax(scores) if sampling.temperature and not sampling.rejects else probs))
    lead = min(scores[0] - scores[1], MOST_LEAD) if len(scores) > 1 else MOST_LEAD
    return Node(ids[0], depth - 1, law, Facts(depth, found.confidence[0], found.entropy[0], lead), probs[0], ranked)


def guesses(text: Text, first: int, logits: Tensor, listed: Tensor | None = None) -> list[int]:
    """The tokens that would have been drafted at the places from `first` on, which the text has passed. logits: (n, V), or (n, S) over the
    tokens `listed`."""
    noise = stream(DRAFT, text.round) if text.sampler.sampling.rejects else SHARED
    return [best for (best,) in text.sampler.rank(logits, range(first, first + len(logits)), 1, noise, listed).ids]


def _softmax(scores: Sequence[float]) -> list[float]:
    """Over the best scores of a place. Lower ones hardly matter."""
    chances = [exp(score - scores[0]) for score in scores]
    return [chance / sum(chances) for chance in chances]

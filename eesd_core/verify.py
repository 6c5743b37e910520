"""Acceptance rules: pure functions. They do not know the drafter, and all random numbers are arguments.

*Matching*, for greedy decoding and shared noise: draft and target make definite choices, and a draft is accepted if they are equal. Every
token written is the target's choice, so the text is vanilla's. It works for chains and trees. Under rejection sampling it is also used for
trees, with the target drawing by its own noise: no draw depends on the drafts, so every token has the target's distribution.

*Rejection sampling* (Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023): a draft x drawn from q is accepted with
probability min(1, p(x) / q(x)). The first rejected draft is replaced by a draw from norm(max(p - q, 0)). After a fully accepted draft one
token is drawn from p. The token at every place then has the distribution p, whatever q was: x is written with probability
min(p(x), q(x)) by acceptance and max(p(x) - q(x), 0) by correction. For a drafter without a distribution (q None), q is a point mass.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Token(Protocol):
    """The fields of a draft node (draft/base.py) that the rules use."""

    id: int
    parent: int  # number of the node before it; -1: the pending token


class Verdict(NamedTuple):
    """`path`: numbers of the accepted nodes, in order. `next_id`: the target's own token behind them, a correction or the bonus. Row 0 of a
    pass is the pending token, row i + 1 is node i.

    `choices`: the target's choices at all k + 1 rows; with rejection sampling they end with `next_id`, because later rows are not used.
    """

    path: tuple[int, ...]
    next_id: int
    next_row: int  # the row whose choice `next_id` is
    rejected: tuple[int, ...]  # nodes directly behind the path whose token differs from `next_id`
    choices: tuple[int, ...]
    accept_probabilities: tuple[float, ...] | None = None  # of every tested draft; None: definite choices
    uniforms: tuple[float, ...] | None = None  # the random number of each: the draft is accepted if it is lower than the probability

    @property
    def accepted(self) -> int:
        return len(self.path)

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of the pass that the text may keep: the pending token's and the path's."""
        return (0, *(number + 1 for number in self.path))


NOTHING = Verdict((), 0, 0, (), ())  # before the first round


def by_matching(nodes: Sequence[Token], choices: Sequence[int]) -> Verdict:
    """Starting at the pending token, step to the child that holds the target's choice, as long as there is one. k nodes, k + 1 choices.

    Lossless for every drafter and every tree, because only the target's choices are written (SpecInfer, arXiv 2305.09781, for trees; its
    use with shared noise is ours).
    """
    path: list[int] = []
    at = -1
    for number, node in enumerate(nodes):  # parents come before their children
        if node.parent == at and node.id == choices[at + 1]:
            path.append(number)
            at = number
    rejected = tuple(number for number, node in enumerate(nodes) if node.parent == at)
    return Verdict(tuple(path), choices[at + 1], at + 1, rejected, tuple(choices))


def by_rejection(draft_ids: Sequence[int], p: Tensor, q: Tensor | None, uniforms: Sequence[float], noise: Tensor) -> Verdict:
    """Rejection sampling for chains. p (k + 1, V); q (k, V) or None; k independent uniform numbers; Gumbel noise (V,) for the target's own
    token."""
    ids = torch.tensor(draft_ids, dtype=torch.long, device=p.device)  # (k,)
    if q is None:
        q = torch.nn.functional.one_hot(ids, p.shape[-1]).to(p)
    chances = accept_probabilities(ids, p[:-1], q).tolist()
    accepted = 0
    while accepted < len(chances) and uniforms[accepted] < chances[accepted]:
        accepted += 1
    law = p[-1] if accepted == len(chances) else residual(p[accepted], q[accepted])
    next_id = int((law.log() + noise).argmax())
    tested = min(len(chances), accepted + 1)
    path, rejected, choices = tuple(range(accepted)), tuple(range(accepted, tested)), (*draft_ids[:accepted], next_id)
    return Verdict(path, next_id, accepted, rejected, choices, tuple(chances[:tested]), tuple(uniforms[:tested]))


def accept_probabilities(draft_ids: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """min(1, p(x) / q(x)) for every draft x. ids (k,), p and q (k, V) -> (k,). Each q(x) > 0, because x was drawn from q."""
    x = draft_ids[:, None]
    return (p.gather(-1, x) / q.gather(-1, x)).clamp(max=1)[:, 0]


def residual(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(p - q, 0)), the distribution of a correction. (..., V) -> (..., V).

    The mass of max(p - q, 0) is the probability of a rejection. If it is 0, a rejection can only come from rounding of p / q; then p itself
    is used.
    """
    left = (p - q).clamp(min=0)
    mass = left.sum(-1, keepdim=True)
    return torch.where(mass > 0, left / mass, p)

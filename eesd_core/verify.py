"""Acceptance rules: pure functions. They do not know who drafted, and every random number is given to them.

*Matching*, for greedy decoding and shared noise: draft and target make definite choices, and a draft is accepted where both are the same.
Every token written is the target's choice, so the text is vanilla's. It takes chains and trees. A tree is also judged so where the target
draws with noise of its own: no draw depends on what was drafted, so every token has the target's law.

*Rejection sampling* (Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023): a draft x drawn from q is accepted with
probability min(1, p(x) / q(x)). In place of the first one rejected stands a draw from norm(max(p - q, 0)), behind a fully accepted draft
one from p. The token at every place then has the law p, whatever q was: x is written with probability min(p(x), q(x)) by acceptance
and with max(p(x) - q(x), 0) by correction. A drafter without a distribution (q None) has all of it in its draft: a point mass.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Token(Protocol):
    """What is judged of a draft's node (draft/base.py)."""

    id: int
    parent: int  # number of the node before it; -1: the pending token


class Verdict(NamedTuple):
    """`path`: numbers of the accepted nodes, from the first on. The text goes on with `next_id`, the target's own token behind them: the
    correction of a draft that was rejected, or the bonus. Row 0 of a pass is the pending token, row i + 1 is node i.

    `choices` are the target's own at all k + 1 rows; by rejection they end with `next_id`, since rows behind it are not looked at.
    """

    path: tuple[int, ...]
    next_id: int
    next_row: int  # the row whose choice `next_id` is
    rejected: tuple[int, ...]  # nodes that were judged and not accepted: those that stand behind the path and hold another token
    choices: tuple[int, ...]
    accept_probabilities: tuple[float, ...] | None = None  # of every tested draft; None: definite choices
    uniforms: tuple[float, ...] | None = None  # what each was compared with: accepted if below

    @property
    def accepted(self) -> int:
        return len(self.path)

    @property
    def rows(self) -> tuple[int, ...]:
        """Of the pass, those that the text may keep: the pending token's and the path's."""
        return (0, *(number + 1 for number in self.path))


NOTHING = Verdict((), 0, 0, (), ())  # before the first round


def by_matching(nodes: Sequence[Token], choices: Sequence[int]) -> Verdict:
    """From the pending token on, step to the node that is the target's own choice there, as long as there is one. k nodes, k + 1 choices.

    It is lossless for every drafter and every tree, since all that is written are the target's choices (SpecInfer, arXiv 2305.09781,
    for trees; ours with shared noise).
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
    """For chains. p (k + 1, V), q (k, V) or None, k independent uniform numbers, and Gumbel noise (V,) for the one token of the target's
    own."""
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
    """min(1, p(x) / q(x)) of every draft x. ids (k,), p and q (k, V) -> (k,). Each q(x) > 0, since x was drawn from q."""
    x = draft_ids[:, None]
    return (p.gather(-1, x) / q.gather(-1, x)).clamp(max=1)[:, 0]


def residual(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(p - q, 0)), the law of a correction. (..., V) -> (..., V).

    Its mass is the probability of a rejection: without any, none happens, except where p / q was rounded below 1. Then p itself is right.
    """
    left = (p - q).clamp(min=0)
    mass = left.sum(-1, keepdim=True)
    return torch.where(mass > 0, left / mass, p)

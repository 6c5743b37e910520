"""Acceptance rules: pure functions. They do not know who drafted, and every random number is given to them.

*Matching*, for greedy decoding and shared noise: draft and target make definite choices, and a draft is accepted where both are the same.
Every token written is the target's choice, so the text is vanilla's.

*Rejection sampling* (Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023): a draft x drawn from q is accepted with
probability min(1, p(x) / q(x)). In place of the first one rejected stands a draw from norm(max(p - q, 0)), behind a fully accepted draft
one from p. The token at every place then has the law p, whatever q was: x is written with probability min(p(x), q(x)) by acceptance
and with max(p(x) - q(x), 0) by correction. A drafter without a distribution (q None) has all of it in its draft: a point mass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """`accepted` drafts are confirmed, from the first on. The text goes on with target_ids[accepted]: the correction of a draft that
    was rejected, or the bonus.

    `target_ids` are the target's own choices at all k + 1 places; by rejection they end with that token, since places behind it are not
    looked at.
    """

    accepted: int
    target_ids: tuple[int, ...]
    accept_probabilities: tuple[float, ...] | None = None  # of every tested draft; None: definite choices
    uniforms: tuple[float, ...] | None = None  # what each was compared with: accepted if below


def by_matching(draft_ids: Sequence[int], target_ids: Sequence[int]) -> Verdict:
    """k drafts, k + 1 choices of the target."""
    return Verdict(count_matches(draft_ids, target_ids), tuple(target_ids))


def count_matches(draft_ids: Sequence[int], target_ids: Sequence[int]) -> int:
    """Length of the longest prefix of the draft that equals the target's own choices."""
    accepted = 0
    while accepted < len(draft_ids) and draft_ids[accepted] == target_ids[accepted]:
        accepted += 1
    return accepted


def by_rejection(draft_ids: Sequence[int], p: Tensor, q: Tensor | None, uniforms: Sequence[float], noise: Tensor) -> Verdict:
    """p (k + 1, V), q (k, V) or None, k independent uniform numbers, and Gumbel noise (V,) for the one token of the target's own."""
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
    return Verdict(accepted, (*draft_ids[:accepted], next_id), tuple(chances[:tested]), tuple(uniforms[:tested]))


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

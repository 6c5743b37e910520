"""The acceptance rules alone: enumerated exactly, drawn many times, and against plain loops."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eesd_core.sampling import ACCEPT, DRAFT, NEXT, gumbel_noise, random_bits
from eesd_core.verify import accept_probabilities, by_matching, by_rejection, residual

LAWS = st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any)  # zeros, point masses, equal and disjoint laws come up often


def normalised(weights: list[list[int]]) -> torch.Tensor:
    rows = torch.tensor(weights, dtype=torch.float64)
    return rows / rows.sum(-1, keepdim=True)


def law_of_a_round(p: dict, q: dict, drafts: int) -> torch.Tensor:
    """Exact law of `drafts` + 1 tokens when one round is followed by plain sampling. p, q: prefix -> (V,) -> (V, ..., V)"""
    vocab = len(p[()])
    law = torch.zeros([vocab] * (drafts + 1), dtype=torch.float64)

    def goes_on(prefix: tuple, weight: float) -> None:
        if weight == 0:
            return
        if len(prefix) == drafts + 1:
            law[prefix] += weight
            return
        for x in range(vocab):
            goes_on((*prefix, x), weight * p[prefix][x].item())

    for draft in itertools.product(range(vocab), repeat=drafts):
        prefixes = [draft[:i] for i in range(drafts)]
        weight = math.prod(q[prefix][x].item() for prefix, x in zip(prefixes, draft))  # of this draft, then of its acceptance so far
        if weight == 0:
            continue
        laws = [torch.stack([table[prefix] for prefix in prefixes]) for table in (p, q)] if drafts else []
        chances = accept_probabilities(torch.tensor(draft), *laws).tolist() if drafts else []
        for prefix, chance in zip(prefixes, chances):
            for x, share in enumerate(residual(p[prefix], q[prefix]).tolist()):
                goes_on((*prefix, x), weight * (1 - chance) * share)
            weight *= chance
        goes_on(draft, weight)
    return law


def law_of_plain_sampling(p: dict, tokens: int) -> torch.Tensor:
    vocab = len(p[()])
    law = torch.ones([vocab] * tokens, dtype=torch.float64)
    for text in itertools.product(range(vocab), repeat=tokens):
        law[text] = math.prod(p[text[:i]][x].item() for i, x in enumerate(text))
    return law


PREFIXES = [prefix for length in range(3) for prefix in itertools.product(range(3), repeat=length)]  # 13 contexts of 3 tokens
TABLES = st.lists(LAWS, min_size=13, max_size=13)


@settings(max_examples=60)
@given(TABLES, TABLES, st.integers(0, 2))
@example([[1, 2, 1]] * 13, [[1, 2, 1]] * 13, 2)  # identical: the residual has no mass
@example([[1, 3, 0]] * 13, [[0, 0, 1]] * 13, 2)  # disjoint
@example([[1, 2, 3]] * 13, [[0, 1, 0]] * 13, 2)  # a point mass as the draft
@example([[0, 4, 0]] * 13, [[1, 1, 1]] * 13, 2)  # a point mass as the target
def test_a_round_of_rejection_sampling_has_the_targets_law(target, drafter, drafts):
    p, q = (dict(zip(PREFIXES, normalised(table))) for table in (target, drafter))
    assert torch.allclose(law_of_a_round(p, q, drafts), law_of_plain_sampling(p, drafts + 1), rtol=0, atol=1e-14)


class Token(NamedTuple):
    id: int
    parent: int


def chain(ids: list[int]) -> list[Token]:
    return [Token(id, number - 1) for number, id in enumerate(ids)]


NOISE = st.lists(st.floats(-3, 20), min_size=3, max_size=3)


@given(st.lists(st.tuples(LAWS, LAWS, st.floats(0.0001, 0.9999)), max_size=4), LAWS, NOISE, st.data())
def test_the_fast_rule_is_the_plain_one(places, last, noise, data):
    p, q = normalised([a for a, _, _ in places] + [last]), normalised([b for _, b, _ in places] or [[1, 1, 1]])[: len(places)]
    draft = [data.draw(st.sampled_from([x for x in range(3) if row[x] > 0])) for row in q]
    uniforms, noise = [u for _, _, u in places], torch.tensor(noise, dtype=torch.float64)

    text, left = [], p[-1].tolist()
    for i, x in enumerate(draft):
        if uniforms[i] >= min(1.0, p[i, x].item() / q[i, x].item()):
            left = [max(a - b, 0.0) for a, b in zip(p[i].tolist(), q[i].tolist())]
            break
        text.append(x)
    scores = [math.log(weight) + g if weight > 0 else -math.inf for weight, g in zip(left, noise.tolist())]

    found = by_rejection(draft, p, q, uniforms, noise)
    assert found.accepted == len(text) and found.choices[:-1] == tuple(text)
    assert scores[found.next_id] >= max(scores) - 1e-9
    tested = min(len(draft), len(text) + 1)
    assert found.uniforms == tuple(uniforms[:tested])
    assert found.accept_probabilities == pytest.approx([min(1.0, (p[i, x] / q[i, x]).item()) for i, x in enumerate(draft[:tested])])


@given(st.lists(st.tuples(LAWS, st.integers(0, 2), st.floats(0.0001, 0.9999)), min_size=1, max_size=4), LAWS, NOISE)
def test_a_definite_draft_is_a_point_mass(places, last, noise):
    p, draft, uniforms = normalised([a for a, _, _ in places] + [last]), [x for _, x, _ in places], [u for _, _, u in places]
    points = torch.nn.functional.one_hot(torch.tensor(draft), 3).double()
    noise = torch.tensor(noise, dtype=torch.float64)
    found = by_rejection(draft, p, None, uniforms, noise)
    assert found == by_rejection(draft, p, points, uniforms, noise)
    assert found.accept_probabilities == tuple(p[i, x].item() for i, x in enumerate(draft[: len(found.uniforms)]))
    if found.accepted < len(draft) and p[found.accepted, draft[found.accepted]] < 1:
        assert found.next_id != draft[found.accepted]


def test_a_residual_without_mass_is_the_target():
    p = torch.tensor([0.25, 0.75, 0.0])
    assert torch.equal(residual(p, p), p) and torch.equal(residual(p, torch.tensor([0.25, 0.75 + 1e-7, 0.0])), p)


def test_drafts_that_the_target_cannot_write_are_never_accepted():
    p, q = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    found = by_rejection([0], p, q, [2.0**-33], torch.tensor([20.0, -3.0]))
    assert found.accepted == 0 and found.choices == (1,) and found.accept_probabilities == (0.0,)


@pytest.mark.parametrize("point", [False, True], ids=["drawn", "point mass"])
def test_many_draws_have_the_targets_law(point):
    """The rule with the random numbers that the engine gives it, one position after the other, all at once."""
    n, vocab, seed = 100_000, 6, 5
    p = torch.tensor([0.30, 0.25, 0.20, 0.15, 0.10, 0.0])
    q = torch.tensor([0.05, 0.40, 0.0, 0.15, 0.15, 0.25])
    ids, positions = torch.arange(vocab), torch.arange(n)[:, None]
    drafts = torch.full((n,), 1) if point else (q.log() + gumbel_noise(seed, positions, ids, DRAFT + 3)).argmax(-1)
    if point:
        q = torch.nn.functional.one_hot(torch.tensor(1), vocab).float()
    chances = accept_probabilities(drafts, p.expand(n, -1), q.expand(n, -1))
    accepted = (random_bits(seed, positions[:, 0], 0, ACCEPT) + 0.5) / 2.0**32 < chances
    corrections = (residual(p, q).log() + gumbel_noise(seed, positions, ids, NEXT)).argmax(-1)
    counts = torch.bincount(torch.where(accepted, drafts, corrections), minlength=vocab)
    assert counts[5] == 0
    chi2 = ((counts - n * p)[:5] ** 2 / (n * p)[:5]).sum()
    assert chi2 < 18.5  # 0.999 quantile at 4 degrees of freedom
    overlap = torch.minimum(p, q).sum().item()
    assert accepted.float().mean().item() == pytest.approx(overlap, abs=4 * math.sqrt(overlap * (1 - overlap) / n))


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), min_size=7, max_size=7))
def test_matching_stops_at_the_first_difference(draft, choices):
    choices = choices[: len(draft) + 1]
    found = by_matching(chain(draft), choices)
    assert draft[: found.accepted] == choices[: found.accepted]
    assert found.accepted == len(draft) or draft[found.accepted] != choices[found.accepted]
    assert found.choices == tuple(choices) and found.accept_probabilities is found.uniforms is None
    assert found.next_id == choices[found.accepted] and found.next_row == found.accepted
    assert found.rejected == ((found.accepted,) if found.accepted < len(draft) else ())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 8)), max_size=9), st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_matching_walks_a_tree_along_the_targets_choices(drawn, choices):
    """Against recursion over the children of every node."""
    nodes = [Token(id, min(parent, number - 1)) for number, (id, parent) in enumerate(drawn)]

    def walk(at: int) -> list[int]:
        children = [n for n, node in enumerate(nodes) if node.parent == at]
        right = next((n for n in children if nodes[n].id == choices[at + 1]), None)
        return [] if right is None else [right, *walk(right)]

    found = by_matching(nodes, choices)
    last = found.path[-1] if found.path else -1
    assert list(found.path) == walk(-1) and found.next_id == choices[last + 1] and found.next_row == last + 1
    assert all(nodes[n].parent == last for n in found.rejected)

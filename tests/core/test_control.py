import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eesd_core.control import make_controller
from eesd_core.control.base import MAX_DRAFT
from eesd_core.errors import UserError
from eesd_core.verify import count_matches

rounds = st.lists(st.integers(0, MAX_DRAFT).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))))


@given(rounds, st.floats(0.1, 50), st.floats(0.1, 50))
def test_only_tested_tokens_move_the_posterior(outcomes, alpha, beta):
    controller = make_controller("beta", alpha=alpha, beta=beta)
    for drafted, accepted in outcomes:
        controller.observe(drafted, accepted)
    assert controller.alpha == pytest.approx(alpha + sum(a for _, a in outcomes))
    assert controller.beta == pytest.approx(beta + sum(a < k for k, a in outcomes))
    assert json.loads(json.dumps(controller.snapshot()))["mean"] == pytest.approx(controller.alpha / (controller.alpha + controller.beta))


@given(st.integers(0, 2**63 - 1), st.floats(0.1, 50), st.floats(0.1, 50))
def test_a_decision_is_a_coin_of_bias_theta(seed, alpha, beta):
    decision = make_controller("beta", alpha=alpha, beta=beta, seed=seed).keep_drafting(0, 0.5, 1.0)
    assert 0 <= decision.terms["theta"] <= 1
    assert decision.go == (decision.terms["u"] < decision.terms["theta"]) == bool(decision.terms["chi"])


def test_draft_length_is_geometric_under_a_fixed_posterior():
    """theta is drawn anew for every token, so the coin's bias is the posterior mean (research: the variance cancels)."""
    controller, lengths = make_controller("beta", alpha=3.0, beta=2.0, seed=1), []
    for _ in range(20_000):
        k = 1
        while controller.keep_drafting(k - 1, 0.5, 1.0).go:
            k += 1
        lengths.append(k)
    assert sum(lengths) / len(lengths) == pytest.approx(1 / (1 - 0.6), rel=0.03)
    assert sum(k == 1 for k in lengths) / len(lengths) == pytest.approx(0.4, abs=0.015)


def test_the_same_seed_decides_alike():
    one, two = (make_controller("beta", seed=9) for _ in range(2))
    assert [one.keep_drafting(i, 0.5, 1.0) for i in range(20)] == [two.keep_drafting(i, 0.5, 1.0) for i in range(20)]


@pytest.mark.parametrize("length", [0, 1, 5, MAX_DRAFT])
def test_fixed_stops_at_its_length(length):
    controller = make_controller("fixed", length=length)
    assert controller.start_round() == length
    assert [controller.keep_drafting(i, 0.5, 1.0).go for i in range(length)] == [True] * (length - 1) + [False] * (length > 0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("best", {}), ("fixed", {"length": 99}), ("fixed", {"length": -1}), ("beta", {"alpha": 0}), ("beta", {"alpha": float("nan")}),
     ("beta", {"limit": 0}), ("fixed", {"alpha": 1})],
)  # fmt: skip
def test_nonsense_is_refused(name, settings):
    with pytest.raises(UserError):
        make_controller(name, **settings)


@pytest.mark.parametrize(
    ("draft", "target", "accepted"),
    [([], [5], 0), ([1], [1, 2], 1), ([1], [3, 2], 0), ([1, 2, 3], [1, 2, 3, 4], 3), ([1, 2, 3], [1, 9, 3, 4], 1),
     ([1, 2, 3], [9, 2, 3, 4], 0)],
)  # fmt: skip
def test_the_longest_matching_prefix_is_accepted(draft, target, accepted):
    assert count_matches(draft, target) == accepted


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_what_is_written_is_always_the_targets_choice(draft, target):
    n = count_matches(draft, target)
    assert [*draft[:n], target[n]] == target[: n + 1]
    assert n == len(draft) or draft[n] != target[n]


def test_a_biased_coin_is_reproducible_from_its_trace():
    """theta and u of the trace decide chi again, so a reader can check every decision."""
    controller = make_controller("beta", seed=random.Random(0).getrandbits(32))
    for _ in range(50):
        terms = controller.keep_drafting(0, 0.5, 1.0).terms
        assert terms["chi"] == int(terms["u"] < terms["theta"])

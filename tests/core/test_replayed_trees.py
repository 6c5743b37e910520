"""Simulated trees are those that drafting grows: the same nodes and the same accepted drafts, round by round."""

import pytest
from test_courses import GREEDY, PROMPTS, SAMPLED

from eesd_core.control import Costs, FixedController, make_controller
from eesd_core.draft.base import Room
from eesd_core.limits import MAX_ROWS
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.run import Run
from eesd_core.sampling import Sampling
from eesd_core.simulate.courses import Course, drafts_of
from eesd_core.simulate.hindsight import OWN, hindsight
from eesd_core.simulate.trees import replay_trees

ROWS = 6
FREE = Costs(0.1, (1.0,) * MAX_ROWS, 0.0)  # a row costs nothing, so a tree always has as many as it may


@pytest.mark.parametrize("which", ["engine", "agreeing", "disagreeing"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "shared noise"])
def test_a_tree_of_free_rows_is_the_real_one(which, sampling, request, monkeypatch):
    engine = request.getfixturevalue(which)
    monkeypatch.setattr(Run, "_room", lambda run, spine: Room(run.left - 1, (0.0,) * (ROWS - spine - 1)))
    for length in (1, 3):
        asked = Request(PROMPTS[1], 48, sampling, controller="fixed", settings={"length": length}, drafter=f"early-exit:{ROWS}")
        run = engine.start(asked)
        run.prefill()
        begin, rounds = run.text.start + 1, []
        while run.ended is None:
            run.round()
            rounds.append((len(run.drafted.nodes), run.judged.verdict.accepted))
        course = drafts_of(engine, run.text.ids, begin, sampling)
        told = replay_trees(FixedController(length), course, FREE, ROWS, 1.0)
        assert told.draft_lengths == [drafted for drafted, _ in rounds]
        assert told.accepted == sum(accepted for _, accepted in rounds) and told.tokens == 48


def test_a_sibling_earns_one_token_and_pays_for_its_row():
    """Every draft is wrong and every second choice right: a row beside the spine doubles the tokens of a round."""
    count, costs = 40, Costs(0.1, tuple(1 + 0.05 * row for row in range(MAX_ROWS)), 0.0)
    course = Course([0] * count, [0.5] * count, [0.7] * count, [0.1] * count, [(0.5, 0.4)] * count, [1] * count)
    told = replay_trees(FixedController(1), course, costs, 2 + 1, 1.25)
    assert told.accepted == count // 2 and set(told.draft_lengths) == {2}
    assert told.seconds == pytest.approx(count // 2 * (0.1 + 1.25 * costs.verify[2]))
    dear = Costs(0.1, tuple(1.0 + row for row in range(MAX_ROWS)), 0.0)
    assert replay_trees(FixedController(1), course, dear, 3, 1.25).accepted == 0, "a row that costs a token is not worth a chance of 0.4"


@pytest.mark.parametrize("drafter", ["early-exit", "early-exit:8"])
def test_what_if_knows_trees(engine, drafter):
    request = Request("Once upon", 60, Sampling(0.8, seed=3), controller="throughput", settings={"seed": 3}, drafter=drafter)
    rows = {row["name"]: row for row in hindsight(engine, request, list(race(engine, request))).event.rows}
    assert rows[OWN]["rounds"] and rows["siblings: throughput"]["tokens_per_second"] > 0
    assert make_controller("throughput").name in rows

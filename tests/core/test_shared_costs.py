"""What a round costs for texts that share passes and draft steps. Nothing here depends on a clock."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest

from eesd_core.costs import CostTracker, Measured, SharedCosts
from eesd_core.draft.registry import parse_drafter
from eesd_core.request import Request

MEASURED = Measured(4.0, 1.0, 1.0, {1: 3.0, 16: 18.0}, {1: 4.0, 16: 24.0})  # a row more costs 1


def test_a_row_of_every_text_is_paid_for():
    alone, shared = CostTracker(MEASURED, 2), CostTracker(MEASURED, 2)
    shared.texts = 4
    assert [after - before for before, after in pairwise(alone.costs().verify)] == pytest.approx([1.0] * 15)
    costs = shared.costs()
    assert costs.verify[:5] == pytest.approx((6.0, 10.0, 14.0, 18.0, 18.0 + 6.0))  # 4, 8, 12 and 16 rows, then a second pass
    assert costs.draft == pytest.approx(4.0)  # all four wait for it
    shared.rows = 7  # two others have drafted
    shared.observe(1, 3.0, 9.0, 0.08)
    assert shared.costs().verify == pytest.approx(costs.verify)  # it took what seven rows take


def test_texts_share_the_price_of_a_step():
    shared = SharedCosts(MEASURED, 2)
    shared.texts = 4
    costs = shared.costs()
    assert costs.first + costs.draft == pytest.approx(2.0)  # as a verify pass over 4 rows beside one over 1: all draft in the first
    assert costs.draft == pytest.approx(4.0)  # of later ones nothing is known: one does
    for _ in range(80):
        shared.learn([(4, 3.0), (2, 1.2), (2, 1.2), (0, 0.9)], 9, 13.0, 0.4)
    for _ in range(80):
        shared.learn([], 4, 7.0, 0.3)  # of all layers
    costs, plain = shared.costs(), 7.0 + 0.3
    assert costs.round(0) == pytest.approx(plain, rel=0.01)
    for _ in range(80):
        shared.learn([(4, 3.0), (2, 1.2), (2, 1.2), (0, 0.9)], 8, 11.0, 0.4)
    costs = shared.costs()
    assert costs.round(1) == pytest.approx(3.0 + 0.9 + 11.0 + 0.4, rel=0.01) and costs.draft == pytest.approx(2 * 1.2, rel=0.01)
    plain = costs.round(0)
    for _ in range(80):
        shared.learn([(2, 3.0), (2, 1.2), (2, 1.2), (0, 0.9)], 8, 11.0, 0.4)
    few = shared.costs()
    assert few.round(0) == pytest.approx(plain, rel=0.01) and few.first > costs.first
    first, rows = 3.0 + 0.9 + 0.4, few.verify[1] - few.verify[0]  # a round of two that draft, for all four
    assert few.first + few.draft == pytest.approx(2 * (first - plain + few.verify[0]), rel=0.01)
    assert rows == pytest.approx(costs.verify[1] - costs.verify[0], rel=0.01)  # twice two rows


def test_steps_that_run_no_layers_of_the_target():
    """Only texts that draft pay for them; with a guess, and without one."""
    for guess in (0.25, 0.0):
        shared = SharedCosts(MEASURED, 0, cost_guess=guess)
        shared.texts = 4
        costs, plain, rows = shared.costs(), 4.0 + 3 * 4 / 3, 4 * 4 / 3
        assert costs.round(0) == pytest.approx(plain + 0.4) and costs.verify[1] - costs.verify[0] == pytest.approx(rows)
        assert costs.first + costs.draft == pytest.approx(guess * 4.0 * plain / 4.0)  # all draft in the first step
        for _ in range(80):
            shared.learn([(2, 1.4), (1, 0.7)], 7, 12.0, 0.4)
        costs = shared.costs()
        assert costs.draft == pytest.approx(4 * 0.7, rel=0.01) and costs.first + costs.draft == pytest.approx(2 * 1.4, rel=0.01)


@pytest.mark.parametrize("padded", [False, True])
def test_how_many_texts_draft_in_a_step_is_told(engine, monkeypatch, padded):
    """Three steps: two texts of three draft in the first, one in the others. Who drafts without the exit layer shares no step."""
    told, learn = [], SharedCosts.learn
    monkeypatch.setattr(SharedCosts, "learn", lambda self, *what: told.append((self.texts, what)) or learn(self, *what))
    asked = [Request("x", 50, controller="fixed", settings={"length": length}) for length in (3, 1, 0)]
    asked[2] = replace(asked[2], drafter=parse_drafter("prompt-lookup"))
    list(islice(engine.run_together(asked, 3, padded=padded), 60))
    assert len(told) > 1
    for texts, (steps, rows, verified, rest) in told:
        assert texts == 3 and [drafted for drafted, _ in steps] == [2, 1, 1, 0] and rows == (12 if padded else 4 + 2 + 1)
        assert verified > 0 and rest > 0

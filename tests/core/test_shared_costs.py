"""What a round costs for texts that share passes and draft steps. Nothing here depends on a clock."""

from dataclasses import replace
from itertools import islice, pairwise
from random import Random

import pytest

from eesd_core.control import Costs
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
    costs, few = (learned(drafting) for drafting in (4, 2))
    plain = 8.2 + 0.3
    assert costs.round(0) == pytest.approx(plain, rel=0.01) and few.round(0) == pytest.approx(plain, rel=0.01)
    assert costs.round(1) == pytest.approx(3.0 + 0.9 + 11.15 + 0.4, rel=0.01) and costs.draft == pytest.approx(2 * 1.2, rel=0.01)
    first, rows = 3.0 + 0.9 + 0.4, few.verify[1] - few.verify[0]  # a round of two that draft, for all four
    assert few.first + few.draft == pytest.approx(2 * (first - few.fixed), rel=0.02)
    assert rows == pytest.approx(costs.verify[1] - costs.verify[0], rel=0.01)  # twice two rows


def learned(drafting: int) -> Costs:
    """Of four texts: rounds in which so many draft in the first step and two in two more, and rounds without drafts, of all layers."""
    shared = SharedCosts(MEASURED, 2)
    shared.texts = 4
    for _ in range(80):
        shared.learn([(drafting, 3.0), (2, 1.2), (2, 1.2), (0, 0.9)], 8, 11.15, 0.4)  # 3 x 0.8 + 7 x 1.25
        shared.learn([], 4, 8.2, 0.3)  # 4 x 0.8 + 4 x 1.25
    return shared.costs()


@pytest.mark.parametrize("row", [0.3, 2.0])
def test_rounds_of_different_sizes_tell_what_a_row_adds(row):
    """A row that got cheaper or dearer than at load, in passes of one row as before: also in rounds without drafts, of all layers."""
    shared, random = SharedCosts(MEASURED, 2), Random(1)
    for _ in range(200):
        texts = shared.texts = random.randrange(1, 5)
        drafted = random.randrange(0, 4)
        noise, rows = random.uniform(0.95, 1.05), texts * (1 + drafted)
        seconds = (3.0 + row * (rows - 1)) * noise
        shared.learn([(texts, 1.0)] * drafted, rows, seconds if drafted else seconds * 4 / 3, 0.4)
    shared.texts = 1
    verify = shared.costs().verify
    assert verify[0] == pytest.approx(3.0, rel=0.15) and verify[8] - verify[0] == pytest.approx(8 * row, rel=0.2)  # a row added 1 at load


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

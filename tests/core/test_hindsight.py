"""What other controllers would have made of a run: the run's own rule repeats the run, and nothing beats the best in hindsight."""

import pytest

from eesd_core.metrics import Metrics
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling
from eesd_core.simulate.hindsight import OWN, costs_of, hindsight


@pytest.mark.parametrize(("controller", "settings"), [("beta", {"seed": 3}), ("fixed", {"length": 4}), ("heuristic", {})])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_runs_own_rule_repeats_the_run(engine, controller, settings, temperature):
    request = Request("Once upon", 60, Sampling(temperature, seed=3), controller=controller, settings=settings)
    records = list(race(engine, request))
    record = hindsight(engine, request, records)
    rows = {row["name"]: row for row in record.event.rows}
    own, again = rows[OWN], next(row for name, row in rows.items() if name in (controller, "fixed: 4", "best fixed: 4") and name != OWN)
    if controller != "fixed":
        again = rows[controller]
    metrics = Metrics.fold(records, "eesd")
    assert own["draft_lengths"] == again["draft_lengths"] == metrics.draft_lengths
    assert own["accepted"] == again["accepted"] == metrics.accepted
    assert again["tokens_per_second"] == pytest.approx(own["tokens_per_second"], rel=1e-6)  # the costs are those of the run
    assert own["speedup"] == pytest.approx(records[-1].event.speedup)
    best = rows["oracle"]
    assert best["regret_oracle"] == pytest.approx(0)
    assert all(row["regret_oracle"] >= -1e-6 for row in rows.values())
    assert (record.lane, record.seq) == ("race", 1)


def test_costs_come_to_the_time_the_run_took(engine):
    request = Request("Once upon", 60, Sampling(0.8, seed=1), controller="beta", settings={"seed": 1})
    records = list(race(engine, request))
    metrics = Metrics.fold(records, "eesd")
    costs = costs_of(fold(records, "eesd"))
    assert sum(map(costs.round, metrics.draft_lengths)) == pytest.approx(metrics.seconds)


def test_by_rejection_sampling_nothing_is_told(engine):
    request = Request("Once upon", 20, Sampling(0.8, acceptance="rejection"))
    assert hindsight(engine, request, list(race(engine, request))) is None


def test_of_disturbed_drafts_nothing_is_told(engine):
    request = Request("Once upon", 20, Sampling(), drafter="disturbed:0.5:5")
    assert hindsight(engine, request, list(race(engine, request))) is None

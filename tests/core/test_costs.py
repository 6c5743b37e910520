"""The cost model: what is measured fits the model at hand, and tracking follows what rounds take. Nothing here depends on a clock."""

import itertools
from random import Random

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from eesd_core import costs as costs_module
from eesd_core.costs import ROWS, CostTracker, Measured, disturbed, measure_costs
from eesd_core.events import CostMeasured
from eesd_core.limits import MAX_ROWS
from eesd_core.request import Request

MEASURED = Measured(
    plain=10.0, shallow=1.0, draft=2.0,
    verify={1: 9.0, 2: 9.5, 4: 10.5, 8: 12.5, 16: 16.5}, full={1: 10.0, 2: 10.6, 4: 11.8, 8: 14.2, 16: 19.0},
)  # fmt: skip


def test_times_that_contradict_each_other_are_measured_again(engine, monkeypatch):
    assert disturbed({1: 11.0, 2: 7.4, 4: 6.8, 8: 5.3, 16: 12.8}) and not disturbed({1: 4.2, 2: 4.1, 4: 4.9, 8: 5.3, 16: 9.1})
    asked = []
    monkeypatch.setattr("eesd_core.costs.disturbed", lambda passes: asked.append(passes) or len(asked) < 4)
    measure_costs(engine.target, engine.exit_layer, repeats=1, least_seconds=0)
    assert len(asked) == 4 and all(later[m] <= first[m] for first, later in itertools.pairwise(asked) for m in ROWS)


def test_everything_is_measured(engine):
    measured = measure_costs(engine.target, engine.exit_layer, repeats=1)
    assert set(measured.verify) == set(measured.full) == set(ROWS)
    assert min(measured.plain, measured.shallow, measured.draft, *measured.verify.values()) > 0
    shown = measured.to_json()
    assert {"plain", "draft", "c", "threads", f"verify_{MAX_ROWS}"} <= set(shown)


# The last operations of `item`, of `tolist`, and of `from_numpy`, with which our kernels for the processor are given their arrays.
COPIES = {"item.default", "resolve_neg.default", "lift_fresh.default"}


class Copies(TorchDispatchMode):
    """Notes the last operation."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.last = function.__name__
        return function(*args, **kwargs or {})


def test_every_step_ends_with_a_copy_to_the_host(engine, monkeypatch):
    """Else a GPU would go on with one step while the next is on the clock. Before a step comes the rollback, which computes nothing."""
    ended, copies = [], Copies()
    monkeypatch.setattr(costs_module.time, "perf_counter", lambda: ended.append(copies.last) or 0.5 * len(ended))
    with copies:
        measure_costs(engine.target, engine.exit_layer, repeats=1)
    assert len(ended) == 2 * (3 + len(ROWS)) and set(ended[1::2]) <= COPIES


def test_prefill_ends_with_a_copy_to_the_host(engine):
    request, copies = Request("Once upon a time", 4), Copies()
    with copies:
        for record in engine.run(request):
            if record.event.type == "prefill_done":
                break
    assert copies.last in COPIES


def test_without_an_exit_layer_there_is_a_plain_step(engine):
    measured = measure_costs(engine.target, None, repeats=1)
    assert measured.plain > 0 and measured.draft == 0 and measured.full[1] == pytest.approx(measured.plain)


def test_a_wrong_start_is_forgotten_and_no_cost_becomes_negative():
    """Measured at a busy moment, two and a half times too slow; then rounds of one draft, which never tell the two apart."""
    slow = Measured(10.0, 2.5, 5.0, MEASURED.verify, MEASURED.full)
    tracker = CostTracker(slow, reuses=2)
    for _ in range(80):
        tracker.observe(1, 3.0, MEASURED.verify[2], 0.2)
    costs = tracker.costs()
    assert costs.round(1) == pytest.approx(3.0 + MEASURED.verify[2] + 0.2, rel=0.01)
    assert min(costs.draft, *costs.verify, costs.fixed + costs.first) > 0.5


def test_before_the_first_round_costs_are_the_measured_ones():
    costs = CostTracker(MEASURED, reuses=2).costs()
    assert costs.draft == 2.0 and costs.verify == pytest.approx([9 + 0.5 * i for i in range(16)])
    assert costs.fixed == pytest.approx(1.0 + 0.2)  # the first layers, and a guess for the rest
    alone = CostTracker(MEASURED, reuses=0).costs()
    assert alone.verify == pytest.approx([10 + 0.6 * i for i in range(16)]) and alone.fixed == pytest.approx(0.2)


@pytest.mark.parametrize("drafted", [0, 1, 4, 15])
def test_tracking_finds_what_rounds_take(drafted):
    """Another machine: twice as slow to draft, half as slow again to verify."""
    tracker = CostTracker(MEASURED, reuses=2)
    verify = [1.5 * (9 + 0.5 * i) for i in range(16)]
    for _ in range(300):
        tracker.observe(drafted, (1.0 if drafted else 2.0) + 4.0 * drafted, verify[drafted], 0.5)
    costs = tracker.costs()
    assert costs.verify == pytest.approx(verify, rel=0.01)  # one m tells of all
    assert costs.round(drafted) == pytest.approx(verify[drafted] + 4.0 * drafted + (1.5 if drafted else 2.5), rel=0.01)


def test_an_interrupted_round_changes_little():
    tracker = CostTracker(MEASURED, reuses=2)
    before = tracker.costs()
    tracker.observe(4, 1000.0, 1000.0, 1000.0)
    after = tracker.costs()
    assert all(after.round(k) <= 1.23 * before.round(k) for k in range(16))
    for drafted in range(10):
        tracker.observe(drafted, 1.0 + 2.0 * drafted, 9.0 + 0.5 * drafted, 0.2)
    before = tracker.costs()
    tracker.observe(4, 1000.0, 1000.0, 1000.0)
    assert all(tracker.costs().round(k) <= 1.1 * before.round(k) for k in range(16))


@pytest.mark.parametrize("row", [0.1, 0.5, 1.5])
def test_rounds_of_different_lengths_tell_the_parts_apart(row):
    """Rows that got cheaper or dearer than at load, and a first draft that takes three times as long as later ones."""
    tracker, random = CostTracker(MEASURED, reuses=0, cost_guess=0.1), Random(1)
    for _ in range(200):
        drafted = random.randrange(1, 6)
        noise = (random.uniform(0.95, 1.05) for _ in range(2))
        tracker.observe(drafted, (1.5 + 0.5 * (drafted - 1)) * next(noise), (10.0 + row * drafted) * next(noise), 0.2)
    costs = tracker.costs()
    assert costs.verify[4] - costs.verify[0] == pytest.approx(4 * row, rel=0.2, abs=0.5)  # 2.4 at load
    assert costs.draft == pytest.approx(0.5, rel=0.1) and costs.draft + costs.first == pytest.approx(1.5, rel=0.1)


def said_at_first(engine, request, **parts) -> CostMeasured:
    return next(r.event for r in engine.run(request, **parts) if isinstance(r.event, CostMeasured))


def test_a_run_tracks_its_own_costs(engine):
    """What one visitor's rounds cost, or other settings of a drafter, is no other's affair; whoever wants to go on passes them on."""
    request = Request("x", 8)
    untouched = said_at_first(engine, request)
    costs = engine.costs(engine.drafter(request, 20))
    list(engine.run(request, costs=costs))
    assert said_at_first(engine, request) == untouched
    assert costs.costs()._asdict() != {name: getattr(untouched, name) for name in ("draft", "verify", "fixed")}
    assert said_at_first(engine, request, costs=costs) != untouched
    for drafter in ("layer-skip:m1", "layer-skip:a1.m1"):
        list(engine.run(Request("x", 8, drafter="layer-skip:a1.m1")))
        assert said_at_first(engine, Request("x", 8, drafter=drafter)).draft == pytest.approx(0.5 * engine.measured.plain)


@pytest.mark.parametrize("seconds", [0.0, 0.004])
def test_a_drafter_without_a_guess_is_priced_by_its_first_round(seconds):
    """It shares no layers, so nothing was measured at load."""
    tracker = CostTracker(MEASURED, reuses=0)
    tracker.observe(2, seconds, 10.0, 0.1)
    assert tracker.costs().draft == seconds / 2 and tracker.shallow == 0
    tracker.observe(2, seconds, 10.0, 0.1)
    assert tracker.costs().draft == pytest.approx(seconds / 2)

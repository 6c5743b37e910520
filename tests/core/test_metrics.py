"""Metrics against rounds written by hand."""

import pytest

from eesd_core.control import make_controller
from eesd_core.errors import UserError
from eesd_core.events import DraftToken, PrefillDone, Record, RoundStarted, RoundVerified, RunFinished, TokensCommitted
from eesd_core.metrics import Acceptance, Metrics
from eesd_core.request import Request


def drafted(number: int, count: int) -> list:
    """A round's beginning and its drafts."""
    tokens = [DraftToken(number, i, i, 9, "x", 0.5, 0.5, 1.0, True, {}) for i in range(count)]
    return [RoundStarted(number, 0, 15, {}), *tokens]


def verified(number: int, drafted: int, accepted: int, kind: str) -> RoundVerified:
    next_id = None if kind == "none" else 9
    chances, margins = (0.5,) * drafted, (1.0,) * (drafted + 1)
    return RoundVerified(number, drafted, accepted, (9,) * (drafted + 1), chances, margins, next_id, "x", 0.5, kind, 0.25, 0.5)


def test_a_run_by_hand():
    """Untested drafts count as drafted and never as judged."""
    rounds = [verified(0, 4, 4, "bonus"), verified(1, 4, 1, "correction"), verified(2, 3, 0, "correction"), verified(3, 2, 2, "none")]
    events = [PrefillDone(5, 0.125)]
    for r in rounds:
        events += [*drafted(r.round, r.drafted), r, TokensCommitted(r.round, (9,) * (r.accepted + (r.next_id is not None)), "x")]
    events.append(RunFinished("eos", 10))
    report = Metrics.fold([Record("r", "eesd", i, i / 2, e) for i, e in enumerate(events)], "eesd").to_json()
    last = (len(events) - 1) / 2
    assert (report["rounds"], report["drafted"], report["accepted"]) == (4, 13, 7)
    assert report["draft_lengths"] == [4, 4, 3, 2] and report["new_tokens"] == 10 and report["finish"] == "eos"
    assert report["acceptance_per_position"] == [3 / 4, 2 / 3, 1.0, 1.0]
    assert report["acceptance_rate"] == 7 / 13 and report["mean_accepted_length"] == 1 + 7 / 4
    assert report["seconds"] == last and report["prefill_seconds"] == 0.125
    assert report["overhead_seconds"] == last - 4 * 0.75


def test_vllms_names_count_only_rounds_that_drafted():
    """The figures of a response that its pull request 48915 shows: 43 steps of 3 drafts. Rounds without drafts do not count there."""
    lengths = [0] * 39 + [1] + [3] * 3
    report = Acceptance.of_chains([(3, accepted) for accepted in lengths] + [(0, 0)] * 5)
    assert report.as_vllm() == {
        "mean_acceptance_length": 1.2325581395348837,
        "draft_acceptance_rate": 0.07751937984496124,
        "acceptance_histogram": [39, 1, 0, 3],
        "num_spec_steps": 43,
        "num_accepted_draft_tokens": 10,
        "num_draft_tokens": 129,
    }
    assert report.rounds == 48 and report.mean_accepted_length == 1 + 10 / 48
    assert Acceptance().as_vllm()["acceptance_histogram"] == []


def test_lanes_are_kept_apart_and_nothing_is_divided_by_zero():
    records = [Record("r", "vanilla", i, 3.0, e) for i, e in enumerate([RoundStarted(0, 0, 0, {}), TokensCommitted(0, (1,), "a")])]
    report = Metrics.fold(records, "eesd").to_json()
    assert report["new_tokens"] == 0 and report["acceptance_rate"] is report["mean_accepted_length"] is report["tokens_per_second"] is None


FRACTIONS = {
    "draft length": lambda: make_controller("fixed", length=2.5),
    "draft limit": lambda: make_controller("beta", limit=2.5),
    "new tokens": lambda: Request("x", 3.5),
    "new tokens as text": lambda: Request("x", "3"),
}


@pytest.mark.parametrize("make", FRACTIONS.values(), ids=FRACTIONS.keys())
def test_a_fraction_where_a_whole_number_belongs(make):
    with pytest.raises(UserError):
        make()

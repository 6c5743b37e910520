"""Metrics against rounds written by hand."""

import pytest

from eesd_core.control import make_controller
from eesd_core.engine import Request
from eesd_core.errors import UserError
from eesd_core.events import PrefillDone, Record, RoundVerified, RunFinished, TokensCommitted
from eesd_core.metrics import Metrics


def verified(number: int, drafted: int, accepted: int, kind: str) -> RoundVerified:
    next_id = None if kind == "none" else 9
    return RoundVerified(
        number, drafted, accepted, (9,) * (drafted + 1), (0.5,) * drafted, (1.0,) * (drafted + 1), next_id, "x", 0.5, kind, 0.25, 0.5
    )


def test_a_run_by_hand():
    """Untested drafts count as drafted and never as judged."""
    rounds = [verified(0, 4, 4, "bonus"), verified(1, 4, 1, "correction"), verified(2, 3, 0, "correction"), verified(3, 2, 2, "none")]
    events = [PrefillDone(5, 0.125)]
    for r in rounds:
        events += [r, TokensCommitted(r.round, (9,) * (r.accepted + (r.next_id is not None)), "x")]
    events.append(RunFinished("eos", 10))
    report = Metrics.fold([Record("r", "eesd", i, i / 2, e) for i, e in enumerate(events)], "eesd").to_json()
    assert (report["rounds"], report["drafted"], report["accepted"]) == (4, 13, 7)
    assert report["draft_lengths"] == [4, 4, 3, 2] and report["new_tokens"] == 10 and report["finish"] == "eos"
    assert report["acceptance_per_position"] == [3 / 4, 2 / 3, 1.0, 1.0]
    assert report["acceptance_rate"] == 7 / 13 and report["mean_accepted_length"] == 1 + 7 / 4
    assert report["seconds"] == 4.5 and report["prefill_seconds"] == 0.125
    assert report["overhead_seconds"] == 4.5 - 4 * 0.75


def test_lanes_are_kept_apart_and_nothing_is_divided_by_zero():
    records = [Record("r", "vanilla", 0, 3.0, TokensCommitted(0, (1,), "a"))]
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

"""The fold: nothing is lost, every token has the state that the verdict gives it, and every view says the same."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import streams, unfold

from eesd_core.events import DraftToken, Record, RoundStarted, RoundVerified
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import Lane, fold, fold_all
from eesd_core.sampling import Sampling
from eesd_core.trace import open_trace

OPENING = Path(__file__).parents[2] / "assets" / "traces" / "opening.ndjson"


@given(streams())
def test_nothing_is_lost(records):
    lane = fold(records, "eesd")
    assert unfold(lane) == [record.event for record in records]


@given(streams())
def test_the_text_comes_back_from_the_rounds(records):
    """Token for token from the states of the nodes: what was committed, and as many as the run says."""
    lane = fold(records, "eesd")
    written = [token for round in lane.rounds for token in round.written]
    assert [token.id for token in written] == lane.token_ids and len(written) == lane.ended.new_tokens == len(lane.margins)
    assert "".join(token.text for token in written) == lane.text
    assert [token.position for token in written] == list(range(len(lane.started.prompt_ids), len(lane.started.prompt_ids) + len(written)))


@given(streams())
def test_every_draft_is_judged_or_untested(records):
    for round in fold(records, "eesd").rounds:
        states = [node.state for node in round.nodes]
        accepted, parents = round.verdict.accepted, [node.parent for node in round.nodes]
        if parents == list(range(-1, len(parents) - 1)):  # a chain
            assert states == ["accepted"] * accepted + ["rejected"] * (accepted < len(states)) + ["untested"] * (len(states) - accepted - 1)
            assert round.tested == min(len(states), accepted + 1)
        for node in round.nodes:  # word for word: judged are those that continue what was accepted
            judged = node.parent == -1 or states[node.parent] == "accepted"
            assert (node.state == "untested") == (not judged)
        ahead = [node for node in round.nodes if node.parent == (round.verdict.path or [-1])[-1]]
        assert round.tested == accepted + bool(ahead)
        assert all((node.probability is None) == (node.state == "untested") for node in round.nodes)
        assert (round.next is None) == (round.verdict.next_kind == "none")


@given(streams())
def test_rounds_share_out_the_clock(records):
    lane = fold(records, "eesd")
    assert all(before.end == after.start for before, after in pairwise(lane.rounds))
    assert not lane.rounds or lane.round.end == lane.clock == records[-1].t
    for round in lane.rounds:
        assert round.start <= round.verified <= round.end
        assert all(before.end <= after.start for before, after in pairwise(round.nodes))


@given(streams(), streams("vanilla"), st.randoms(), st.data())
def test_a_fold_goes_on_record_by_record_and_lanes_do_not_mix(ours, plain, random, data):
    mixed = sorted([*ours, *plain], key=lambda record: (random.random(), record.lane))
    mixed = [next(queue) for queue in _turns(mixed, {"eesd": iter(ours), "vanilla": iter(plain)})]
    cut = data.draw(st.integers(0, len(mixed)))
    lane = fold(mixed[:cut], "eesd")
    for record in mixed[cut:]:
        lane.add(record)
    assert unfold(lane) == [record.event for record in ours]
    assert [unfold(lane) for lane in fold_all(mixed)] == [[record.event for record in records] for records in (ours, plain)]


def _turns(order, queues):
    return (queues[record.lane] for record in order)


def test_texts_of_one_lane_do_not_mix():
    events = [RoundStarted(0, 1, 4, {}), DraftToken(0, 0, 1, 7, "x", 0.5, 0.5, 1.0, False, {})]
    records = [Record("r", "eesd", seq, 0.0, event, row) for row in (1, 0) for seq, event in enumerate(events[: 2 - row])]
    lanes = fold_all(records)
    assert [(lane.row, len(lane.round.nodes)) for lane in lanes] == [(0, 1), (1, 0)]


def test_a_round_under_way():
    lane = Lane("eesd")
    for seq, event in enumerate([RoundStarted(0, 5, 4, {"alpha": 1.0}), DraftToken(0, 0, 5, 7, "x", 0.5, 0.5, 1.0, True, {})]):
        lane.add(Record("r", "eesd", seq, seq / 2, event))
    assert [token.state for token in lane.round.tokens] == ["pending"] and not lane.round.written and not lane.judged
    assert (lane.round.start, lane.round.end, lane.round.nodes[0].start, lane.round.nodes[0].end) == (0.0, 0.5, 0.0, 0.5)


def test_a_token_of_its_own_without_drafts_is_plain():
    lane = Lane("eesd")
    for seq, event in enumerate([RoundStarted(0, 5, 0, {}), RoundVerified(0, 0, 0, (3,), (), (0.5,), 3, "x", 0.25, "bonus", 0.0, 0.1)]):
        lane.add(Record("r", "eesd", seq, 0.0, event))
    (token,) = lane.round.tokens
    assert (token.state, token.id, token.position, token.parent, token.margin, token.draft) == ("plain", 3, 5, -1, 0.5, None)


@pytest.mark.parametrize("acceptance", ["shared-noise", "rejection"])
def test_a_real_race(engine, acceptance):
    records = list(race(engine, Request("Once upon", 40, Sampling(0.8, seed=3, acceptance=acceptance))))
    for lane in fold_all(records):
        assert [token.id for round in lane.rounds for token in round.written] == lane.token_ids
        assert unfold(lane) == [record.event for record in records if record.lane == lane.name]
        if acceptance == "shared-noise":  # every place that was judged says what the target chose there
            for round in lane.judged:
                judged = [node for node in round.nodes if node.state != "untested"]
                assert [node.id == round.verdict.target_ids[node.parent + 1] for node in judged] == [n.state == "accepted" for n in judged]


def test_the_recording_of_the_page_folds_to_its_texts():
    records = open_trace(OPENING).records
    for lane in fold_all(records):
        assert unfold(lane) == [record.event for record in records if record.lane == lane.name]
        written = [token for round in lane.rounds for token in round.written if token.id not in lane.started.end_ids]
        assert "".join(token.text for token in written) == lane.text

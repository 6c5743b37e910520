import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eesd_core.errors import UserError
from eesd_core.events import DraftToken, Record, RoundStarted, RoundVerified, RunCancelled, RunFinished, TokensCommitted
from eesd_core.metrics import Metrics
from eesd_core.racing import first_difference, race, verdict
from eesd_core.request import Request
from eesd_core.rounds import Lane
from eesd_core.sampling import Sampling
from eesd_core.text.detokenizer import Detokenizer
from eesd_core.trace import open_trace, to_line, write_trace

REQUEST = Request("Once upon a time", 40, Sampling(0.8, 1.0, 2))


@pytest.fixture(scope="module")
def records(engine):
    return list(race(engine, REQUEST))


def test_a_trace_is_the_run(tmp_path, records):
    path = tmp_path / "run.ndjson"
    write_trace(path, records)
    again = open_trace(path).records
    assert [r.event for r in again] == [r.event for r in records]
    for lane in ("vanilla", "eesd"):
        assert Metrics.fold(again, lane).to_json()["text"] == Metrics.fold(records, lane).to_json()["text"]


@given(st.text(st.characters(codec=None), max_size=40), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_survives_the_line(text, probability):
    event = DraftToken(1, 0, 9, 5, text, probability, 0.5, 1.0, True, {"theta": 0.5})
    line = to_line(Record("r", "eesd", 3, 0.25, event))
    assert line.isascii() and line.count("\n") == 1 and "<" not in line
    assert Record.from_json(json.loads(line)).event == event


@pytest.mark.parametrize("broken", ["{}", "nonsense", '{"type":"run_finished"}', "[1]", '{"type":"evil","run":"r"}'])
def test_a_broken_line_is_named(tmp_path, records, broken):
    path = tmp_path / "run.ndjson"
    path.write_text(to_line(records[0]) + broken + "\n")
    with pytest.raises(UserError, match="line 2"):
        open_trace(path)


def test_both_lanes_write_the_same_and_the_verdict_says_so(records, engine):
    final = records[-1]
    assert final.lane == "race" and final.event.identical and final.event.first_difference is None
    assert final.event.level == engine.level
    eesd, vanilla = (Metrics.fold(records, lane) for lane in ("eesd", "vanilla"))
    assert eesd.token_ids == vanilla.token_ids and len(eesd.token_ids) == 40
    assert final.event.speedup == pytest.approx(vanilla.seconds / eesd.seconds)


def test_the_lane_behind_takes_the_next_step(records):
    clocks = {"vanilla": 0.0, "eesd": 0.0}
    over = set()
    for record in records[:-1]:
        other = "eesd" if record.lane == "vanilla" else "vanilla"
        assert other in over or clocks[record.lane] <= clocks[other]
        clocks[record.lane] = record.t
        if isinstance(record.event, RunFinished):
            over.add(record.lane)


def plain_lane(name: str, ids: list[int], margins: list[float], seconds: float) -> Lane:
    """A lane that wrote one token a round."""
    lane, events = Lane(name), []
    for i, (id, margin) in enumerate(zip(ids, margins)):
        verdict = RoundVerified(i, 0, 0, (id,), (), (margin,), id, "x", 0.5, "bonus", 0.0, 0.1)
        events += [RoundStarted(i, i, 0, {}), verdict, TokensCommitted(i, (id,), "x")]
    for seq, event in enumerate([*events, RunFinished("length", len(ids))]):
        lane.add(Record("r", name, seq, seconds, event))
    return lane


def test_a_difference_is_reported_with_its_margin():
    vanilla = plain_lane("vanilla", [1, 2, 3], [0.5, 0.01, 0.7], 2.0)
    eesd = plain_lane("eesd", [1, 9, 3], [0.5, 0.02, 0.7], 1.0)
    result = verdict(vanilla, eesd, "exact-as-observed")
    assert not result.identical and result.level == "fork" and result.speedup == 2.0
    assert result.first_difference == {"position": 1, "margin": 0.01, "vanilla_id": 2, "eesd_id": 9}


@pytest.mark.parametrize(("a", "b", "first"), [([], [], None), ([1], [1], None), ([1], [1, 2], 1), ([1, 2], [1], 1), ([3], [4], 0)])
def test_first_difference(a, b, first):
    assert first_difference(a, b) == first


def test_a_cancelled_race_has_no_verdict(engine):
    answers = iter([False] * 6 + [True] * 100)
    events = [r.event for r in race(engine, REQUEST, cancelled=lambda: next(answers))]
    assert sum(isinstance(e, RunCancelled) for e in events) == 2 and not any(e.type == "race_finished" for e in events)


@given(st.text(max_size=30), st.lists(st.integers(1, 5), max_size=40))
def test_text_in_pieces_is_the_whole_text(engine, text, cuts):
    text = text.encode("utf-8", "replace").decode()
    ids, begin = engine.target.codec.encode(text), engine.target.codec.encode("before")
    detokenizer, parts, at = Detokenizer(engine.target.codec, begin), [], 0
    for cut in cuts:
        parts.append(detokenizer.push(ids[at : at + cut]))
        at += cut
    parts += [detokenizer.push(ids[at:]), detokenizer.flush()]
    assert "".join(parts) == text
    assert all("\ufffd" not in part for part in parts) or "\ufffd" in text

"""What a run leaves behind: CSV, Perfetto, one offline file; and traces from elsewhere, which are refused in one line or are sound."""

import copy
import csv
import io
import json
import re
from itertools import pairwise

import pytest
from hostile import hostile

from eesd_core import trace as trace_module
from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.export import export
from eesd_core.export.playback import play
from eesd_core.metrics import Metrics
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.simulate.hindsight import hindsight
from eesd_core.trace import open_trace, parse_trace, to_line

HOSTILE = '</script><script>window.__x=1</script>=SUM(A1)\u202e"'


def recorded(engine, new_tokens: int) -> list:
    request = Request(HOSTILE, new_tokens, Sampling(0.8, seed=7), controller="beta", settings={"seed": 7})
    run = list(race(engine, request))
    return [*run, hindsight(engine, request, run)]


@pytest.fixture(scope="module")
def records(engine):
    return recorded(engine, 40)


@pytest.fixture(scope="module")
def lines(records):
    return list(map(to_line, records))


@pytest.fixture(scope="module")
def short(engine, records):
    """Lines of every kind, but few: for what reads them hundreds of times."""
    few = recorded(engine, 8)
    assert {record.event.type for record in few} == {record.event.type for record in records}
    return list(map(to_line, few))


@pytest.fixture(scope="module")
def trace(lines):
    return parse_trace("".join(lines).encode())


def test_a_trace_comes_back_as_it_was(trace, records, lines):
    assert list(map(to_line, trace.records)) == lines
    assert "<" not in trace.text and trace.text.isascii()


def test_csv_has_a_row_a_round_whose_numbers_add_up(trace, records):
    rows = list(csv.DictReader(io.StringIO(export(trace, "csv"))))
    for lane in ("eesd", "vanilla"):
        own, metrics = [row for row in rows if row["lane"] == lane], Metrics.fold(records, lane)
        assert len(own) == metrics.rounds
        assert [int(row["drafted"]) for row in own] == metrics.draft_lengths
        assert [int(id) for row in own for id in row["token_ids"].split()] == metrics.token_ids
        times = sum(float(row[name]) for row in own for name in ("draft_ms", "verify_ms"))
        assert times == pytest.approx(1e3 * (metrics.draft_seconds + metrics.verify_seconds), abs=0.1)
        assert all(int(row["accepted"]) + int(row["rejected"]) + int(row["untested"]) == int(row["drafted"]) for row in own)
    assert re.fullmatch(r"[a-z0-9_., \n]*", export(trace, "csv").replace("-", ""))  # no formula, no text of a model


def test_perfetto_events_follow_the_format(trace, records):
    """Chrome's trace event format: phases, their fields, slices inside the run, every arrow with both ends."""
    events = json.loads(export(trace, "perfetto"))["traceEvents"]
    end = max(round(1e6 * record.t) for record in records)
    known = {
        "M": {"args"},
        "X": {"ts", "dur", "args"},
        "C": {"ts", "args"},
        "i": {"ts", "s"},
        "s": {"ts", "id", "cat"},
        "f": {"ts", "id", "cat", "bp"},
    }
    for event in events:
        assert {"ph", "pid", "tid", "name"} | known[event["ph"]] <= set(event)
        assert isinstance(event["name"], str) and event["name"]
        if "ts" in event:
            assert type(event["ts"]) is int and 0 <= event["ts"] <= event["ts"] + event.get("dur", 0) <= end
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
    starts = {event["id"]: event["ts"] for event in events if event["ph"] == "s"}
    ends = {event["id"]: event["ts"] for event in events if event["ph"] == "f"}
    assert starts.keys() == ends.keys() and all(ends[id] >= starts[id] for id in starts)
    eesd = Metrics.fold(records, "eesd")
    assert len(starts) == eesd.drafted
    drafts = [event for event in events if event["ph"] == "X" and (event["pid"], event["tid"]) == (1, 1)]
    assert len(drafts) == eesd.drafted
    assert all(before["ts"] + before["dur"] <= after["ts"] for before, after in pairwise(drafts))


def test_one_offline_file_forbids_the_network_and_a_trace_cannot_break_out(trace):
    page = export(trace, "html")
    assert len(page.encode()) <= 6_000_000
    assert page.count("<script") == page.count("</script>") == 3
    start = page.index('id="trace">')
    assert page[start + len('id="trace">') : page.index("</script>", start)] == trace.text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "default-src 'none'" in policy and "http" not in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)
    assert not re.search(r'(src|href)="http', page)


def test_a_recording_and_a_stopped_run_are_traces_too(lines):
    head = '{"type":"recording","format":"eesd-trace/1","date":"2026-01-01","machine":"m","cores":2,"versions":{}}\n'
    queue = '{"type":"queue","run":"a","place":0,"waiting":0}\n'
    stopped = '{"type":"stopped","message":"by you"}\n'
    for length in range(1, len(lines), 7):
        trace = parse_trace((head + queue + "".join(lines[:length]) + stopped).encode())
        assert trace.head["machine"] == "m" and len(trace.records) == length
        for form in ("csv", "perfetto"):
            export(trace, form)


BROKEN = [  # what replaces the text, what the line says
    (b"", "no trace"),
    (b"hello", "line 1: this is no trace"),
    (b"\x00\xff\xfe", "line 1"),
    (b"[]", "line 1"),
    (b'{"type":"toString"}', "line 1"),
    (b'{"type":["queue"]}', "line 1"),
    (b"[" * 100_000, "line 1"),
    (b'{"type":"queue","place":NaN,"waiting":0}', "line 1"),
    (b'{"type":"queue","place":1e999,"waiting":0}', "line 1"),
]


@pytest.mark.parametrize(("data", "line"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_trace_is_refused_in_one_line(data, line):
    with pytest.raises(UserError, match=line) as refused:
        parse_trace(data)
    assert "\n" not in str(refused.value)


def test_a_trace_that_is_too_large_is_not_read(lines, monkeypatch):
    monkeypatch.setattr(trace_module, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="larger than"):
        parse_trace("".join(lines).encode())


def test_records_that_are_missing_doubled_or_swapped_are_noticed(lines):
    for broken in (lines[1:], lines[:5] + lines[6:], lines[:9] + lines[8:], [*lines[:4], lines[5], lines[4], *lines[6:]]):
        with pytest.raises(UserError, match=r"line \d+"):
            parse_trace("".join(broken).encode())


def test_a_whole_number_may_be_written_with_a_point(lines):
    at = next(i for i, line in enumerate(lines) if '"round_verified"' in line and '"eesd"' in line)
    record = json.loads(lines[at])
    changed = json.dumps(record | {name: float(record[name]) for name in ("drafted", "accepted", "seq", "round")})
    changed = changed.replace(json.dumps(record["target_ids"]), json.dumps(list(map(float, record["target_ids"]))))
    trace = parse_trace("".join([*lines[:at], changed + "\n", *lines[at + 1 :]]).encode())
    assert list(map(to_line, trace.records)) == lines


def test_a_verdict_without_a_speedup_is_replayed(lines):
    at = next(i for i, line in enumerate(lines) if '"race_finished"' in line)
    fork = {"position": 2.0, "margin": None, "vanilla_id": None, "eesd_id": 3.0}
    changed = json.dumps(json.loads(lines[at]) | {"identical": False, "level": "fork", "speedup": None, "first_difference": fork})
    facts = play(parse_trace("".join([*lines[:at], changed + "\n", *lines[at + 1 :]]).encode()), out := io.StringIO(), 0)
    assert " speedup " not in out.getvalue() and "differs at token 3, margin unknown" in out.getvalue()
    assert facts["speedup"] is None


COINS = [{"next_kind": "none"}, {"next_id": None}, {"uniforms": []}, {"accept_probabilities": [0.5] * 9, "uniforms": [0.5] * 9}]


@pytest.mark.parametrize("change", COINS)
def test_a_verdict_that_contradicts_itself_is_refused(lines, change):
    at = next(i for i, line in enumerate(lines) if '"round_verified"' in line and '"next_kind":"none"' not in line)
    with pytest.raises(UserError, match="does not fit its round"):
        parse_trace("".join([*lines[:at], json.dumps(json.loads(lines[at]) | change) + "\n", *lines[at + 1 :]]).encode())


def mutations(lines):
    """One field of one record of every type is something else."""
    values = [None, True, -1, 1.5, 2**60, "x", [], [[]], {}, ["a"], [None], {"alpha": "1"}, {"alpha": -1}, {"arms": 3}, {"arms": [{}]}]
    first = {json.loads(line)["type"]: at for at, line in reversed(list(enumerate(lines)))}
    for at in first.values():
        record = json.loads(lines[at])
        for name in record:
            for value in [*values, "__gone__"]:
                changed = copy.copy(record)
                if value == "__gone__":
                    del changed[name]
                else:
                    changed[name] = value
                yield [*lines[:at], json.dumps(changed) + "\n", *lines[at + 1 :]]


def test_a_record_with_a_wrong_field_is_refused_or_harmless(short):
    refused = sound = 0
    for mutated in mutations(short):
        try:
            trace = parse_trace("".join(mutated).encode())
        except UserError as problem:
            assert "\n" not in str(problem)
            refused += 1
            continue
        sound += 1
        for form in ("csv", "perfetto"):
            export(trace, form)
    assert refused > 5 * sound > 0


def test_hostile_text_goes_through_every_export(short):
    at = next(i for i, line in enumerate(short) if '"draft_token"' in line)
    for text in hostile():
        record = json.loads(short[at]) | {"text": text}
        trace = parse_trace("".join([*short[:at], json.dumps(record) + "\n", *short[at + 1 :]]).encode())
        assert "<" not in trace.text and trace.text.isascii()
        drafts = [e for e in json.loads(export(trace, "perfetto"))["traceEvents"] if e["ph"] == "X" and e["tid"] == 1]
        assert drafts[0]["name"] == (text or "(empty)")
        export(trace, "csv")


def test_the_commands(lines, tmp_path, capsys):
    path = tmp_path / "run.ndjson"
    path.write_text("".join(lines))
    for form in ("html", "perfetto", "csv"):
        assert main(["export", str(path), "--format", form, "--out", str(tmp_path / form)]) == 0
        assert (tmp_path / form).read_text() == export(open_trace(path), form)
    capsys.readouterr()
    assert main(["replay", str(path), "--speed", "0", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "\u202e" not in shown and json.loads(shown.splitlines()[-1])["identical"]
    for wrong in (
        ["replay", str(tmp_path / "none")],
        ["replay", str(path), "--speed", "nan"],
        ["replay", str(tmp_path)],
        ["export", str(tmp_path / "html"), "--format", "csv", "--out", str(tmp_path / "x")],
        ["export", str(path), "--format", "csv", "--out", str(tmp_path / "no" / "x")],
        ["export", str(path), "--format", "csv", "--out", str(path)],
    ):
        assert main(wrong) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

"""Runs of other programs as traces: what they say is there, what they do not say is not, and what cannot be is refused in one line."""

import copy
import csv
import io
import json

import pytest
from replies import LLAMA, VLLM, WRONG, changed

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.export import export
from eesd_core.foreign import Log
from eesd_core.foreign.read import read_foreign
from eesd_core.foreign.told import records_of
from eesd_core.metrics import Metrics
from eesd_core.rounds import fold
from eesd_core.trace import open_trace, parse_trace, to_line


@pytest.fixture
def opened(tmp_path):
    """What a file becomes: the first text's lane, from a trace that was written and read again."""

    def through(*replies, text: str | None = None):
        file = tmp_path / "reply.json"
        file.write_text(text if text is not None else "\n".join(map(json.dumps, replies)))
        records = records_of(read_foreign(file))
        trace = parse_trace("".join(map(to_line, records)).encode())
        assert list(map(to_line, trace.records)) == list(map(to_line, records))
        return trace

    return through


def test_rounds_of_vllm(opened):
    trace = opened(VLLM)
    lane = fold(trace.records, "eesd")
    assert [(round.drafted, round.accepted, round.tested) for round in lane.judged] == [
        (4, 0, 1), (4, 2, 3), (4, 0, 1), (4, 2, 3), (4, 1, 2), (4, 3, 4),
    ]  # fmt: skip
    assert lane.foreign and lane.text == " who had a son." and lane.ended.reason == "eos" and lane.clock == 0.25
    assert all(round.end == 0 and not round.nodes for round in lane.rounds)  # times of rounds and words of drafts were not said
    report = Metrics.of(lane).to_json()
    assert report["new_tokens"] == 14 and report["tokens_per_second"] == 56.0 and report["mean_accepted_length"] == 1 + 8 / 6
    said = VLLM["metrics"]["speculative_decoding"]
    names = ("draft_acceptance_rate", "num_spec_steps", "num_accepted_draft_tokens", "num_draft_tokens", "acceptance_histogram")
    assert {name: report[name] for name in names} == {name: said[name] for name in names}
    assert report["acceptance_per_position"] == [4 / 6, 3 / 4, 1 / 3, 0.0]
    absent = ("token_ids", "prefill_seconds", "draft_seconds", "verify_seconds", "overhead_seconds")
    assert [report[name] for name in absent] == [None] * len(absent)


def test_a_summary_has_no_rounds(opened):
    reply = copy.deepcopy(VLLM)
    for name in ("per_step_accepted", "per_step_drafted"):
        del reply["metrics"]["speculative_decoding"][name]
    del reply["metrics"]["generation_time_ms"]
    report = Metrics.fold(opened(reply).records, "eesd").to_json()
    assert (report["rounds"], report["drafted"], report["accepted"]) == (6, 24, 8) and report["acceptance_histogram"] == [2, 1, 2, 1, 0]
    assert report["draft_lengths"] is report["acceptance_per_position"] is report["seconds"] is report["tokens_per_second"] is None


def test_timings_of_llama_cpp(opened):
    trace = opened(LLAMA)
    lane = fold(trace.records, "eesd")
    report = Metrics.of(lane).to_json()
    assert lane.started.method == "llama.cpp" and lane.prefill.seconds == pytest.approx(0.027796) and lane.ended.reason == "length"
    assert (report["drafted"], report["accepted"], report["new_tokens"], report["token_ids"]) == (70, 27, 32, [482, 355, 262])
    assert report["acceptance_rate"] == 27 / 70 and report["tokens_per_second"] == pytest.approx(32 / 0.636917)
    assert report["rounds"] is report["mean_accepted_length"] is report["acceptance_histogram"] is None  # it does not count rounds
    plain = copy.deepcopy(LLAMA)
    del plain["timings"]["draft_n"], plain["timings"]["draft_n_accepted"]
    assert Metrics.fold(opened(plain).records, "eesd").to_json()["drafted"] is None


def test_several_responses_and_streams(opened):
    assert {record.row for record in opened(VLLM, LLAMA, VLLM).records} == {0, 1, 2}
    assert {record.row for record in opened(text=json.dumps([VLLM, LLAMA], indent=1)).records} == {0, 1}
    parts = [{"choices": [{"index": 0, "delta": {"content": text}, "token_ids": [7]}], "model": "m"} for text in (" who", " had")]
    parts += [{"choices": [{"delta": {}, "finish_reason": "length"}]}, {"choices": [], "usage": VLLM["usage"], "metrics": VLLM["metrics"]}]
    lane = fold(opened(text="".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n").records, "eesd")
    assert lane.text == " who had" and lane.token_ids == [7, 7] and lane.ended.reason == "length" and len(lane.rounds) == 6


@pytest.mark.parametrize("where, value", WRONG)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys, where, value):
    file, out = tmp_path / "reply.json", tmp_path / "trace.ndjson"
    file.write_text(json.dumps(changed(where, value)))
    assert main(["import", str(file), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and len(said.err) < 500 and not out.exists()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"3", b"{", b"\xff\xfe", b"null", b'{"timings": 3}', b"[" * 100_000, b"data: 4\n", b"1" * 5000]
)
def test_what_is_no_such_file(tmp_path, data):
    (tmp_path / "reply").write_bytes(data)
    with pytest.raises(UserError) as refused:
        read_foreign(tmp_path / "reply")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [{"draft_n": 27}, {"draft_n": 10, "draft_n_accepted": 11}, {"predicted_ms": -1}, {"predicted_n": None}])
def test_timings_that_cannot_be(tmp_path, value):
    reply = {"timings": {"predicted_n": 3} | value}
    (tmp_path / "reply").write_text(json.dumps(reply))
    with pytest.raises(UserError):
        read_foreign(tmp_path / "reply")


def test_hostile_words_stay_text(opened):
    reply = changed("choices", [{"text": "</script><script>alert(1)</script>\u202e\x1b[31m=SUM(A1)"}]) | {"model": "<b>\x1b[31m"}
    trace = opened(reply)
    assert "<" not in trace.text
    page = export(trace, "html")
    assert page.count("<script") == export(opened(VLLM), "html").count("<script")


def test_commands_open_what_import_writes(tmp_path, capsys):
    file, out = tmp_path / "replies.ndjson", tmp_path / "trace.ndjson"
    file.write_text(json.dumps(VLLM) + "\n" + json.dumps(LLAMA) + "\n")
    assert main(["import", str(file), "--out", str(out), "--json"]) == 0
    texts = json.loads(capsys.readouterr().out.splitlines()[-1])["texts"]
    assert [text["program"] for text in texts] == ["vLLM", "llama.cpp"]
    assert main(["replay", str(out), "--speed", "0", "--json"]) == 0
    assert " who had a son." in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(export(open_trace(out), "csv"))))
    assert [(row["drafted"], row["accepted"], row["rejected"], row["untested"]) for row in rows][:2] == [
        ("4", "0", "1", "3"),
        ("4", "2", "1", "1"),
    ]
    assert len(rows) == 6 and {row["draft_ms"] for row in rows} == {row["position"] for row in rows} == {row["end_s"] for row in rows} == {
        ""
    }
    events = json.loads(export(open_trace(out), "perfetto"))["traceEvents"]
    assert not [event for event in events if event["ph"] == "X"]  # no times, no slices
    assert main(["import", str(out), "--out", str(out)]) == 2


def test_logger(tmp_path):
    path = tmp_path / "log.ndjson"
    with Log(path, "my loop") as log:
        log.begin("a model", "Once", [1, 2], {"drafts": 4})
        log.prefilled(2, seconds=0.5)
        log.round(4, 2, [5, 6, 7], " upon a", seconds=0.25)
        log.round(3, 3, seconds=0.25)
        log.end("eos")
        log.begin()
        log.round(1, 0)
    first, second = (fold(open_trace(path).records, "eesd", row) for row in (0, 1))
    assert (first.started.method, first.started.prompt, first.prefill.seconds) == ("my loop", "Once", 0.5)
    assert first.token_ids == [5, 6, 7] and first.text == " upon a" and first.clock == 0.5
    assert [(round.start, round.end) for round in first.rounds] == [(0.0, 0.25), (0.25, 0.5)]
    report = Metrics.of(first).to_json()
    assert report["new_tokens"] == 7 and report["num_spec_steps"] == 2 and report["acceptance_histogram"] == [0, 0, 1, 1, 0]
    assert not second.finished and second.ended.new_tokens == 1 and second.clock > 0
    slices = [event for event in json.loads(export(open_trace(path), "perfetto"))["traceEvents"] if event["ph"] == "X"]
    assert [event["dur"] for event in slices[:2]] == [250_000, 250_000]


def test_logger_refuses_what_cannot_be(tmp_path):
    with pytest.raises(UserError):
        Log(tmp_path / "missing" / "log", "my loop")
    with pytest.raises(UserError):
        Log(tmp_path / "log", "eesd")
    with Log(tmp_path / "log", "my loop") as log:
        with pytest.raises(UserError, match="begin first"):
            log.round(1, 1)
        with pytest.raises(UserError, match="begin first"):
            log.prefilled(3)
        log.begin()
        for tokens, seconds in ((-1, None), (1.5, None), (3, -1.0), (3, float("nan"))):
            with pytest.raises(UserError):
                log.prefilled(tokens, seconds)
        with pytest.raises(UserError, match="seconds must be a number"):
            log.round(2, 1, seconds="long")
        for wrong in ((1, 2), (-1, 0), (1.5, 1), (10**6, 1), (float("nan"), 0), (2, 1, [1, 2, 3]), (2, 1, None, None, -1.0)):
            with pytest.raises(UserError):
                log.round(*wrong)
        with pytest.raises(UserError):
            log.end("tired")
        log.end()
    assert len(open_trace(tmp_path / "log").records) == 2

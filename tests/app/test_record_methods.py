"""The recorded race that the methods panel shows until one is run."""

import gzip
import json

from app import studies
from eesd_core.events import FORMAT
from eesd_core.recording import write_recording
from tools.record_methods import METHODS, recorded


def test_it_is_the_panels_own_race_under_a_head_line(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.record_methods.METHODS", ["throughput", "prompt-lookup"])
    path = tmp_path / "methods.ndjson.gz"
    write_recording(path, engine.target.device, recorded(engine, {"prompt": "Hello <b>", "new_tokens": 8}))
    text = gzip.decompress(path.read_bytes()).decode("ascii")
    assert "<" not in text
    head, *lines, table = map(json.loads, text.splitlines())
    assert head["type"] == "recording" and head["machine"] and head["cores"] > 0 and len(head["date"]) == 10
    names = ["vanilla", "throughput", "prompt-lookup"]
    assert {line["lane"] for line in lines if line["type"] == "run_finished"} == set(names)
    assert table["type"] == "table" and [row["name"] for row in table["rows"]] == names
    assert all(row["identical"] for row in table["rows"])


def test_the_recording_that_ships_is_whole_and_small():
    data = studies.RECORDED_METHODS.read_bytes()
    assert len(data) < 60_000
    head, *lines, table = map(json.loads, gzip.decompress(data).decode("ascii").splitlines())
    assert head["type"] == "recording" and head["format"] == FORMAT
    assert [line["lane"] for line in lines if line["type"] == "run_started"] == ["vanilla", *METHODS]
    assert [row["name"] for row in table["rows"]] == ["vanilla", *METHODS]
    assert all(row["identical"] and row["tokens"] == 48 for row in table["rows"])

"""Recorded races: the command that makes one, and the one the page opens on."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

from app.form_values import request_from_form
from eesd_core.cli import main
from eesd_core.events import FORMAT, OLDER, Record
from eesd_core.loading import load_engine
from eesd_core.model.catalog import BEST
from eesd_core.recording import shortened
from eesd_core.rounds import fold
from eesd_core.trace import open_trace
from tools.record_opening import form

OPENING = Path(__file__).parents[2] / "assets" / "traces" / "opening.ndjson"


def check(path: Path) -> list[Record]:
    text = path.read_text("ascii")
    assert "<" not in text  # it stands inside a script
    head = json.loads(text.splitlines()[0])
    assert head["type"] == "recording" and head["format"] in (FORMAT, OLDER) and head["cores"] > 0
    assert head["machine"] and len(head["date"]) == 10 and "torch" in head["versions"]
    records = open_trace(path).records
    assert "race_finished" in [record.event.type for record in records[-2:]]  # what_if may follow
    assert {record.lane for record in records} == {"eesd", "vanilla", "race"}
    return records


def test_record_writes_a_race_and_says_where_it_was_run(model_folder, tmp_path, capsys):
    out = tmp_path / "new" / "race.ndjson"
    arguments = ["--model", str(model_folder), "--temperature", "0.8", "--max-new-tokens", "12", "--json"]
    assert main(["record", "Once <b>", "--out", str(out), *arguments]) == 0
    records = check(out)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["records"] == len(records)
    started = [record.event for record in records if record.event.type == "run_started"]
    assert [event.prompt for event in started] == ["Once <b>"] * 2


def test_a_path_that_cannot_be_written_is_one_line(model_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "race.ndjson"
    assert main(["record", "Once", "--out", str(out), "--model", str(model_folder), "--max-new-tokens", "2"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_numbers_are_as_long_as_they_are_read():
    line = {"t": 12.345678, "a": 0.123456789, "b": [1e-7 / 3, 12, None, True], "c": {"d": (2.0 / 3e5, "x")}}
    assert shortened(line) == {"t": 12.345678, "a": 0.123457, "b": [3.33333e-08, 12, None, True], "c": {"d": [6.66667e-06, "x"]}}


def test_the_recording_of_the_page_is_whole_and_small():
    """It is the race that Run starts if nothing is changed, and its text ends with a sentence."""
    records = check(OPENING)
    assert OPENING.stat().st_size <= 300_000 and len(gzip.compress(OPENING.read_bytes())) < 40_000
    started = next(record.event for record in records if record.event.type == "run_started" and record.lane == "eesd")
    asked = request_from_form(**form())
    assert (started.model, started.prompt, started.settings["chat"]) == (BEST, asked.prompt, True)
    assert {name: started.settings[name] for name in asdict(asked.sampling)} == asdict(asked.sampling)
    assert started.settings["controller"]["controller"] == asked.controller and started.settings["drafter"] == asked.drafter.name
    assert fold(records, "eesd").text.endswith(".")
    assert next(record.event for record in records if record.event.type == "race_finished").identical


def test_the_recording_is_of_the_exit_layer_that_ships(smollm2):
    """It drafts again what was drafted, about as surely, as long as the text is the same: other kernels, and another processor's, change
    little. If this fails, record it again (tools/record_opening.py)."""
    recorded = fold(open_trace(OPENING).records, "eesd")
    written = fold(load_engine(BEST, device="cpu").run(request_from_form(**form())), "eesd")
    pairs = []
    for before, now in zip(recorded.rounds, written.rounds):
        pairs += [(old.draft, new.draft) for old, new in zip(before.nodes, now.nodes)]
        if [token.id for token in before.written] != [token.id for token in now.written]:
            break
    alike = sum(old.id == new.id and abs(old.confidence - new.confidence) < 0.1 for old, new in pairs)
    assert len(pairs) > 30 and alike > 0.8 * len(pairs)

"""Recorded races: the command that makes one, and the one the page opens on."""

import json
from pathlib import Path

from eesd_core.cli import main
from eesd_core.events import FORMAT, OLDER, Record
from eesd_core.loading import load_engine
from eesd_core.sampling import Sampling
from eesd_core.simulate.courses import drafts_of
from eesd_core.trace import open_trace

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


def test_the_recording_of_the_page_is_whole_and_small():
    check(OPENING)
    assert OPENING.stat().st_size <= 300_000


def test_the_recording_is_of_the_exit_layer_that_ships(embedded):
    """It would draft again what was drafted, as surely: in another precision or on another processor with few exceptions."""
    records = open_trace(OPENING).records
    events = [record.event for record in records if record.lane == "eesd"]
    prompt_ids, settings = next((e.prompt_ids, e.settings) for e in events if e.type == "run_started")
    ids = [*prompt_ids, *(id for e in events if e.type == "tokens_committed" for id in e.ids)]
    sampling = Sampling(**{name: settings[name] for name in ("temperature", "top_p", "seed", "top_k", "min_p", "acceptance")})
    course = drafts_of(load_engine(embedded, device="cpu", dtype="float32"), ids, len(prompt_ids), sampling)
    drafts = [e for e in events if e.type == "draft_token"]
    tested = [e for e in drafts if ids[len(prompt_ids) : e.position] == text_before(drafts, e, ids, len(prompt_ids))]
    away = sorted(abs(course.confidence[e.position - len(prompt_ids)] - e.confidence) for e in tested)
    assert len(tested) > 60 and away[len(away) * 9 // 10] < 0.01


def text_before(drafts, last, ids: list[int], begin: int) -> list[int]:
    """What the drafts of a round went on from: the text in front of the round, and what was drafted before."""
    own = [e for e in drafts if e.round == last.round and e.i < last.i]
    return ids[begin : last.position - len(own)] + [e.id for e in own]

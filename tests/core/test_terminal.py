"""What is written to a terminal: shapes without colour, and nothing that steers it."""

import io
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trees import PROMPT, free_rows

from eesd_core.cli import main
from eesd_core.cli.terminal import DROPPED, MARKS, PART, STYLES, Painter, printable
from eesd_core.metrics import Metrics
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold


@given(st.text())
def test_control_characters_do_not_pass(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_every_state_has_a_shape_of_its_own():
    assert STYLES.keys() == MARKS.keys()
    judged = [MARKS[state] for state in ("accepted", "rejected", "correction", "bonus")]
    assert len(set(judged)) == 4


def test_a_race_in_plain_text(engine, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    painter = Painter(out)
    for record in race(engine, Request("Once\x1b[2J", 24, controller="fixed", settings={"length": 3})):
        painter.show(record)
    text = out.getvalue()
    assert "\x1b" not in text and "[-" in text and "<" in text


@pytest.mark.parametrize("prompt", ["Once", "\u00e9\U0001f600", "a b c"])
def test_lanes_read_as_the_committed_text(engine, prompt, monkeypatch):
    """Of a model that writes parts of characters. Left out are drafts that are not part of the text."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("eesd_core.cli.terminal.MARKS", dict.fromkeys(MARKS, "{}") | {"rejected": "", "untested": ""})
    painter = Painter(out := io.StringIO())
    records = list(race(engine, Request(prompt, 60, controller="fixed", settings={"length": 3})))
    for record in records:
        painter.show(record)
    texts = {lane: printable(Metrics.fold(records, lane).text) for lane in ("vanilla", "eesd")}
    assert out.getvalue().endswith(prompt + texts["eesd"]) and "\ufffd" in texts["eesd"]
    lanes = {lane: Metrics.fold(records, lane).to_json() for lane in texts}
    painter.summary(lanes, records[-1].event)
    assert f"\n\nvanilla: {texts['vanilla']}\n\n" in out.getvalue()


def test_of_a_tree_the_spine_and_the_accepted_path_are_shown(engine, monkeypatch):
    """Siblings that came to nothing are many, and left out."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("eesd_core.cli.terminal.MARKS", dict.fromkeys(MARKS, "{}") | dict.fromkeys(DROPPED, "\u241f{}"))
    painter = Painter(out := io.StringIO())
    request = Request(PROMPT, 40, controller="fixed", settings={"length": 3}, drafter="early-exit:8")
    records = list(engine.run(request, costs=free_rows(engine, "early-exit")))
    for record in records:
        painter.show(record)
    lane = fold(records, "eesd")
    dropped = sum(node.state in DROPPED for round in lane.rounds for node in round.spine)
    shown = out.getvalue().count("\u241f") - len(DROPPED)  # the legend has them too
    assert shown == dropped < sum(node.state in DROPPED for round in lane.rounds for node in round.nodes)
    assert any(node.state == "accepted" for round in lane.rounds for node in round.nodes[len(round.spine) :])


def test_a_dropped_part_of_a_character_is_a_dot(engine, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    painter = Painter(out := io.StringIO())
    for record in race(engine, Request("Once", 60, controller="fixed", settings={"length": 3})):
        painter.show(record)
    assert f"[-{PART}-]" in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colours_are_closed(engine, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    painter = Painter(out := Terminal())
    for record in race(engine, Request("Once\x1b[2J", 24, controller="fixed", settings={"length": 3})):
        painter.show(record)
    text = out.getvalue()
    assert "\x1b[2J" not in text and text.count("\x1b[0m") * 2 == text.count("\x1b[") > 0


def test_an_error_stays_one_harmless_line(capsys):
    assert main(["generate", "x", "--model", "./no\nwhere\x1b[2J"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err


def test_a_reader_that_leaves_early_is_no_failure(model_folder):
    command = [sys.executable, "-m", "eesd_core", "generate", "Once", "--model", str(model_folder), "--max-new-tokens", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_nothing_is_written_before_a_setting_is_refused(model_folder, capsys):
    """Today the prompt is echoed first; stderr and status are right."""
    assert main(["generate", "Once", "--model", str(model_folder), "--draft-length", "99"]) == 2
    out, err = capsys.readouterr()
    assert out in ("", "Once") and err.startswith("error: the draft length")

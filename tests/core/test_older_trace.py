"""Files of eesd-trace/1 still open: each line says what it said, and what the newer format asks for besides."""

import json
from pathlib import Path

import pytest

from eesd_core.errors import UserError
from eesd_core.events import FORMAT, OLDER
from eesd_core.rounds import fold_all
from eesd_core.schema import LATER, SINCE
from eesd_core.trace import open_trace, parse_trace, to_line

TRACE = Path(__file__).parent / "traces" / "older.ndjson"  # written by version 0.9
LINES = TRACE.read_text("ascii").splitlines()


def older(line: dict) -> dict:
    """What eesd-trace/1 says of it."""
    known = {name: value for name, value in line.items() if name not in LATER.get(line["type"], ()) or name in ("lead", "uniforms")}
    return known | ({"accept_probabilities": line["accept_probabilities"]} if line["type"] == "round_verified" else {})


def test_nothing_is_lost_and_only_these_fields_are_new():
    trace = open_trace(TRACE)
    for line, now in zip(LINES, trace.text.splitlines(), strict=True):
        before, after = json.loads(line), json.loads(now)
        assert older(after) | ({"format": OLDER} if "format" in after else {}) == before
    assert [json.loads(to_line(record)) for record in trace.records] == list(map(json.loads, trace.text.splitlines()))


def test_what_was_read_is_a_trace_of_the_newer_format():
    text = open_trace(TRACE).text
    assert FORMAT in text and OLDER not in text and parse_trace(text.encode()).text == text


def test_its_drafts_were_chains():
    for lane in fold_all(open_trace(TRACE).records):
        assert lane.finished and lane.started.special_ids is None
        assert [token.id for round in lane.rounds for token in round.written] == lane.token_ids
        for round in lane.rounds:
            assert [node.parent for node in round.nodes] == list(range(-1, round.drafted - 1))
            assert round.verdict.path == tuple(range(round.accepted))


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in LATER.items() for name in names if name not in SINCE.get(kind, ())]
)
def test_the_newer_format_may_not_lack_them(kind, name):
    lines = [{"type": "queue", "place": 0, "waiting": 0}, *map(json.loads, open_trace(TRACE).text.splitlines())]
    del next(line for line in lines if line["type"] == kind)[name]
    with pytest.raises(UserError, match=f"{kind} needs {name}"):
        parse_trace("\n".join(map(json.dumps, lines)).encode())


BROKEN = {  # of a tree
    "a parent that is not there yet": ("draft_token", {"parent": 0}),
    "a parent that is none": ("draft_token", {"parent": -2}),
    "a path that is too short": ("round_verified", {"path": []}),
    "a path that jumps": ("round_verified", {"path": [1]}),
    "a path out of the draft": ("round_verified", {"path": [99]}),
    "a path that is a text": ("round_verified", {"path": "0"}),
}


@pytest.mark.parametrize(("kind", "change"), BROKEN.values(), ids=BROKEN)
def test_a_tree_that_is_none_is_refused(kind, change):
    lines = [json.loads(line) for line in open_trace(TRACE).text.splitlines()]
    wanted = (line for line in lines if line["type"] == kind and line["lane"] == "eesd" and line.get("accepted", 1) == 1)
    next(wanted).update(change)
    with pytest.raises(UserError, match=f"{kind} (does not fit its round|needs path)"):
        parse_trace("\n".join(map(json.dumps, lines)).encode())


def test_several_texts_of_one_lane_are_in_order_each_for_itself():
    lines = [json.loads(line) for line in LINES if json.loads(line)["lane"] == "eesd"]
    both = [line | {"row": row} for line in lines for row in (0, 1)]
    assert [(lane.row, lane.text) for lane in fold_all(parse_trace("\n".join(map(json.dumps, both)).encode()).records)] == [
        (row, fold_all(open_trace(TRACE).records)[0].text) for row in (0, 1)
    ]

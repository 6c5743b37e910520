"""The lecture page that the server gives away: the bundled recordings in one file."""

import re

import pytest

from app.routes import TRACES, lecture_page
from eesd_core.errors import UserError
from eesd_core.rounds import fold
from eesd_core.trace import open_trace
from tools.record_opening import LECTURE, OPENING, lessons, linked

MOST = 3 * 2**20  # bytes


def test_it_has_every_bundled_run_and_is_small():
    page = lecture_page()
    runs = [TRACES / "opening.ndjson", *(TRACES / "lecture").glob("*.ndjson")]
    packed = page.partition('id="traces">[')[2].partition("]")[0]
    assert packed.count('"') // 2 == len(runs) > 1
    assert len(page.encode()) < MOST


def test_the_lectures_links_stop_at_rounds_that_show_what_it_says():
    """A round in view must have happened at the playhead's place, and be the last one there: of the recording that ships."""
    words, lane = LECTURE.read_text(encoding="utf-8"), fold(open_trace(OPENING).records, "eesd")
    links = [(int(round), float(at)) for round, at in re.findall(r"round=(\d+)&at=([\d.]+)", words)]
    assert words.count("round=") == len(links) == 3
    assert [sum(round.end <= at for round in lane.rounds) for _, at in links] == [round for round, _ in links]
    first, free, long = (lane.rounds[round - 1] for round, _ in links)
    assert first.accepted == long.accepted == 0 and first.drafted > 1  # "no guess is right", "none of them right"
    assert long.drafted > max(2, first.drafted)  # "more guesses"
    assert free.accepted == free.drafted > 1 and free.next.state == "bonus"  # "all guesses are right, and one more token is free"
    assert linked(words, lane) == words


def test_a_recording_without_such_rounds_is_refused():
    with pytest.raises(UserError, match="another example or seed"):
        lessons(fold(open_trace(OPENING).records, "vanilla").rounds)

"""The lecture page that the server gives away: the bundled recordings in one file."""

import re

from app.routes import TRACES, lecture_page
from eesd_core.rounds import fold
from eesd_core.trace import open_trace

MOST = 3 * 2**20  # bytes


def test_it_has_every_bundled_run_and_is_small():
    page = lecture_page()
    runs = [TRACES / "opening.ndjson", *(TRACES / "lecture").glob("*.ndjson")]
    packed = page.partition('id="traces">[')[2].partition("]")[0]
    assert packed.count('"') // 2 == len(runs) > 1
    assert len(page.encode()) < MOST


def test_the_lectures_links_stop_where_they_say():
    """A round in view must have happened at the playhead's place, and be the last one there: of the recording that ships."""
    words = (TRACES.parents[1] / "docs" / "lecture.md").read_text(encoding="utf-8")
    links = [(int(round), float(at)) for round, at in re.findall(r"round=(\d+)&at=([\d.]+)", words)]
    ends = [round.end for round in fold(open_trace(TRACES / "opening.ndjson").records, "eesd").rounds]
    assert links and "round=" not in re.sub(r"round=\d+&at=", "", words)
    assert [sum(end <= at for end in ends) for _, at in links] == [round for round, _ in links]

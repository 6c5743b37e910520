"""The lecture page that the server gives away: the bundled recordings in one file."""

from app.routes import TRACES, lecture_page

MOST = 3 * 2**20  # bytes


def test_it_has_every_bundled_run_and_is_small():
    page = lecture_page()
    runs = [TRACES / "opening.ndjson", *(TRACES / "lecture").glob("*.ndjson")]
    packed = page.partition('id="traces">[')[2].partition("]")[0]
    assert packed.count('"') // 2 == len(runs) > 1
    assert len(page.encode()) < MOST

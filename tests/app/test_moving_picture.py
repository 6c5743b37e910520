"""The README's moving picture: well-formed, as long as the race, and with nothing in it that a token could open."""

from xml.etree import ElementTree

from app.page import OPENING
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.trace import open_trace
from tools.moving_picture import PAUSE, SLOWER, picture

SVG = "{http://www.w3.org/2000/svg}"


def test_it_shows_both_lanes_and_every_state(engine):
    records = list(race(engine, Request("Hello <script>&", 24)))
    lanes = [fold(records, name) for name in ("eesd", "vanilla")]
    text = picture(*lanes)
    assert "<script" not in text
    drawn = ElementTree.fromstring(text)
    states = {node.get("class") for node in drawn.iter(f"{SVG}text")} & {"accepted", "rejected", "untested", "correction", "bonus", "plain"}
    assert states == {token.state for lane in lanes for round in lane.judged for token in round.tokens if token.text.strip()}
    (length,) = {float(node.get("dur")[:-1]) for node in drawn.iter(f"{SVG}animate")}
    assert abs(length - SLOWER * max(lane.clock for lane in lanes) - PAUSE) < 0.01
    for node in drawn.iter(f"{SVG}animate"):
        times = [float(share) for share in node.get("keyTimes").split(";")]
        assert times == sorted(times) and times[0] == 0 and times[-1] <= 1


def test_a_reply_has_its_own_lines_and_no_end_mark():
    lanes = [fold(open_trace(OPENING).records, name) for name in ("eesd", "vanilla")]
    for lane in lanes:
        last = lane.judged[-1].next
        last.id, last.text = lane.started.end_ids[0], "end mark"
    drawn = ElementTree.fromstring(picture(*lanes))
    texts = [(float(node.get("x")), float(node.get("y")), node.text) for node in drawn.iter(f"{SVG}text")]
    request = next(y for _, y, text in texts if text == lanes[0].started.prompt)
    assert all(y > request for x, y, text in texts if x > 20 and request - 20 < y)  # nothing stands behind the request
    assert not any("end" in text for *_, text in texts)

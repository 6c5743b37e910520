"""The README's moving picture: well-formed, as long as the race, and with nothing in it that a token could open."""

from xml.etree import ElementTree

from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
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

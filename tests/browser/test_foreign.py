"""Another program's run on the page: what it said is drawn, what it did not say is not, and what cannot be is refused."""

import json

from app_page import until_still
from playwright.sync_api import expect

from eesd_core.errors import UserError
from eesd_core.export import export
from eesd_core.foreign.told import Told, records_of
from eesd_core.trace import parse_trace, to_line

ROUNDS = [(4, 0), (4, 2), (4, 4), (3, 1)]
SAID = Told(
    "vLLM <b>", 12, "a model", 9, text="Once upon <img src=x onerror=window.__x=1> a time.", rounds=ROUNDS, seconds=0.5, reason="stop"
)


def test_it_is_drawn_and_taken_away(open_page, tmp_path):
    lines = list(map(to_line, records_of([SAID])))
    timed = {"type": "round_told", "run": "foreign", "lane": "eesd", "row": 0, "seq": 5, "t": 0.25, "round": 4}
    timed |= {"drafted": 2, "accepted": 2, "ids": [5, 6, 7], "text": " And", "seconds": 0.25}
    lines[5:5] = [json.dumps(timed) + "\n"]
    lines = [
        json.dumps(json.loads(line) | {"seq": seq, "t": max(json.loads(line)["t"], 0.25 * (seq > 4))}) + "\n"
        for seq, line in enumerate(lines)
    ]
    trace = parse_trace("".join(lines).encode())
    file = tmp_path / "run.html"
    file.write_text(export(trace, "html"), "utf-8")
    page = open_page("about:blank", 1280, 800, offline=True, reduced_motion="reduce")
    page.goto(file.as_uri())
    page.locator(".e-stage").wait_for()
    until_still(page)
    expect(page.locator(".eesd").first).to_have_attribute("data-phase", "finished")
    expect(page.locator(".e-lane-eesd h3")).to_have_text("vLLM <b>")
    expect(page.locator(".e-lane-eesd .e-text")).to_contain_text("Once upon <img src=x onerror=window.__x=1> a time.")
    expect(page.locator(".e-why-words")).to_have_text("vLLM <b> says: 2 drafts, 2 accepted.")
    lane = page.evaluate("(({ drafted, accepted, written, clock }) => ({ drafted, accepted, written, clock }))(EESD.view.run.lanes.eesd)")
    assert lane == {"drafted": 17, "accepted": 9, "written": 12, "clock": 0.5}
    page.locator(".e-chart-lengths .plot-container").wait_for()
    assert page.evaluate("window.__x ?? null") is None
    script = """text => {
        const { parse } = EESD.modules['lib/trace.js'], exports = EESD.modules['lib/exports.js'], trace = parse(text);
        return ['csv', 'perfetto', 'ndjson'].map((kind) => exports[kind](trace));
    }"""
    made = page.evaluate(script, trace.text)
    assert made[0] == export(trace, "csv") and json.loads(made[1]) == json.loads(export(trace, "perfetto"))
    assert parse_trace(made[2].encode()).records == trace.records

    at = next(i for i, line in enumerate(lines) if '"seconds": 0.25' in line)
    wrong = {"drafted": [257, -1, 1, 1.5, None], "accepted": [3, -1], "ids": [[1] * 4, [None], "x"], "seconds": [-1, "x"], "round": [3, 9]}
    wrong |= {"text": [None, 3], "t": [-1]}
    changes = [json.dumps(json.loads(lines[at]) | {name: value}) for name, values in wrong.items() for value in values]
    texts = ["".join([*lines[:at], line + "\n", *lines[at + 1 :]]) for line in changes]

    def refused(text: str) -> bool:
        try:
            parse_trace(text.encode())
        except UserError:
            return True
        return False

    script = """texts => texts.map((text) => {
        try { EESD.modules['lib/trace.js'].parse(text); return false; } catch { return true; }
    })"""
    ours = list(map(refused, texts))
    assert page.evaluate(script, texts) == ours and ours.count(False) == 1  # a text may be missing

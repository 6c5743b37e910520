"""The page opens on a recorded race."""

import json

import pytest
from app_page import reach, run, settings, state, until_ready
from playwright.sync_api import expect
from test_links import HELD

from app.page import OPENING


def test_the_page_opens_on_a_recorded_race_and_run_makes_it_live(visit):
    page = visit()
    recorded, live = page.locator(".eesd-mode.eesd-recorded"), page.locator(".eesd-mode.eesd-live")
    expect(recorded).to_be_visible()
    expect(live).to_be_hidden()
    head, started, *_, verdict = map(json.loads, OPENING.read_text("ascii").splitlines())
    for fact in (started["model"], head["machine"], head["date"], "live here: tiny"):  # there is no other model to choose
        expect(page.locator(".eesd-title")).to_contain_text(fact)
    reach(page, "finished")
    assert abs(page.evaluate("EESD.page.view.player.time") - verdict["t"]) < 1e-6
    promise = page.locator(".e-lossless > p").first
    expect(promise).to_contain_text(f"A recording ({head['date']}, {head['machine']}")  # not of the visitor's "this machine"
    settings(page, new_tokens="16")
    run(page)
    expect(live).to_be_visible()
    expect(recorded).to_be_hidden()
    reach(page, "finished")
    assert state(page)["tokens"]["eesd"] == 16
    expect(promise).not_to_contain_text("A recording")


def test_the_opening_race_is_slow_enough_to_be_seen_and_says_so(visit):
    page = visit(query="?paused=1")
    status, speed = page.locator(".e-status-text"), page.locator(".e-speed")
    expect(status).to_have_text("at the start")  # nothing is being prepared
    expect(speed).to_have_value("0.25")
    page.locator(".e-play").click()
    expect(status).to_contain_text("played at 0.25x speed")
    settings(page, new_tokens="16")
    run(page)
    reach(page, "finished")
    expect(speed).to_have_value("1")
    assert "speed=" not in page.evaluate("EESD.page.address")


@pytest.mark.parametrize(("query", "options"), [("?paused=1", {}), ("?", {"reduced_motion": "reduce"})])
def test_nothing_moves_if_asked(visit, query, options):
    page = visit(query=query, **options)
    reach(page, "running" if "paused" in query else "finished")
    assert not page.evaluate("EESD.page.view.player.playing")
    assert (state(page)["tokens"]["eesd"] == 0) == ("paused" in query)


def test_what_the_recorded_race_does_not_need_comes_behind_it(app, open_page):
    page = open_page(app[1], script=HELD)
    page.wait_for_function("window.EESD?.page?.values")
    page.wait_for_timeout(300)
    assert not page.evaluate("EESD.page.view.panels.methods || [...document.scripts].some(({ src }) => src.includes('plotly'))")
    page.evaluate("unpack()")
    until_ready(page)
    page.wait_for_function("EESD.page.view.player.time > 0 && window.Plotly")
    assert page.evaluate("Boolean(EESD.page.view.panels.methods)")


def test_typing_a_prompt_moves_no_playhead(visit):
    page = visit(query="?paused=1")
    page.locator("#prompt textarea").fill("")
    page.locator("#prompt textarea").press_sequentially("fix a ?. r,")
    assert state(page)["tokens"]["eesd"] == 0 and not page.evaluate("EESD.page.view.player.playing")
    page.locator("#prompt textarea").blur()
    page.keyboard.press("ArrowRight")
    assert state(page)["tokens"]["eesd"] > 0

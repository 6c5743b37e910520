"""Links: the form and the view in the address of the page."""

import socket

import pytest
from app_page import reach, run, settings, state, until_ready
from hostile import hostile
from playwright.sync_api import expect

from app.form import FIELDS
from app.page import launch
from app.runs import Visits

pytestmark = pytest.mark.usefixtures("without_charts")
LINK = "EESD.page.behind.link()"


def test_a_link_holds_the_form_and_needs_nothing_of_the_server(visit):
    page = visit(query="?prompt=Hello%20%3Cb%3E&seed=99&controller=ucb&width=2&temperature=0.5&chat=1&acceptance=rejection")
    expect(page.locator("#prompt textarea")).to_have_value("Hello <b>")
    settings(page)
    expect(page.locator("#seed textarea")).to_have_value("99")
    expect(page.locator("#width input")).to_have_value("2")
    expect(page.locator("#alpha")).to_be_hidden()
    link = page.evaluate(LINK)
    assert "seed=99" in link and "controller=ucb" in link and "alpha" not in link
    again = visit(query="?" + link.split("?", 1)[1])
    expect(again.locator("#prompt textarea")).to_have_value("Hello <b>")
    assert again.evaluate(LINK) == link
    settings(again, seed="100")
    again.wait_for_function(f"{LINK}.includes('seed=100')")
    assert again.locator("#prompt :is(b, img)").count() == 0


def test_what_a_link_cannot_ask_for_is_left_out_and_said(visit):
    page = visit(query="?temperature=9&seed=abc&controller=magic&chat=perhaps&new_tokens=99999&prompt=" + "x" * 4001)
    expect(page.locator(".t-line")).to_contain_text("prompt, temperature, seed, new_tokens, chat, controller")
    assert "seed=7&" in page.evaluate(LINK)
    assert page.locator("#prompt textarea").input_value().startswith("Once upon a time")


def test_hostile_links_give_a_value_in_bounds_or_nothing(visit):
    page = visit()
    texts = [text.encode("utf-8", "replace").decode() for text in hostile()]
    fields = {field.name: field for field in FIELDS}
    assert set(page.evaluate("EESD.modules['lib/link.js'].VIEW.map(({ name }) => name)")).isdisjoint(fields)
    for values in page.evaluate(
        """texts => texts.map((text) => {
            const search = new URLSearchParams(EESD.page.form.map(({ name }) => [name, text])).toString();
            return EESD.modules['lib/link.js'].read(EESD.page.form, search).values.map((value) => value ?? null);
        })""",
        texts,
    ):
        for field, value in zip(fields.values(), values):
            if value is None:
                continue
            assert field.kind != "text" or len(value) <= field.high
            assert field.kind != "choice" or value in field.choices
            assert field.kind not in ("number", "whole") or field.low <= float(value) <= field.high
    assert page.evaluate("window.__x") is None


# ---- the view ----


def test_a_link_brings_back_the_recorded_view(visit):
    page = visit(query="?paused=1")
    page.evaluate("EESD.page.view.player.seek(0.5)")
    page.locator(".e-lengths").wait_for()
    page.evaluate("EESD.page.view.choose(3)")
    assert "speed" not in page.evaluate(LINK)  # as slow as the opening race always is
    page.locator(".e-speed").select_option("0.5")
    link = page.evaluate(LINK)
    assert "round=3" in link and "at=0.5" in link and "speed=0.5" in link and "present" not in link
    there = state(page)
    again = visit(query="?" + link.split("?", 1)[1])
    assert state(again) == there
    expect(again.locator(".e-microscope .e-round")).to_contain_text("3")
    expect(again.locator(".e-speed")).to_have_value("0.5")
    assert again.evaluate("EESD.page.view.player.speed") == 0.5
    assert again.evaluate(LINK) == link


def test_a_link_to_a_live_run_waits_for_run(visit):
    page = visit(query="?seed=5&new_tokens=24")
    run(page)
    reach(page, "finished")
    page.evaluate("EESD.page.view.choose(2)")
    link = page.evaluate(LINK)
    assert "view=live" in link and "round=2" in link and "&at=" not in link
    again = visit(query="?" + link.split("?", 1)[1])
    expect(again.locator(".e-intro")).to_be_visible()
    expect(again.locator(".eesd-mode.eesd-live")).to_be_visible()
    run(again)
    reach(again, "finished")
    assert state(again)["texts"] == state(page)["texts"]
    assert again.evaluate("EESD.page.view.selected.number") == 2
    assert again.evaluate(LINK) == link


def test_a_link_keeps_presenter_mode_and_language(visit):
    page = visit(query="?lang=zh&present=1&paused=1")
    link = page.evaluate(LINK)
    assert "lang=zh" in link and "present=1" in link
    again = visit(query="?" + link.split("?", 1)[1])
    assert again.evaluate("EESD.page.view.presenting") and again.evaluate("document.documentElement.lang") == "zh-CN"


def test_a_view_that_cannot_be_is_left_out_and_said(visit):
    page = visit(query="?view=%3Cb%3E&round=-1&at=1e99&speed=3&present=yes&lang=xx")
    expect(page.locator(".t-line")).to_contain_text("view, round, at, speed, present, lang")
    assert page.evaluate("EESD.page.view.player.speed") == 0.25
    assert page.evaluate("EESD.page.view.chosen") is None
    page = visit(query="?round=99999&at=99999")
    reach(page, "finished")
    assert page.evaluate("EESD.page.view.player.time <= EESD.page.view.player.timeline.duration")


HELD = """(() => {  // unpacked text, as the recorded race is, waits for `unpack()`
    const wait = new Promise((go) => (window.unpack = go)), { text } = Response.prototype;
    Response.prototype.text = function () { return this.url ? text.call(this) : wait.then(() => text.call(this)); };
})()"""


def test_until_the_page_is_as_its_address_asks_that_address_is_the_link(app, open_page):
    asked = app[1] + "?seed=99&round=3&at=0.500"
    page = open_page(asked, script=HELD)
    page.wait_for_function("window.EESD?.page?.values")
    assert page.evaluate(LINK) == asked
    page.evaluate("unpack()")
    until_ready(page)
    link = page.evaluate(LINK)
    assert "seed=99" in link and "round=3" in link and "at=0.500" in link and "prompt=Once" in link


COUNTED = """Object.defineProperty(window, "EESD", { configurable: true, set(value) {
    Object.defineProperty(window, "EESD", { value });
    const { remember } = value.page;
    window.changes = -1;  // the first time is no change
    value.page.remember = function (values) { window.changes += 1; return remember.call(this, values); };
} })"""


def test_only_what_a_link_asks_for_changes(app, open_page):
    """For every change Gradio asks all fields for their state, and that while the page is loading."""
    page = open_page(app[1] + "?paused=1&seed=99&limit=5", script=COUNTED)
    until_ready(page)
    page.wait_for_function("changes >= 2")
    page.wait_for_timeout(300)
    assert page.evaluate("changes") == 2
    settings(page, controller="throughput")
    expect(page.locator("#limit input")).to_have_value("5")
    expect(page.locator("#explore input")).to_have_value("")  # and not 0


def test_a_link_outlives_the_server(paced, open_page):
    """Nothing of it is kept there: opened at a server that was started anew, it brings back form and view."""
    with socket.socket() as free:  # not one of those that Gradio tries: another test's server could take it meanwhile
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first = launch(Visits(paced), port=port, prevent_thread_lock=True, quiet=True)
    page = open_page(first.local_url + "?paused=1&seed=99&prompt=A%20cat%20%26%20a%20%22dog%22")
    until_ready(page)
    page.evaluate("EESD.page.view.player.seek(0.5)")
    page.locator(".e-lengths").wait_for()
    page.evaluate("EESD.page.view.choose(3)")
    link, there = page.evaluate(LINK), state(page)
    page.close()
    first.close()
    second = launch(Visits(paced), port=port, prevent_thread_lock=True, quiet=True)
    try:
        again = open_page(link)
        again.wait_for_function("window.EESD?.page?.values")
        expect(again.locator("#prompt textarea")).to_have_value('A cat & a "dog"')
        expect(again.locator(".e-microscope .e-round")).to_contain_text("3")
        assert state(again) == there and again.evaluate(LINK) == link
        again.close()
    finally:
        second.close()

"""What is taken away from the app, and opened again."""

import pytest
from app_page import reach, run, run_long, settings, state, until_free
from playwright.sync_api import expect

from app.page import OPENING
from eesd_core.environment import processor
from eesd_core.trace import open_trace

pytestmark = pytest.mark.usefixtures("without_charts")


def test_a_live_run_is_taken_away_as_one_file_that_opens_offline(visit, new_context, tmp_path):
    page = visit()
    settings(page, new_tokens="24")
    run(page, "Hello <img src=x onerror=window.__x=1>")
    reach(page, "finished")
    expect(page.locator(".w-own")).to_contain_text("this run")
    with page.expect_download() as download:
        page.locator(".t-html").click()
    file = tmp_path / "run.html"
    download.value.save_as(file)
    copy = new_context(offline=True).new_page()
    copy.goto(file.as_uri())
    reach(copy, "finished")
    assert copy.evaluate("EESD.view.state.texts") == state(page)["texts"]
    assert copy.evaluate("window.__x") is None
    expect(copy.locator(".s-title")).to_contain_text(processor())


def test_the_panel_is_one_key_press_from_the_first_screen(visit):
    page = visit(query="?paused=1")
    button, panel = page.locator(".e-take-away"), page.locator(".t-panel")
    expect(panel).not_to_be_in_viewport()
    assert button.bounding_box()["y"] < 800
    button.press("Enter")
    expect(panel).to_be_focused()
    expect(panel).to_be_in_viewport()


def test_a_trace_saved_on_the_page_opens_again_as_recorded(visit, tmp_path):
    page = visit()
    settings(page, new_tokens="16")
    run(page)
    reach(page, "finished")
    text = state(page)["texts"]["eesd"]
    with page.expect_download() as download:
        page.locator(".t-trace").click()
    file = tmp_path / "run.ndjson"
    download.value.save_as(file)
    assert open_trace(file).head["machine"] == processor()
    page.reload()
    page.locator(".t-panel input[type=file]").set_input_files(file)
    expect(page.locator(".t-line")).to_contain_text("showing run.ndjson")
    expect(page.locator(".eesd-mode.eesd-recorded")).to_be_visible()
    reach(page, "finished")
    assert state(page)["texts"]["eesd"] == text


def test_a_code_for_the_link_is_drawn(visit):
    page = visit()
    page.locator(".t-qr").click()
    page.wait_for_function("document.querySelector('img.t-qr').naturalWidth > 0")
    expect(page.locator(".t-text")).to_contain_text("seed=7")


def test_a_page_saved_in_chinese_opens_in_chinese(visit, new_context, tmp_path):
    page = visit(query="?lang=zh")
    settings(page, new_tokens="8")
    run(page)
    reach(page, "finished")
    with page.expect_download() as download:
        page.locator(".t-html").click()
    download.value.save_as(file := tmp_path / "run.html")
    copy = new_context(offline=True).new_page()
    copy.goto(file.as_uri())
    for text, selector in (("录制", ".s-mode"), ("引用", ".t-cite"), ("假如换一种规则", ".w-panel h2")):
        expect(copy.locator(selector).first).to_have_text(text)
    assert copy.evaluate("document.documentElement.lang") == "zh-CN"
    copy.goto(file.as_uri() + "?lang=en")
    expect(copy.locator(".t-cite")).to_have_text("Cite")
    assert copy.evaluate("document.documentElement.lang") == "en"


def test_escape_closes_a_dialog_and_stops_nothing(visit, slowly):
    page = visit()
    run_long(page)
    page.locator(".t-cite").click()
    expect(page.locator(".t-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".t-dialog")).to_be_hidden()
    assert page.evaluate("EESD.page.view.run.phase") == "running"
    page.keyboard.press("Escape")
    reach(page, "cancelled")


def test_a_trace_opened_during_a_run_stays_and_the_run_ends(visit, slowly, device, tmp_path):
    page = visit()
    run_long(page)
    page.locator(".t-panel input[type=file]").set_input_files(OPENING)
    expect(page.locator(".eesd-mode.eesd-recorded")).to_be_visible()
    until_free(device)
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator(".eesd-mode.eesd-recorded")).to_be_visible()


def test_a_citation_says_how_the_controller_was_set(visit):
    page = visit(query="?alpha=3&forget=0.9")
    settings(page, new_tokens="8")
    run(page)
    reach(page, "finished")
    page.locator(".t-cite").click()
    expect(page.locator(".t-text")).to_contain_text("alpha 3")
    expect(page.locator(".t-text")).to_contain_text("forget 0.9")
    expect(page.locator(".t-text")).not_to_contain_text("system")  # nothing was said to the model first
    expect(page.locator(".t-text")).not_to_contain_text("history")

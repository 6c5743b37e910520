"""Runs in the whole app: to the verdict, stopped, reset, left, and two visitors at once."""

import re
import time

from app_page import LONG, REST, a_new_run, reach, run, run_long, settings, state, stop, until_free
from playwright.sync_api import expect


def test_a_run_to_its_verdict(visit):
    page = visit()
    run(page)
    reach(page, "finished")
    now = state(page)
    assert now["tokens"] == {"eesd": 128, "vanilla": 128}
    assert now["texts"]["eesd"] == now["texts"]["vanilla"] != ""
    assert now["verdict"].startswith("identical: all 128 tokens")
    assert now["counts"]["accepted"] > 0 and now["counts"]["correction"] > 0
    page.locator(".e-chart-clock .plot-container").wait_for()
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()


def test_settings_reach_the_engine(visit):
    page = visit()
    settings(page, temperature="0", new_tokens="40", controller="fixed", length="0")
    run(page)
    reach(page, "finished")
    greedy = state(page)
    assert greedy["counts"]["accepted"] == greedy["counts"]["rejected"] == 0
    assert greedy["tokens"]["eesd"] == 40 == greedy["rounds"]
    settings(page, seed="8", length="3")
    run(page)
    expect(page.locator(".e-note")).to_contain_text("3 tokens in every round")
    reach(page, "finished")
    again = state(page)
    assert again["texts"]["eesd"] == greedy["texts"]["eesd"]  # without noise the seed does not matter
    assert again["counts"]["accepted"] + again["counts"]["rejected"] > 0


def test_the_seed_matters_and_repeats(visit):
    page = visit()
    texts = []
    for seed in ("1", "2", "1"):
        settings(page, seed=seed, new_tokens="24")
        run(page)
        reach(page, "finished")
        texts.append(state(page)["texts"]["eesd"])
    assert texts[0] == texts[2] != texts[1]


def test_run_pressed_twice_is_one_run(visit, device, held):
    page = visit()
    with a_new_run(page):
        page.locator("#run").dblclick()
    reach(page, "running")
    assert device.waiting() == 1
    expect(page.locator("#run")).to_be_disabled()
    held.set()
    reach(page, "finished")


def test_keys_run_and_stop(visit, held):
    page = visit()
    settings(page, new_tokens=str(LONG))
    with a_new_run(page):
        page.locator("#prompt textarea").press("Control+Enter")
    reach(page, "running")
    assert page.locator("#prompt textarea").input_value().endswith("so clever that")
    page.keyboard.press("Escape")
    reach(page, "cancelled")


def test_escape_closes_an_open_list_and_does_not_stop(visit, held):
    page = visit()
    run_long(page)
    page.locator("#examples input").click()
    page.locator("#examples [role=option]").first.wait_for()
    page.locator("#examples input").press("Escape")
    expect(page.locator("#examples [role=option]")).to_have_count(0)
    assert state(page)["phase"] == "running"
    page.locator("#prompt textarea").press("Escape")
    reach(page, "cancelled")


def test_an_example_fills_the_prompt(visit):
    page = visit()
    page.locator("#examples input").click()
    page.get_by_role("option", name="The storm").click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^The wind had been rising"))


# ---- stop, reset, leave ----


def test_stop_in_the_middle(visit, device, slowly):
    page = visit()
    for _ in range(2):  # a stopped run stops nothing that follows it
        run_long(page)
        page.wait_for_function("EESD.page.view.state.tokens.eesd > 0")
        stop(page)
        until_free(device)
        expect(page.locator("#run")).to_be_enabled()
        expect(page.locator(".e-status-text")).to_have_text("stopped by you")
        assert 0 < state(page)["tokens"]["eesd"] < LONG


def test_stop_before_the_first_token(visit, device, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    page.locator("#run").click()
    page.wait_for_function("!document.getElementById('stop').disabled")
    stop(page)
    until_free(device)
    expect(page.locator("#run")).to_be_enabled()


def test_reset_ends_the_run_and_restores_the_form(visit, device, slowly):
    page = visit()
    prompt = page.locator("#prompt textarea").input_value()
    settings(page, new_tokens=str(LONG), controller="fixed", seed="99")
    run(page, "Something else")
    reach(page, "running")
    page.locator("#reset").click()
    reach(page, "idle")
    expect(page.locator(".e-intro")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value(prompt)
    expect(page.locator("#seed textarea")).to_have_value("7")
    expect(page.locator("#run")).to_be_enabled()
    until_free(device)
    assert state(page)["phase"] == "idle"  # nothing of the stopped run came back
    settings(page, new_tokens="16")
    run(page)
    reach(page, "finished")


def test_a_run_right_after_reset_is_not_stopped(visit):
    page = visit()
    with a_new_run(page):
        page.evaluate("""() => {
            document.getElementById('reset').click();
            document.getElementById('run').click();
        }""")
    reach(page, "finished")


def test_closing_the_tab_frees_the_device(visit, device, slowly):
    page = visit()
    run_long(page)
    assert device.waiting() == 1
    began = time.monotonic()
    page.close()
    until_free(device)
    assert time.monotonic() - began < REST * LONG  # or it would have run to its end


# ---- two visitors ----


def test_two_visitors_take_turns(visit, device, held):
    first, second = visit(), visit()
    settings(first, new_tokens="128", seed="1")
    settings(second, new_tokens="32", seed="2")
    run(first, "The first")
    reach(first, "running")
    run(second, "The second")
    expect(second.locator(".e-status-text")).to_contain_text("waiting for the device: place 1")
    held.set()
    reach(first, "finished")
    reach(second, "finished")
    assert state(first)["tokens"]["eesd"] == 128 and state(second)["tokens"]["eesd"] == 32
    assert first.evaluate("EESD.page.view.run.lanes.eesd.prompt") == "The first"
    assert second.evaluate("EESD.page.view.run.lanes.eesd.prompt") == "The second"


def test_stop_while_waiting_in_line_leaves_the_other_alone(visit, device, slowly, held):
    first, second = visit(), visit()
    settings(first, new_tokens=str(LONG))
    run(first)
    reach(first, "running")
    run(second)
    expect(second.locator(".e-status-text")).to_contain_text("place 1")
    stop(second)  # the first one is held until this test lets it go on
    assert device.waiting() == 1
    expect(second.locator(".e-intro-line")).to_have_text("stopped by you")
    assert state(first)["phase"] == "running"
    held.set()
    stop(first)

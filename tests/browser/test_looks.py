"""What is where on the page, in both themes, on a laptop and on a phone."""

import pytest
from app_page import reach, run, settings
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_is_in_sight_on_a_laptop(visit, theme):
    page = visit(query=f"?__theme={theme}")
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    run(page)
    reach(page, "finished")
    lanes = ".e-lane-eesd .e-text", ".e-lane-vanilla .e-text"
    parts = ".eesd-title", "#prompt", "#run", "#stop", *lanes, ".e-why", ".e-scrub", ".e-slider", ".e-chart-clock"
    for part in parts:
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800, part
    assert no_sideways_scroll(page)


def test_the_theme_button_turns_the_lights_and_the_address_keeps_it(visit):
    page = visit()
    page.get_by_role("button", name="light or dark").click()
    assert page.evaluate("document.body.classList.contains('dark')")
    assert "__theme=dark" in page.url
    page.reload()
    page.locator(".e-stage").wait_for()
    assert page.evaluate("document.body.classList.contains('dark')")


def test_the_exactness_chip_explains_itself(visit, paced):
    page = visit()
    page.locator("#reset").click()  # it is about live runs
    chip = page.locator(".eesd-level")
    expect(page.locator(".eesd-hint")).to_be_hidden()
    chip.focus()
    expect(page.locator(".eesd-hint")).to_be_visible()
    expect(chip).to_contain_text(paced.level.replace("-", " "))


def test_a_phone_shows_run_at_once_and_needs_no_sideways_scroll(visit):
    page = visit(390, 844, has_touch=True)
    assert no_sideways_scroll(page)
    prompt, button = page.locator("#prompt").bounding_box(), page.locator("#run").bounding_box()
    assert 0 < button["y"] - (prompt["y"] + prompt["height"]) < 40
    settings(page, new_tokens="32")
    assert no_sideways_scroll(page)
    page.locator("#run").tap()
    reach(page, "finished")
    assert no_sideways_scroll(page)


def test_focus_is_visible_and_only_the_controllers_own_settings_show(visit):
    page = visit()
    page.locator("#prompt textarea").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    assert page.locator("#run").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    settings(page)
    expect(page.locator("#alpha")).to_be_visible()
    expect(page.locator("#length")).to_be_hidden()
    settings(page, controller="fixed")
    expect(page.locator("#alpha")).to_be_hidden()
    expect(page.locator("#length")).to_be_visible()

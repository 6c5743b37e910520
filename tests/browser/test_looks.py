"""What is where on the page, in both themes, on a laptop and on a phone."""

import pytest
from app_page import a_new_run, reach, run, settings
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll

from app.page import launch
from app.runs import Visits
from eesd_core.engine import Engine
from eesd_core.heads.frozen import FrozenExit


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


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_title_is_one_line_on_a_laptop(visit, language):
    page = visit(query=f"?lang={language}&view=live")
    for names in (
        ["embedded model", "cpu bfloat16"],
        ["some-organisation/some-model-with-a-very-long-name-and-a-size-of-70B", "cuda:0 bfloat16"],
    ):
        page.evaluate("""names => document.querySelectorAll('.eesd-chip.eesd-live:not(.eesd-mode, .eesd-level)').forEach((chip, i) => {
            chip.querySelector('b').textContent = names[i];
        })""", names)  # fmt: skip
        assert page.locator(".eesd-bar").bounding_box()["height"] < 40
        end = page.locator(".eesd-tools").bounding_box()
        assert end["x"] + end["width"] < page.locator("#theme").bounding_box()["x"]
        assert no_sideways_scroll(page)


@pytest.mark.parametrize(("width", "lines"), [(1280, 1), (390, 3)])
def test_what_the_method_does_is_said_in_full_under_the_title(visit, width, lines):
    says = visit(width, 800, "?paused=1").locator(".eesd-title > p")
    expect(says).to_contain_text("first layers guess the next tokens")
    box = says.evaluate("node => [node.scrollWidth - node.clientWidth, node.scrollHeight - node.clientHeight, node.clientHeight]")
    assert box[:2] == [0, 0] and box[2] <= lines * 17


def test_the_legend_says_what_each_state_means(visit):
    legend = visit(query="?paused=1").locator(".e-legend > span")
    assert [token.get_attribute("title") for token in legend.all()][2] == "the first wrong guess"


def test_an_untrained_exit_layer_is_said(paced, open_page):
    layer = FrozenExit(paced.target, 2)
    app = launch(Visits(Engine(paced.target, layer, paced.level)), prevent_thread_lock=True, quiet=True)
    try:
        for width in (1280, 390):
            page = open_page(app.local_url, width, 800)
            expect(page.locator(".eesd-caution")).to_have_text(layer.note)
            assert no_sideways_scroll(page)
            page.close()  # before its server: what it still loads would be refused, and an error on its console
        page = open_page(app.local_url + "?lang=zh", 1280, 800)
        expect(page.locator(".eesd-caution")).to_contain_text(f"没有为 {paced.target.name} 训练过退出层")
        page.close()
    finally:
        app.close()


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
    expect(chip.locator(".eesd-hint")).to_be_hidden()
    chip.focus()
    expect(chip.locator(".eesd-hint")).to_be_visible()
    expect(chip).to_contain_text(paced.level.replace("-", " "))


def test_a_phone_shows_run_at_once_and_needs_no_sideways_scroll(visit):
    page = visit(390, 844, has_touch=True, is_mobile=True)
    assert no_sideways_scroll(page)
    expect(page.get_by_text("Ctrl+Enter")).to_be_hidden()  # there is no such key
    prompt, button = page.locator("#prompt").bounding_box(), page.locator("#run").bounding_box()
    assert 0 < button["y"] - (prompt["y"] + prompt["height"]) < 40
    settings(page, new_tokens="32")
    assert no_sideways_scroll(page)
    with a_new_run(page):
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
    settings(page, controller="throughput", new_tokens="24")
    run(page)
    reach(page, "finished")
    cut = "lines => lines.filter((line) => line.scrollWidth > line.clientWidth).map((line) => line.textContent)"
    assert page.locator(".e-decisions li").evaluate_all(cut) == []  # "go on: theta 0.44, prefix 0.23, gain 0.11, price 0.33"
    settings(page, controller="fixed")
    expect(page.locator("#alpha")).to_be_hidden()
    expect(page.locator("#length")).to_be_visible()


def test_three_questions_lead_to_their_answers(visit):
    page = visit(query="?paused=1")
    run(page)
    reach(page, "finished")
    assert "0 drafts" not in page.locator(".e-ask-why").inner_text()  # the last round is often a plain step
    answers = ("faster", "e-law", "x on this run"), ("same", "e-lossless", "identical"), ("why", "e-microscope", "round")
    for name, panel, answer in answers:
        question = page.locator(f".e-ask-{name}")
        expect(question.locator(".e-answer")).to_contain_text(answer)
        question.focus()
        page.keyboard.press("Enter")
        expect(page.locator(f".{panel}")).to_be_focused()
        expect(page.locator(f".{panel}")).to_be_in_viewport()

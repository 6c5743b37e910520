"""axe-core over the whole view in both themes, and what it cannot see: tab stops, announcements, keys alone."""

import pytest
import renderer_fixture as made
from app_page import reach, run, settings
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from renderer_page import feed, wait_for_text

RECORDS = made.trace()
TEXT = made.with_arms(made.with_costs(RECORDS))
STAGES = {  # what is done, and which part of the page is new by it
    "idle": ("undefined", "html"),
    "run": ("view.drawAll(); document.querySelectorAll('.e-numbers').forEach(button => button.click())", "html"),
    "tour": ("view.panels.tour.path.value = 'student'; view.panels.tour.go(4)", ".e-tour"),
    "glossary": ("view.panels.glossary.open()", ".e-glossary"),
    "present": ("view.panels.glossary.node.close(); view.present(true)", "html"),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_page, url, theme):
    page = open_page(url, reduced_motion="reduce")
    ground = "#0f1116" if theme == "dark" else "#ffffff"
    page.evaluate(f"document.body.classList.add('{theme}'); document.body.style.background = '{ground}'")
    for stage, (act, part) in STAGES.items():
        if theme == "dark" and stage in ("idle", "glossary"):  # nothing there has a colour that other stages have not
            page.evaluate(act)
            continue
        if stage == "run":
            feed(page, TEXT)
            wait_for_text(page, ".e-status-text", "identical")
        page.evaluate(act)
        # A page of ours is not the whole of Gradio's: its landmarks and headings are those of the app.
        rules = {"region": {"enabled": False}, "page-has-heading-one": {"enabled": False}, "landmark-one-main": {"enabled": False}}
        found = Axe().run(page, part, {"rules": rules, "preload": False}).response["violations"]
        assert [(rule["id"], [node["target"] for node in rule["nodes"]][:4]) for rule in found] == [], stage


# Nothing is left out, Gradio's own components neither: should a later Gradio fail a rule, name it here by rule and selector, and say why.
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_on_the_whole_page(visit, theme, width):
    page = visit(width, 800, f"?__theme={theme}&paused=1", reduced_motion="reduce")
    settings(page, new_tokens="24")
    check(page, "settings")
    run(page)
    reach(page, "finished")
    page.evaluate("EESD.page.view.drawAll()")
    page.evaluate("document.querySelectorAll('.e-numbers').forEach((button) => button.click())")
    check(page, "run")
    page.evaluate("EESD.page.takeAway.cite()")
    check(page, "dialog")


def check(page, stage: str) -> None:
    page.wait_for_function("document.getAnimations().every((each) => each.playState !== 'running')")  # a button's colour fades in
    answer = Axe().run(page, options={"preload": False}).response
    found = [(rule["id"], node["target"], node["html"][:160]) for rule in answer["violations"] for node in rule["nodes"]]
    assert not found, f"{stage}: " + "\n".join(map(str, found))
    assert len(answer["passes"]) > 10  # behind an open dialog most of the page is out of reach


def test_one_tab_stop_over_all_tokens(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    for lane in ("eesd", "vanilla"):
        expect(page.locator(f'.e-lane-{lane} .e-tok[tabindex="0"]')).to_have_count(1)
    page.locator('.e-lane-eesd .e-tok[tabindex="0"]').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="follow the playhead")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator('.e-lane-vanilla .e-tok[tabindex="0"]')).to_be_focused()


def test_focus_on_a_token_marks_its_round_in_the_charts(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    page.evaluate("view.drawAll()")
    page.locator('.e-lane-eesd .e-tok[tabindex="0"]').focus()
    page.keyboard.press("End")
    assert page.evaluate("view.pointed") == page.evaluate("view.run.lanes.eesd.rounds.length")
    assert page.locator("section.e-lengths .e-band-pointed").evaluate("band => !band.hidden")


def test_the_end_is_announced_once_and_the_stream_is_not(page):
    page.evaluate("""() => {
        window.said = [];
        const live = document.querySelector('.e-race [role=status]');
        new MutationObserver(() => window.said.push(live.textContent)).observe(live, {childList: true, characterData: true, subtree: true});
    }""")
    for end in range(len(TEXT) // 12, len(TEXT), len(TEXT) // 12):
        feed(page, TEXT[:end])
        page.wait_for_timeout(30)
    feed(page, TEXT)
    wait_for_text(page, ".e-race [role=status]", "Run over: identical")
    said = [line for line in page.evaluate("window.said") if line]
    assert len(said) == 1
    assert page.locator(".e-text[aria-live], .e-text[role=log], .e-text[role=status]").count() == 0

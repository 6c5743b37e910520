"""Tour, glossary, presenter mode, and the page in Chinese."""

import pytest
import renderer_fixture as made
from playwright.sync_api import expect
from renderer_page import feed, no_sideways_scroll, wait_for_text

TEXT = made.ndjson(made.with_costs(made.trace()))
HEAD = made.line(type="recording", format="eesd-trace/1", date="2026-11-21", machine="m", cores=2, versions={})
TITLE = ".e-tour h2"


def start(page, how: str = "paused") -> None:
    page.evaluate("([text, how]) => view.open(text, how)", [HEAD + TEXT, how])
    expect(page.locator(".eesd")).not_to_have_attribute("data-phase", "idle")


def test_the_tour_sees_what_is_done(open_page, url):
    page = open_page(url, reduced_motion="reduce")
    start(page)
    page.keyboard.press("t")
    expect(page.locator(TITLE)).to_be_focused()
    wait_for_text(page, ".e-tour", "1 of 4")  # two minutes, for those who see the page for the first time
    page.locator(".e-tour select").select_option("student")
    wait_for_text(page, ".e-tour", "1 of 11")
    page.locator(TITLE).focus()
    page.keyboard.press(" ")
    wait_for_text(page, ".e-tour-task", "✓ done")
    page.get_by_role("button", name="next", exact=True).click()
    page.evaluate("view.player.pause(); view.player.follow()")
    page.locator(".e-lane-eesd .e-rejected").last.hover()
    page.evaluate("view.request()")
    wait_for_text(page, ".e-tour-task", "✓ done")
    page.get_by_role("button", name="next", exact=True).click()
    expect(page.locator(".e-microscope.e-looked-at")).to_be_in_viewport()
    page.evaluate("view.choose(3)")
    wait_for_text(page, ".e-tour-task", "✓ done")
    page.locator(".e-tour").get_by_role("button", name="end the tour").click()
    expect(page.locator(".e-tour")).to_be_hidden()
    expect(page.locator(".e-looked-at")).to_have_count(0)


def test_every_stop_of_the_tour_is_there_and_questions_answer(page):
    start(page, "over")
    page.get_by_role("button", name="tour", exact=True).click()
    page.locator(".e-tour select").select_option("student")
    asked = 0
    for step in range(1, 12):
        wait_for_text(page, ".e-tour", f"{step} of 11")
        options = page.locator(".e-option")
        if options.count():
            asked += 1
            right = page.evaluate("view.panels.tour.step.options[0]")
            options.filter(has_not_text=right).first.click()
            wait_for_text(page, ".e-tour-answer", "✗ Not quite.")
            options.filter(has_text=right).click()
            wait_for_text(page, ".e-tour-answer", "✓ Right.")
        if step < 11:
            expect(page.locator(".e-looked-at")).to_have_count(1)
            page.get_by_role("button", name="next", exact=True).click()
    assert asked == 4
    page.locator(".e-tour").press("Escape")
    expect(page.locator(".e-tour")).to_be_hidden()


def test_the_tour_is_as_long_as_one_has_time(page):
    start(page, "over")
    page.keyboard.press("t")
    for path, stops in (("visitor", 4), ("engineer", 9), ("student", 11)):
        page.locator(".e-tour select").select_option(path)
        for step in range(1, stops + 1):
            wait_for_text(page, ".e-tour", f"{step} of {stops}")
            page.locator(".e-tour-next").click()
        expect(page.locator(".e-tour")).to_be_hidden()
        page.keyboard.press("t")


def test_escape_ends_the_tour_from_anywhere_and_gives_the_focus_back(page):
    start(page)
    opener, card = page.get_by_role("button", name="tour", exact=True), page.locator(".e-tour")
    opener.press("Enter")
    expect(page.locator(TITLE)).to_be_focused()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("t")
    expect(card).to_be_visible()
    slider = page.locator(".e-law .e-range").first
    slider.press("Escape")
    expect(card).to_be_hidden()
    expect(slider).to_be_focused()


def test_the_glossary_opens_by_key_and_closes(page):
    start(page)
    page.keyboard.press("g")
    glossary = page.get_by_role("dialog", name="Glossary and formulas")
    expect(glossary).to_contain_text("mean accepted length")
    expect(glossary.get_by_role("link").first).to_have_attribute("href", "https://arxiv.org/abs/2406.03853")
    page.keyboard.press("Escape")
    expect(glossary).to_be_hidden()


def test_presenter_mode_is_large_and_bare_and_can_be_left(page):
    start(page, "over")
    size = "parseFloat(getComputedStyle(document.querySelector('.e-lane-eesd .e-tok')).fontSize)"
    before = page.evaluate(size)
    page.keyboard.press("f")
    expect(page.locator(".e-scrub")).to_be_hidden()
    spill = "buttons => buttons.filter((button) => button.scrollHeight > button.clientHeight).map((button) => button.textContent)"
    assert page.locator(".e-question").evaluate_all(spill) == []
    assert page.evaluate(size) >= 24 > before
    ticks = "[...document.querySelectorAll('.e-chart-clock .xtick text')].map(node => parseFloat(getComputedStyle(node).fontSize))"
    page.wait_for_function(f"{ticks}.some(size => size > 15)")
    page.keyboard.press("ArrowLeft")
    wait_for_text(page, ".e-status-text", "round")
    assert no_sideways_scroll(page)
    page.keyboard.press("f")
    expect(page.locator(".e-scrub")).to_be_visible()
    assert page.evaluate(size) == before


@pytest.mark.parametrize("width", [1280, 390])
def test_the_stage_begins_with_the_race_and_keeps_the_end_of_the_text_in_sight(open_page, url, width):
    page = open_page(url, width, 800)
    start(page, "over")
    page.locator(".e-lane-eesd .e-tok").last.wait_for()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.keyboard.press("f")
    expect(page.locator(".e-race")).to_be_in_viewport(ratio=0.8)
    for lane in ("eesd", "vanilla"):
        page.wait_for_function(f"""() => {{
            const box = document.querySelector('.e-lane-{lane} .e-text');
            return box.scrollHeight - box.scrollTop - box.clientHeight < 2;
        }}""")


def test_presenter_mode_from_the_address(open_page, url):
    page = open_page(f"{url}?present=1")
    start(page, "over")
    expect(page.locator(".eesd")).to_have_class("eesd e-present")
    page.keyboard.press("Escape")
    expect(page.locator(".e-scrub")).to_be_visible()


def test_chinese_by_address_and_back_by_the_button(open_page, url):
    page = open_page(f"{url}?lang=zh")
    wait_for_text(page, ".e-intro", "模型的前几层先往前猜几个词元")
    start(page, "over")
    wait_for_text(page, ".e-status-text", "完全相同：共 128 个词元，构造上保证一致")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    wait_for_text(page, ".e-microscope", "单轮显微镜")
    page.evaluate("view.drawAll()")
    assert "轮" in page.locator(".e-chart-belief").get_attribute("aria-label")
    page.keyboard.press("t")
    wait_for_text(page, ".e-tour", "一个模型，一段文本，两个时钟")
    page.get_by_role("button", name="English").click()
    wait_for_text(page, ".e-intro", "The first layers of the model guess")


def test_a_translation_has_the_shape_of_the_original(page):
    """Same names, same kinds, same number of entries; what it lacks has no words in it."""
    differing = page.evaluate("""() => {
        const isTable = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
        const differing = [];
        const compare = (own, other, path) => {
            for (const [name, value] of Object.entries(other)) {
                const at = `${path}.${name}`;
                if (typeof own[name] !== typeof value) differing.push(at);
                else if (isTable(value)) compare(own[name], value, at);
                else if (Array.isArray(value) && value.length !== own[name].length) differing.push(at);
            }
            for (const name of Object.keys(own)) if (!(name in other)) differing.push(`${path}.${name}`);
        };
        const {page: {form: _, caution, ...page}, ...rest} = EESD.modules['words/zh/index.js'].zh;
        const english = EESD.modules['words/en/index.js'].en;
        compare({...english, page: {...english.page, form: undefined}}, {...rest, page: {...page, form: undefined}}, '');
        return differing;
    }""")
    same = "scrubber.times", "contexts.hover", "law.formula", "law.curve", "law.hover", "draw.belief", "draw.number", "draft.token"
    same += "links", "takeaway.paper", ".refusals"  # the server speaks English
    assert [name for name in differing if not name.endswith(same)] == []


def test_hostile_addresses_change_nothing(open_page, url):
    page = open_page(f"{url}?lang=__proto__&present=2")
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    assert page.evaluate("EESD.modules['lib/words.js'].language.now") == "en"

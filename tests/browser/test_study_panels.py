"""The live test of distributions, the benchmark and its reports, drafts made worse, the precision of the weights: on the page."""

import gzip
import json

import pytest
from app_page import reach, run
from playwright.sync_api import expect

from app import studies
from eesd_core.bench import Prompt, latest

SLOW = 120_000  # ms


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(studies, "DRAWS", 40)
    monkeypatch.setattr(studies, "NEW_TOKENS", 4)
    monkeypatch.setattr(studies, "load_prompts", lambda path, limit: [Prompt("a", "stories", "Once"), Prompt("b", "code", "def f")])
    monkeypatch.setattr(studies, "latest_report", lambda: None)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_both_distributions_are_drawn_and_compared(visit, width, theme):
    page = visit(width, 800, f"?temperature=0.9&paused=1&__theme={theme}")
    law = page.locator(".s-law")
    law.locator(".s-start").click()
    expect(law.locator(".s-line")).to_contain_text("40 of 40", timeout=SLOW)
    expect(law.locator(".e-fork li")).to_have_count(3)
    for place in (0, 1):
        chart = law.locator(f".e-chart-place-{place}")
        chart.scroll_into_view_if_needed()
        expect(chart.locator(".bars .point").first).to_be_attached(timeout=SLOW)
        assert "total variation" in chart.get_attribute("aria-label")
    law.locator(".e-numbers").first.click()
    cells = [float(text) for text in law.locator(".e-table").first.locator("td").all_inner_texts()]
    assert sum(cells) == pytest.approx(2, abs=0.03)  # shares of both, rounded
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_stop_leaves_the_device_free(visit, device, monkeypatch):
    monkeypatch.setattr(studies, "DRAWS", 100_000)
    page = visit(query="?temperature=0.9&paused=1")
    law = page.locator(".s-law")
    law.locator(".s-start").click()
    expect(law.locator(".s-line")).to_contain_text("of 100000", timeout=SLOW)
    law.locator(".s-start").click()
    expect(law.locator(".s-line")).to_have_text("stopped by you")
    expect(law.locator(".s-start")).to_have_text("Draw 500 and 500")


def test_what_cannot_be_drawn_is_one_line(visit):
    page = visit(query="?temperature=0&paused=1")
    page.locator(".s-law .s-start").click()
    expect(page.locator(".s-law .s-line")).to_contain_text("choose a temperature above 0", timeout=SLOW)


def test_tokens_are_shown_as_text(visit):
    """Plotly would read tags in the names below its bars."""
    page = visit(query="?paused=1")
    found = {"measured": 0, "chance": 0.1, "most": 0.2, "p": 1}
    token = "<b>x</b>&lt;<img src=x onerror=window.__x=1>"
    place = {"tokens": [[token, 5, 5], ["", 1, 1]], "other": [0, 0], "distance": found}
    line = {"drawn": 6, "wanted": 6, "places": [place, place], "together": found, "acceptance": 1}
    page.evaluate("""line => {
        const { LawTest } = EESD.modules['panels/law_test.js'], test = new LawTest(EESD.page.view, {});
        EESD.page.view.add(test, 'more');
        window.test = test;
        test.show(line);
    }""", line)  # fmt: skip
    page.locator(".s-law").last.scroll_into_view_if_needed()
    tick = page.locator(".s-law").last.locator(".xtick text").first
    expect(tick).to_have_text(token[:14])
    assert page.evaluate("window.__x") is None and page.locator(".s-law img").count() == 0


def test_a_small_benchmark_shows_its_report_in_a_sandbox(visit):
    page = visit(query="?paused=1")
    panel = page.locator(".s-benchmark")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".s-latest")).to_contain_text("No report")
    panel.locator(".s-start").click()
    expect(panel.locator(".s-line")).to_contain_text("Finished", timeout=SLOW)
    frame = panel.locator("iframe")
    assert frame.get_attribute("sandbox") == "allow-scripts"
    inside = page.frame_locator(".s-benchmark iframe")
    expect(inside.locator("h1")).to_have_text("Benchmark", timeout=SLOW)
    expect(inside.locator("table").first).to_contain_text("throughput")
    handle = frame.element_handle().content_frame()
    assert handle.evaluate("(() => { try { return Boolean(parent.document) } catch { return 'no way' } })()") == "no way"


def test_the_latest_report_opens_here_and_in_a_tab_without_an_origin(visit, tmp_path, monkeypatch):
    folder = tmp_path / "2026-01-01T000000-default"
    folder.mkdir()
    model, machine = {"name": "<b>tiny</b>", "dtype": "float32"}, {"processor": "an old one"}
    report = {"format": "eesd-bench/3", "suite": "default", "finished": "2026-01-01T00:00:00", "model": model, "machine": machine}
    (folder / "report.json").write_text(json.dumps(report))
    shown = "<!doctype html><title>r</title><p id=where></p><script>where.textContent = self.origin</script>"
    monkeypatch.setattr(studies, "to_html", lambda report: shown)
    monkeypatch.setattr(studies, "latest_report", lambda: latest.latest_report(tmp_path, tmp_path / "none"))
    page = visit(query="?paused=1")
    panel = page.locator(".s-benchmark")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".s-latest")).to_contain_text("Latest report: default, 2026-01-01 00:00:00 UTC, <b>tiny</b> float32, an old one.")
    panel.get_by_role("button", name="show it").click()
    expect(page.frame_locator(".s-benchmark iframe").locator("#where")).to_have_text("null")
    with page.context.expect_page() as opened:
        panel.get_by_role("link").click()
    expect(opened.value.locator("#where")).to_have_text("null")
    panel.get_by_role("button", name="hide").click()
    expect(panel.locator("iframe")).to_have_count(0)


def test_drafts_made_worse_are_said_and_marked(visit):
    page = visit(query="?wrong=1&wrong_from=20&new_tokens=48&controller=beta")
    run(page)
    reach(page, "finished")
    expect(page.locator(".e-disturbed")).to_contain_text("from new token 21 on, each draft was replaced by a random token with")
    texts = page.evaluate("EESD.page.view.state.texts")
    assert texts["eesd"] == texts["vanilla"]
    page.locator(".e-belief").scroll_into_view_if_needed()
    page.evaluate("EESD.page.view.drawAll()")
    expect(page.locator(".e-belief .shapelayer path")).to_have_count(1)
    page.evaluate("EESD.page.view.open(EESD.modules['given.js'].page.opening, 'over')")
    expect(page.locator(".e-disturbed")).to_be_hidden()


def test_runs_of_a_visit_are_listed_to_compare_them(visit):
    page = visit(query="?new_tokens=12&controller=fixed&length=2")
    for times in (1, 2):
        run(page)
        reach(page, "finished")
        rows = page.locator("section[aria-label='Runs of this visit'] tbody tr")
        expect(rows).to_have_count(times)
    expect(rows.first).to_contain_text("float32")
    expect(rows.first).to_contain_text("fixed")


def test_a_run_is_listed_and_its_promise_named_while_the_playhead_rests(visit, held):
    page = visit(query="?new_tokens=12&acceptance=rejection")
    run(page)
    reach(page, "running")
    page.evaluate("EESD.page.view.player.toggle()")
    held.set()
    expect(page.locator("section[aria-label='Runs of this visit'] tbody tr")).to_contain_text("same distribution")
    assert page.evaluate("EESD.page.view.run.phase") == "running"
    expect(page.locator(".eesd-level > b")).to_have_text("same distribution")


def test_with_a_model_of_the_hosts_own_the_precision_stays(visit):
    page = visit(query="?quantize=8bit&new_tokens=8")
    page.locator("#settings .label-wrap").click()
    choice = page.locator("#quantize")
    expect(choice).to_contain_text("a large model may not fit twice")
    assert choice.locator("input:enabled").count() == 0
    page.locator("#run").click()
    expect(page.locator(".eesd [role=alert]")).to_contain_text("this server has its model in one precision", timeout=SLOW)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_methods_race_under_each_other(visit, width, theme):
    page = visit(width, 800, f"?temperature=0&new_tokens=12&paused=1&__theme={theme}")
    race = page.locator(".s-methods")
    race.get_by_label("method 2").select_option("")
    race.locator(".s-start").click()
    expect(race.locator(".w-table tbody tr")).to_have_count(3, timeout=SLOW)
    assert race.locator(".w-table th[scope=row]").all_inner_texts() == ["vanilla", "throughput", "prompt-lookup"]
    assert race.locator(".w-table td:last-child").all_inner_texts() == ["the reference", "identical", "identical"]
    texts = "[...document.querySelectorAll('.s-methods .m-text')].map((text) => text.innerText)"
    page.wait_for_function(f"(([first, ...others]) => first && others.every((text) => text === first))({texts})")  # the last one is drawn
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_a_recorded_race_of_methods_stands_there_first_and_says_so(visit, width, theme):
    page = visit(width, 800, f"?temperature=0&new_tokens=8&paused=1&__theme={theme}")
    race, label = page.locator(".s-methods"), page.locator(".m-recorded")
    race.scroll_into_view_if_needed()
    head = json.loads(gzip.decompress(studies.RECORDED_METHODS.read_bytes()).split(b"\n", 1)[0])
    expect(label).to_contain_text(f"RECORDED on {head['date']}, {head['machine']}")
    expect(race.locator(".w-table tbody tr")).to_have_count(5)
    expect(race.locator(".m-reading").last).to_contain_text("tok/s")
    expect(race.locator(".s-line")).to_be_empty()  # nothing was run
    page.wait_for_function("[...document.querySelectorAll('.m-text')].every((text) => text.scrollTop === 0)")  # to be read from the start
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for i in (2, 3, 4):
        race.get_by_label(f"method {i}").select_option("")
    race.locator(".s-start").click()
    expect(race.locator(".w-table tbody tr")).to_have_count(2, timeout=SLOW)
    expect(label).to_be_hidden()
    expect(race.locator(".m-lane")).to_have_count(2)

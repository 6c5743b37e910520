"""The sandbox of controllers: on the page, in an offline file, by keyboard, without motion."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll

from eesd_core.export.standalone import template

CHARTS = ("speed", "lost", "course", "now", "lengths")
LINES = (5, 5, 4, 4, 4)  # that plotly is given of a constant rate
ENDED = re.compile(r"After 4,000 tokens the best fixed draft length is \d+, \d\.\d\d tokens per step\. .*beta (lost|gained) \d+")
LEVEL = {"rules": {"page-has-heading-one": {"enabled": False}, "region": {"enabled": False}}, "preload": False}


@pytest.fixture
def offline(tmp_path, open_page):
    """offline(width, **context options) -> the file for a run, opened without one."""
    file = tmp_path / "run.html"
    file.write_text(template(), "utf-8")
    return lambda width=1280, **options: open_page(file.as_uri(), width, **options)


def shown(page):
    """The panel, with its whole first text."""
    page.locator(".b-charts").scroll_into_view_if_needed()
    panel = page.locator(".b-panel")
    expect(panel.locator(".b-says")).to_have_text(ENDED)
    return panel


def row(panel, name: str) -> list[str]:
    return panel.locator(".b-table tbody tr", has_text=name).locator("td").all_text_contents()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_controllers_stand_side_by_side(offline, width, theme):
    page = offline(width, color_scheme=theme, reduced_motion="reduce")
    panel = shown(page)
    assert [float(row(panel, name)[0]) > 1.5 for name in ("beta", "throughput", "ucb", "best fixed")] == [True] * 4
    assert row(panel, "best fixed")[1] == "0" and float(row(panel, "beta")[1]) > float(row(panel, "throughput")[1])
    for name, lines in zip(CHARTS, LINES):
        chart = panel.locator(f".e-chart-sandbox-{name}")
        chart.scroll_into_view_if_needed()
        expect(chart.locator(".plot-container")).to_be_visible()
        assert chart.evaluate("node => node.data.length") == lines and len(chart.get_attribute("aria-label")) > 40, name
    found = Axe().run(page, ".b-panel", LEVEL).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]][:4]) for rule in found] == []
    panel.locator(".e-numbers").evaluate_all("buttons => buttons.forEach((button) => button.click())")
    for table in panel.locator(".e-table table").all():
        head, *rows = table.locator("tr").evaluate_all("rows => rows.map((row) => row.cells.length)")
        assert rows and set(rows) == {head}
    assert no_sideways_scroll(page)


def test_it_is_on_the_page_without_any_run(visit):
    shown(visit(query="?view=live"))


def test_everything_can_be_set_by_keyboard(offline):
    panel = shown(offline(reduced_motion="reduce"))
    before = row(panel, "throughput")
    alpha, discount, fall = (panel.get_by_label(name, exact=True) for name in ("prior alpha", "discount", "factor per draft"))
    alpha.focus()
    alpha.press("End")
    expect(panel.locator(".b-alpha output")).to_have_text("50")
    discount.press("ArrowLeft")
    expect(panel.locator(".b-forget output")).to_have_text("0.998: about 500 rounds")
    expect(fall).to_be_hidden()
    kind = panel.get_by_label("true acceptance")
    kind.select_option("falling")
    expect(fall).to_be_visible()
    panel.locator(".e-sandbox-course .e-numbers").click()
    first = panel.locator(".e-sandbox-course .e-table tbody tr").first.locator("td")
    expect(first.first).to_have_text("0.98")  # the prior's mean, 50 of 51
    panel.get_by_role("button", name="Reset").click()
    panel.locator(".e-chart-sandbox-course").scroll_into_view_if_needed()  # out of sight it is not drawn
    expect(first.first).to_have_text("0.50")
    expect(panel.locator(".b-says")).to_have_text(ENDED)
    assert row(panel, "throughput") == before  # the same seed, the same text
    panel.get_by_role("button", name="another seed").click()
    expect(panel.locator(".b-seed")).to_have_text("seed 2")
    expect(panel.locator(".b-table tbody tr", has_text="throughput").locator("td").nth(1)).not_to_have_text(before[1])


def test_what_to_try_is_set_and_asked(offline):
    panel = shown(offline(reduced_motion="reduce"))
    panel.get_by_role("button", name="drafts that cost too much").click()
    expect(panel.locator(".b-says")).to_contain_text("best fixed draft length is 0, plain decoding")
    expect(panel.locator(".b-question")).to_contain_text("drafting never pays")
    expect(panel.locator(".b-cost output")).to_have_text("0.7")
    panel.get_by_role("button", name="a rate that switches").click()
    expect(panel.locator(".b-says")).to_contain_text("throughput gained")
    expect(panel.locator(".b-cost output")).to_have_text("0.1")
    panel.get_by_role("button", name="Reset").click()
    expect(panel.locator(".b-question")).to_be_empty()


def test_it_runs_only_while_somebody_looks(offline):
    page = offline()
    panel = shown(page)
    progress = panel.locator(".b-progress")
    panel.get_by_role("button", name="Start").click()
    expect(progress).to_have_text(re.compile(r"^\d{3} of 4,000 tokens"))
    page.evaluate("document.querySelector('.b-panel').style.marginTop = '4000px'; window.scrollTo(0, 0)")
    page.wait_for_timeout(300)
    seen = progress.text_content()
    page.wait_for_timeout(400)
    assert progress.text_content() == seen != "4,000 of 4,000 tokens"
    panel.scroll_into_view_if_needed()
    expect(progress).not_to_have_text(seen)
    panel.get_by_role("button", name="Stop").click()
    expect(panel.locator(".b-says")).to_contain_text(progress.text_content().split(" of ")[0])
    expect(panel.get_by_role("button", name="Start")).to_be_visible()


def test_without_motion_a_batch_comes_at_once(offline):
    panel = shown(offline(reduced_motion="reduce"))
    for tokens in ("1,000", "2,000"):
        panel.get_by_role("button", name="Next 1,000 tokens").click()
        expect(panel.locator(".b-progress")).to_have_text(f"{tokens} of 4,000 tokens")
        expect(panel.locator(".b-says")).to_contain_text(f"After {tokens} tokens")

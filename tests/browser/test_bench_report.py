"""The benchmark's report in Chromium: offline, light and dark, wide and on a phone; every chart is drawn and nothing runs from a name."""

import pytest

from eesd_core.bench import Prompt, bench, plan
from eesd_core.sampling import Sampling

HOSTILE = "</script><img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def page_file(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    prompts = [Prompt("1", HOSTILE, "Once upon a time"), Prompt("2", "b", "x y x y x")]
    bench(engine, "default", plan(engine, "default", prompts, ["hf", "beta", "fixed:2"], Sampling(), 8, 1), folder)
    return next(folder.glob("*/report.html"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_opens_offline(browser, page_file, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto(page_file.as_uri())
    drawn = "document.querySelectorAll('figure').length === document.querySelectorAll('figure .main-svg:first-child').length"
    page.wait_for_function(drawn, timeout=120_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert page.locator("main img").count() == 0 and page.title() == "EESD Live: benchmark" and not problems
    assert page.locator("tr", has_text="arXiv 2406.03853").count() == 2
    context.close()

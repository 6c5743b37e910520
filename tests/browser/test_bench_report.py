"""The benchmark's report in Chromium: offline, light and dark, wide and on a phone; every chart is drawn and nothing runs from a name."""

import json
import re

import numpy as np
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


def drawn(page) -> None:
    """All charts, of which this is the last. The page forbids the `eval` that waiting for a condition would need."""
    page.locator("figure").last.locator(".main-svg").first.wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_opens_offline(new_context, page_file, width, scheme):
    page = new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True).new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto(page_file.as_uri())
    drawn(page)
    assert page.locator("figure").count() == page.locator("figure .main-svg:first-child").count() > 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    ground = "getComputedStyle(document.{}).backgroundColor"
    assert page.evaluate(ground.format("body")) == page.evaluate(ground.format("documentElement"))  # beside the column too
    assert page.locator("main img").count() == 0 and page.title() == "EESD Live: benchmark" and not problems
    assert page.locator("tr", has_text="arXiv 2406.03853").count() == 2


UNITS = {"": [1], "x": [1], " %": [1, 100], " ms": [1000], " s": [1], " J": [1], " MiB": [2**-20]}
SHOWN = re.compile(r"(-?\d+(?:\.(\d+))?)(| %|x| ms| s| J| MiB)")
CHARTED = "[...document.querySelectorAll('figure > div')].flatMap((box) => box.data.flatMap(({ x, y, z }) => [x, y, z].flat(2)))"


def numbers_in(value) -> list[float]:
    if isinstance(value, dict | list):
        return [number for part in (value.values() if isinstance(value, dict) else value) for number in numbers_in(part)]
    return [value] if type(value) in (int, float) else []


def test_every_figure_is_in_the_json(new_context, page_file):
    """Of tables as they are rounded, and of charts as they are."""
    page = new_context().new_page()
    page.goto(page_file.as_uri())
    drawn(page)
    known = np.array(numbers_in(json.loads((page_file.parent / "report.json").read_text())), float)
    cells = [part for cell in page.locator("table:not(.words) td").all_inner_texts() for part in re.split(" to | of ", cell)]
    found = [match for match in map(SHOWN.fullmatch, cells) if match]
    assert len(found) > 50
    for number, decimals, unit in (match.groups() for match in found):
        room = 0.5000001 * 10.0 ** -len(decimals or "")
        assert np.abs(np.outer(UNITS[unit], known) - float(number)).min() <= room, (number, unit)
    charted = [value for value in page.evaluate(CHARTED) if type(value) in (int, float)]
    assert len(charted) > 30
    for value in charted:
        places = type(value) is int and 0 <= value <= 16  # on an axis
        assert places or min(np.abs(known - value).min(), np.abs(100 * known - value).min()) < 1e-9, value

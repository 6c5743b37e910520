"""Several texts at once: live by three forms, and in a trace that is opened."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll

from eesd_core.export import export
from eesd_core.request import Request
from eesd_core.trace import parse_trace, to_line

SLOW = 120_000  # ms
PANEL = ".s-together"
KINDS = "node => [...new Set([...node.querySelectorAll('.g-cell i')].map((cell) => cell.className.split('e-fill-')[1]))]"


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_texts_are_written_by_three_forms_and_opened_by_keys(visit, width, theme, without_charts):
    page = visit(width, 800, f"?temperature=0&new_tokens=12&controller=fixed&length=3&paused=1&__theme={theme}", reduced_motion="reduce")
    panel = page.locator(PANEL)
    panel.get_by_label("how many texts").select_option("2")
    panel.locator(".s-start").focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".s-line")).to_have_text("Done. All three forms wrote the same texts.", timeout=SLOW)
    forms, names, opened = panel.locator(".g-form"), panel.locator(".g-name"), panel.locator(".g-text")
    expect(names).to_have_count(2)
    expect(opened).to_contain_text("Text 1: ")
    assert all("tok/s" in text for text in forms.all_inner_texts())
    expect(panel.locator(".g-price")).to_contain_text("a verify pass over 4 took")
    names.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(opened).to_contain_text("Text 2: ")
    texts = []
    for number, kinds in enumerate(({"accepted", "rejected", "untested"}, {"padding"}, {"plain"})):
        forms.nth(number).focus()
        page.keyboard.press("Enter")
        expect(forms.nth(number)).to_have_attribute("aria-pressed", "true")
        found = set(panel.locator(".g-grid").evaluate(KINDS))
        assert kinds & found and ("padding" in found) == (number == 1) and "pending" not in found
        texts.append(page.evaluate("(({ form, text }) => form.texts.get(text).text)(EESD.page.view.panels.together)"))
    assert texts[0] and len(set(texts)) == 1
    assert no_sideways_scroll(page)
    found = Axe().run(page, PANEL, {"preload": False}).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]][:4]) for rule in found] == []


def test_a_trace_of_several_texts_shows_them_offline(open_page, engine, tmp_path):
    """Hostile ones too. A run of one text has no such panel."""
    asked = [Request(f"<img src=x onerror=window.__x={n}>", 6 + n, controller="fixed", settings={"length": 1 + n}) for n in range(3)]
    text = "".join(map(to_line, engine.run_together(asked, 2, padded=True)))
    file = tmp_path / "texts.html"
    file.write_text(export(parse_trace(text.encode()), "html"), "utf-8")
    page = open_page(file.as_uri(), 390, reduced_motion="reduce")
    panel = page.locator(PANEL)
    expect(panel.locator(".s-line")).to_contain_text("This trace has 3 texts")
    expect(panel.locator(".g-form:enabled b")).to_have_text(["padded"])
    expect(page.locator(".e-shared")).to_contain_text("up to 2 texts are written in the same passes")
    expect(panel.locator(".g-price")).to_contain_text("% of the rows are padding")
    panel.locator(".g-line").nth(2).locator(".g-cell").first.click()
    expect(panel.locator(".e-prompt")).to_have_text(asked[2].prompt)
    assert page.evaluate("window.__x") is None and no_sideways_scroll(page)
    one = [line for line in text.splitlines() if json.loads(line)["row"] == 0]
    page.evaluate("text => EESD.takeAway.show(text)", "\n".join(one))
    expect(panel).to_be_hidden()

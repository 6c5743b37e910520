"""A tree of drafts on the page: its picture in the microscope, the text that shows the accepted path alone, and the drafter's own news."""

import pytest
import renderer_fixture as made
from playwright.sync_api import expect
from renderer_page import feed

from eesd_core import events as ev

WORDS = [(" the", -1), (" big", 0), (" dog", 1), (" a", -1), (" old", 3), (" cat", 4), (" an", -1), (" red", 0)]
POOL = [{"text": " the <b>dog", "age": 1, "hits": 2}, {"text": 7, "age": 0, "hits": 0}]  # the second is no phrase
NEWS = {"set": "a1.m2", "layers": 4, "score": 0.75, "trials": 3, "gains": {"early-exit": 1.5}, "pool": POOL}


def records(drafter: str = "swift") -> list[ev.Record]:
    """One round: the spine is wrong at once, and a branch of three is accepted."""
    depth = {-1: -1}
    events = [ev.RunStarted("eesd", "m", "cpu", "float32", "exact-by-construction", "Once", (1,), {"drafter": drafter}, {}, (), ())]
    events += [ev.PrefillDone(0, 0.1), ev.CostMeasured(0.002, tuple(0.01 + 0.001 * m for m in range(16)), 0.001)]
    events.append(ev.RoundStarted(0, 1, 3, {"controller": "beta", "alpha": 1.0, "beta": 1.0, "mean": 0.5}))
    for i, (word, parent) in enumerate(WORDS):
        depth[i] = depth[parent] + 1
        said = 0.5, 0.5, 1.0, i < 2, {"theta": 0.4, "chi": 1, "u": 0.1} if i < 3 else {}
        id = 12 if drafter == "gsd" and i == 5 else 10 + i  # there the spine's third token stands in the branch too
        events.append(ev.DraftToken(0, i, 1 + depth[i], id, word, *said, parent=parent))
    events.append(ev.DraftStopped(0, 8, "limit"))
    choices, chances = (13, 0, 0, 0, 14, 15, 20, 0, 0), (0.1,) * 8
    verdict = 0, 8, 3, choices, chances, (1.0,) * 9, 20, " sat", 0.9, "bonus", 0.01, 0.02
    events.append(ev.RoundVerified(*verdict, path=(3, 4, 5)))
    events.append(ev.PosteriorUpdated(0, {"controller": "beta", "alpha": 1.0, "beta": 2.0, "mean": 1 / 3}))
    events.append(ev.DrafterLearned(0, NEWS))
    events += [ev.TokensCommitted(0, (13, 14, 15, 20), " a old cat sat"), ev.RunFinished("length", 4, None)]
    return [ev.Record("r", "eesd", seq, 0.01 * seq, event) for seq, event in enumerate(events)]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_tree_of_a_round_is_drawn(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    feed(page, made.ndjson(records()))
    page.evaluate("view.drawAll()")
    tree = page.locator(".e-tree")
    expect(tree).to_be_visible()
    places = tree.locator(".e-node").evaluate_all("nodes => nodes.map(n => [n.textContent.trim(), n.style.gridArea, n.className])")
    assert [text for text, _, _ in places] == [word.strip() for word, _ in WORDS]
    assert [area.replace(" ", "").split("/")[:2] for _, area, _ in places] == [
        ["1", "1"], ["1", "2"], ["1", "3"], ["2", "1"], ["2", "2"], ["2", "3"], ["3", "1"], ["3", "2"],
    ]  # fmt: skip
    assert [i for i, (_, _, look) in enumerate(places) if "e-on-path" in look] == [3, 4, 5]
    bars = page.locator(".e-prices .e-price").evaluate_all("bars => bars.map(bar => [bar.title, bar.classList.contains('e-beside')])")
    assert len(bars) == 9 and [hatched for _, hatched in bars] == [False] * 4 + [True] * 5
    assert bars[0][0] == "1 row: 10.0 ms" and bars[8][0] == "9 rows: 18.0 ms"
    assert "9 rows" in page.locator(".e-microscope").inner_text() and "3 of them accepted" in page.locator(".e-microscope").inner_text()
    assert "had 8 drafts, and 3 of them" in page.locator(".e-microscope .e-why-words").inner_text()
    for where in (".e-headline", ".e-ask-why"):
        expect(page.locator(where)).to_contain_text("3 drafts with 5 siblings")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    seen = "nodes => nodes.filter(node => node.getClientRects().length).map(node => node.textContent)"
    assert page.locator(".e-lane-eesd .e-text .e-tok").evaluate_all(seen) == [" the", " big", " dog", " a", " old", " cat", " sat"]


def test_what_gsd_has_merged_is_dashed(page):
    feed(page, made.ndjson(records("gsd")))
    page.evaluate("view.drawAll()")
    dashed = page.locator(".e-tree .e-node").evaluate_all("nodes => nodes.map(node => node.classList.contains('e-alias'))")
    assert [i for i, merged in enumerate(dashed) if merged] == [5]


def test_what_the_drafter_has_learned_is_shown(page):
    feed(page, made.ndjson(records()))
    page.evaluate("view.drawAll()")
    panel = page.locator(".e-drafter")
    expect(panel).to_be_visible()
    share = "cell => cell.style.getPropertyValue('--e-share')"
    shares = f"rows => rows.map(row => [...row.querySelectorAll('.e-layer')].map({share}))"
    assert panel.locator(".e-layers").evaluate_all(shares) == [["0%", "100%", "0%", "0%"], ["0%", "0%", "100%", "0%"]]
    assert panel.locator("dd").all_inner_texts() == ["0.75", "3", "1.50"]
    assert panel.locator(".e-phrases li").all_inner_texts() == [" the <b>dog\n1 round old, 2 tokens right so far"]


def test_chains_have_no_tree_and_quiet_drafters_no_panel(page):
    feed(page, made.ndjson(made.trace()))
    page.evaluate("view.drawAll()")
    expect(page.locator(".e-tree")).to_be_hidden()
    expect(page.locator(".e-drafter")).to_be_hidden()

"""Drafters on the page: each in its own words, in both languages, and none whose trained head the chosen model lacks."""

import pytest
import renderer_fixture as made
from app_page import settings
from playwright.sync_api import expect
from renderer_page import feed

from app.studies import CONTESTANTS
from eesd_core.draft.registry import DRAFTERS

GIVEN = "EESD.modules['given.js'].page"
SAID = "[...document.querySelectorAll('.e-microscope .e-step')].map((step) => step.querySelector('.e-step-note')?.textContent ?? '')"


def test_every_drafter_has_words_of_its_own_in_both_languages(visit):
    own = {name: visit(query=f"?lang={name}&view=live").evaluate("EESD.modules['lib/words.js'].say.drafters.own") for name in ("en", "zh")}
    for words in own.values():
        assert set(words) == set(DRAFTERS)
        assert len({guesses for guesses, _ in words.values()}) > len(DRAFTERS) - 2  # two may be alike, but for what they keep


def test_every_method_of_the_race_is_explained(visit):
    page = visit(query="?view=live")
    page.locator(".m-about summary").click()
    names = page.locator(".m-about dt").all_inner_texts()
    assert set(names) == {name.split(":")[0] for name in CONTESTANTS}
    assert all(page.locator(".m-about dd").all_inner_texts())
    settings(page, controller="ucb")
    expect(page.locator(".eesd-drafter-note")).to_contain_text("ucb: Tries all lengths")


def test_a_head_that_the_model_lacks_is_not_offered(visit):
    page = visit(query="?view=live")
    settings(page)
    lacking = [name for name, row in DRAFTERS.items() if row.needs_head]
    note, methods = page.locator(".eesd-drafter-note"), page.locator(".s-methods")
    expect(note).to_contain_text("early-exit: What the model's first layers and the exit layer guess.")
    expect(note).to_contain_text(f"Not offered: {', '.join(lacking)}.")
    expect(methods).to_contain_text("No such head was trained for")
    for name in lacking:
        expect(page.locator(f"#drafter input[value='{name}']")).to_be_hidden()
        expect(methods.locator(f"option[value='{name}']").first).to_be_disabled()
    page.evaluate(f"for (const model in {GIVEN}.heads) {GIVEN}.heads[model] = {GIVEN}.needs.block ? ['block'] : []; EESD.page.offer()")
    page.locator("#drafter input[value='block']").check()
    expect(note).to_contain_text("block: One pass over a block of masks")
    expect(note).not_to_contain_text("Not offered: block")
    expect(methods.locator("option[value='block']").first).to_be_enabled()


@pytest.mark.parametrize(("drafter", "exit_after", "guesses", "layers"), [
    ("early-exit", 2, "the exit layer guess", "The other layers"),
    ("block:rows=8", 0, "One pass over a block of masks", "All layers"),
    ("", 2, "the exit layer guess", "The other layers"),
])  # fmt: skip
def test_the_microscope_says_who_guessed(page, drafter, exit_after, guesses, layers):
    records = made.trace()
    for record in records:
        if record.event.type == "run_started":
            record.event.settings.update({"drafter": drafter, "exit_after": exit_after} if drafter else {})
    feed(page, made.ndjson(records))
    page.evaluate("view.choose(1); view.drawAll()")
    said = page.evaluate(SAID)
    assert guesses in said[1] and "q: the probability" in said[1] and said[3].startswith(layers)

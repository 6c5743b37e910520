"""Turns of a conversation: they stand above the race as text, a link brings them back, Reset ends them."""

import json

import pytest
import tiny_model
from app_page import PacedEngine, a_new_run, alert, reach, run, settings, state, stop, until_ready
from hostile import hostile
from playwright.sync_api import expect
from renderer_page import no_sideways_scroll
from test_input import HOSTILE

from app.form import MOST_HISTORY
from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from app.studies import examples_of
from eesd_core.loading import load_engine
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.trace import to_line

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[reply]"
SHORT = "?__theme=light&view=live&new_tokens=8"


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talking")
    tiny_model.save(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    loaded = load_engine(str(folder), None, "cpu", "float32")
    engine = PacedEngine(loaded.target, loaded.exit_layer, loaded.level)
    app = launch(Visits(engine, Limits(runs_a_minute=10_000, waiting_each=100)), prevent_thread_lock=True, quiet=True)
    yield engine, app.local_url
    app.close()


@pytest.fixture
def visit(open_page, talking):
    def visit(query: str, width: int = 1280):
        page = open_page(talking[1] + query, width, 800)
        until_ready(page)
        return page

    return visit


def say(page, text: str) -> None:
    """Answer the reply on the page, and wait for the reply to that."""
    reach(page, "finished")
    expect(page.locator(".e-send")).to_be_enabled()
    with a_new_run(page):
        page.locator(".e-reply textarea").fill(text)
        page.locator(".e-reply textarea").press("Enter")
    reach(page, "finished")


def said(page) -> list[str]:
    return page.locator(".e-turns dd").all_text_contents()


def test_a_reply_is_followed_by_another_request_and_a_link_brings_it_back(visit, talking):
    page = visit(SHORT)
    expect(page.locator("#prompt textarea")).to_have_value(examples_of(chat=True)[0]["prompt"])
    expect(page.locator(".e-conversation")).to_be_hidden()
    run(page, HOSTILE[0])
    reach(page, "finished")
    first = state(page)["texts"]
    say(page, "and\nthen?")
    second = state(page)["texts"]
    assert first["eesd"] == first["vanilla"] and second["eesd"] == second["vanilla"]
    say(page, HOSTILE[3])
    turns = [HOSTILE[0], first["eesd"], "and\nthen?", second["eesd"]]
    assert said(page) == turns
    assert page.locator(".eesd :is(img, script)").count() == 0 and page.evaluate("window.__x") is None
    for lane in ("eesd", "vanilla"):
        expect(page.locator(f".e-lane-{lane} .e-prompt")).to_have_text(HOSTILE[3])
        ids = page.evaluate(f"EESD.page.view.player.timeline.lanes.{lane}[0].prompt_ids")
        whole = Request(HOSTILE[3], chat=True, history=(tuple(turns[:2]), tuple(turns[2:])))
        assert ids == talking[0].encode(whole)  # both lanes got the same conversation

    link = page.evaluate("EESD.page.address")
    again = visit("?" + link.split("?", 1)[1], 390)
    expect(again.locator(".e-conversation")).to_be_visible()  # before anything ran
    assert said(again) == turns and no_sideways_scroll(again)
    run(again)
    reach(again, "finished")
    assert state(again)["texts"] == state(page)["texts"] and said(again) == turns
    assert again.evaluate("EESD.page.address") == link and no_sideways_scroll(again)

    page.locator("#reset").click()
    expect(page.locator(".e-conversation")).to_be_hidden()
    assert page.evaluate("EESD.page.named.history") == ""


def test_keys_and_what_is_sent_when(visit, talking):
    page = visit(SHORT)
    box, send = page.locator(".e-reply textarea"), page.locator(".e-send")
    talking[0].go.clear()
    run(page)
    box.fill("later")
    box.press("Enter")  # the reply is not whole yet
    talking[0].go.set()
    reach(page, "finished")
    expect(send).to_be_enabled()
    expect(box).to_have_value("later")
    verdict, clock = page.locator(".e-status-text").bounding_box(), page.locator(".e-chart-clock").bounding_box()
    assert send.bounding_box()["y"] < verdict["y"] + verdict["height"] and clock["y"] + clock["height"] <= 800  # in one line
    box.press("Shift+Enter")
    expect(box).to_have_value("later\n")
    with a_new_run(page):
        send.click()
    expect(page.locator(".e-lane-eesd .e-prompt")).to_have_text("later\n")
    reach(page, "finished")
    settings(page, system="Be brief.")
    say(page, "more")
    assert page.evaluate("EESD.page.view.run.lanes.eesd.settings.system") == "Be brief."
    page.locator("#chat input").uncheck()
    expect(page.locator("#system")).to_be_hidden()
    run(page, "Once")  # a text that is continued has no conversation
    expect(page.locator(".e-conversation")).to_be_hidden()
    expect(page.locator(".e-reply")).to_be_hidden()


EARLY = {
    "en": (
        "This reply is still being written: send your request when it is complete",
        "This reply is incomplete: press Run to have it written again",
    ),
    "zh": ("回答还在生成：请等它写完再发送", "这个回答不完整：请按“运行”重写"),
}


@pytest.mark.parametrize("language", EARLY)
def test_a_request_sent_too_early_is_kept_and_told_why(visit, talking, language):
    page = visit(f"{SHORT}&lang={language}", 390)
    writing, incomplete = EARLY[language]
    box, line = page.locator(".e-reply textarea"), page.locator(".e-reply-line")
    talking[0].go.clear()
    try:
        run(page)
        reach(page, "running")
        box.press("Enter")  # nothing was typed
        expect(line).to_be_empty()
        box.fill("later")
        box.press("Enter")
        expect(line).to_have_text(writing)
        expect(box).to_have_value("later")
        assert no_sideways_scroll(page)
        stop(page)
        expect(line).to_have_text(incomplete)
        box.press("Enter")
        expect(line).to_have_text(incomplete)
    finally:
        talking[0].go.set()
    expect(page.locator("#run")).to_be_enabled()
    run(page)
    reach(page, "finished")
    expect(line).to_be_empty()
    expect(box).to_have_value("later")
    with a_new_run(page):
        box.press("Enter")
    expect(page.locator(".e-lane-eesd .e-prompt")).to_have_text("later")
    expect(line).to_be_empty()
    reach(page, "finished")


def test_what_is_too_long_is_one_line_and_nothing_is_lost(visit):
    page = visit(SHORT)
    run(page)
    reach(page, "finished")
    written = "EESD.page.view.stream.consumed.split('\\n').filter((line) => line.includes('tokens_committed'))"
    before = page.evaluate(written)
    page.evaluate("length => EESD.page.reply('more', [['x'.repeat(length), '']])", MOST_HISTORY + 1)
    expect(alert(page)).to_contain_text("the conversation has 12,001 characters, and 12,000 is the most: begin a new one with Reset")
    assert before and page.evaluate(written) == before  # what is told of the queue may still change
    expect(page.locator("#prompt textarea")).to_have_value("more")
    page.evaluate("""() => {
        const place = EESD.page.form.findIndex(({ name }) => name === "history");
        EESD.page.values[place] = JSON.stringify([["\u6f22".repeat(9000), ""]]);
    }""")
    page.evaluate("EESD.page.takeAway.copyLink()")
    expect(page.locator(".t-line")).to_contain_text("too long for a link")


def test_hostile_turns_in_a_link_are_text_or_nothing(visit):
    page = visit(SHORT)
    texts = [text.encode("utf-8", "replace").decode() for text in hostile()]
    candidates = [*texts, *(json.dumps(value) for value in ([[1, 2]], [["a"]], {"a": "b"}, [["x" * (MOST_HISTORY + 1), ""]], [None]))]
    good = page.evaluate(
        """texts => texts.map((text) => {
            const search = new URLSearchParams({ history: text }).toString();
            return EESD.modules['lib/link.js'].read(EESD.page.form, search).values.find((value) => value !== undefined) ?? null;
        })""",
        candidates,
    )
    assert all(text in (None, "", "[]") for text in good)
    page = visit(SHORT + "&history=[[1]]")
    expect(page.locator(".t-line")).to_contain_text("history")


def test_a_trace_brings_its_conversation_along(visit, talking):
    page = visit(SHORT)
    turns = [["\u202e<b>", HOSTILE[4]]]
    request = Request("and?", 8, chat=True, history=tuple(map(tuple, turns)))
    lines = "".join(map(to_line, race(talking[0], request)))
    page.evaluate("text => EESD.page.takeAway.show(text)", lines)
    expect(page.locator(".e-turns dd")).to_have_text(turns[0])
    expect(page.locator(".e-reply")).to_be_hidden()  # nobody replies to a recording
    broken = lines.replace('"history":[[', '"history":[7,[')
    assert broken != lines
    page.evaluate("text => EESD.page.takeAway.show(text)", broken)
    expect(page.locator(".e-conversation")).to_be_hidden()

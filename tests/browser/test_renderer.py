"""The renderer in a real browser, fed with a made-up trace."""

import json
import re
from random import Random

import pytest
import renderer_fixture as made
from playwright.sync_api import expect
from renderer_page import WEB, feed, no_sideways_scroll, state, wait_for_count, wait_for_text, write_page

RECORDS = made.trace()
TEXT = made.ndjson(RECORDS)
SHAPES = {  # what tells the states apart without colour
    "accepted": "underline solid",
    "rejected": "line-through solid",
    "untested": "line-through solid",
    "correction": "underline dotted",
    "bonus": "underline double",
}


def tokens(kind: str) -> str:
    return f".e-lane-eesd .e-text .e-{kind}"


def test_idle_page_explains(page):
    wait_for_text(page, ".e-intro", "The first layers of the model guess")
    wait_for_count(page, ".e-meanings .e-tok", 6)
    assert page.locator(".e-stage").is_hidden()


def test_chunks_cut_anywhere_give_every_state(page):
    rng = Random(3)
    cuts = sorted(rng.sample(range(len(TEXT)), 60))
    for cut in [*cuts, len(TEXT)]:
        feed(page, TEXT[:cut])
    counts = made.expected_counts(RECORDS)
    assert min(counts[kind] for kind in SHAPES) > 0
    assert state(page)["counts"] == counts
    for kind, count in counts.items():
        wait_for_count(page, tokens(kind), count)


def test_both_texts_are_what_was_committed(page):
    feed(page, TEXT)
    for lane in ("eesd", "vanilla"):
        assert state(page)["texts"][lane] == made.expected_text(RECORDS, lane)
    assert "café" in state(page)["texts"]["eesd"]


def test_states_differ_in_shape_and_stay_visible(page):
    feed(page, TEXT)
    for kind, shape in SHAPES.items():
        token = page.locator(tokens(kind)).first.locator(".e-mark")
        line = token.evaluate("n => { const s = getComputedStyle(n); return `${s.textDecorationLine} ${s.textDecorationStyle}` }")
        assert line == shape
        assert token.is_visible()


def test_pending_drafts_wait_in_dashed_boxes(page):
    upto = next(i for i, record in enumerate(RECORDS) if record.event.type == "draft_stopped") + 1
    feed(page, made.ndjson(RECORDS[:upto]))
    pending = page.locator(tokens("pending")).first
    pending.wait_for()
    assert pending.locator(".e-mark").evaluate("n => getComputedStyle(n).outlineStyle") == "dashed"
    assert state(page)["phase"] == "running"


def test_hostile_text_stays_text(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-lane-eesd .e-text", "<img src=x onerror=window.__x=1>")
    wait_for_text(page, ".e-lane-vanilla .e-text", "</script><script>window.__x=1</script>")
    wait_for_text(page, ".e-lane-eesd .e-text", "{{7*7}}")
    assert page.evaluate("window.__x") is None
    assert page.locator(".eesd img").count() == 0
    isolated = page.locator(".e-lane-vanilla .e-tok", has_text="\u202e").evaluate("n => getComputedStyle(n).unicodeBidi")
    assert isolated == "isolate"


def test_newlines_break_and_the_end_is_a_chip(page):
    feed(page, TEXT)
    newline = page.locator(".e-lane-vanilla .e-newline").first
    newline.wait_for(state="attached")
    heights = newline.evaluate("n => [n.nextSibling, n.previousSibling].map(s => s.getBoundingClientRect().bottom)")
    assert heights[0] > heights[1]
    wait_for_text(page, ".e-lane-vanilla .e-chip", "end of text")


def test_verdict_speedup_and_one_announcement(page):
    feed(page, TEXT)
    words = "identical: all 128 tokens, exact by construction"
    wait_for_text(page, ".e-status-text", words)
    wait_for_text(page, ".e-speedup", "x against this engine without drafts")
    wait_for_text(page, ".e-race [role=status]", words)
    assert state(page)["verdict"] == words


def test_a_fork_is_told_with_its_margin(page):
    verdict = {"position": 37, "margin": 0.0123, "vanilla_id": 1, "eesd_id": 2}
    last = RECORDS[-1].to_json() | {"identical": False, "level": "fork", "first_difference": verdict}
    feed(page, made.ndjson(RECORDS[:-1]) + json.dumps(last) + "\n")
    wait_for_text(page, ".e-status-text", "differs at token 38, margin 0.0123")


def test_a_new_run_starts_afresh(page):
    feed(page, TEXT)
    other = made.trace(tokens=24, run="run-2", seed=11)
    feed(page, made.ndjson(other))
    wait_for_text(page, ".e-status-text", "all 24 tokens")
    assert state(page)["counts"] == made.expected_counts(other)
    feed(page, "")
    page.locator(".e-intro").wait_for()
    assert state(page)["phase"] == "idle"


def test_queue_notice_stop_and_error(page):
    text = made.line(type="queue", place=2, waiting=2, seconds=11.2)
    feed(page, text)
    wait_for_text(page, ".e-intro-line", "waiting for the device: place 2, about 12 s")
    text += made.line(type="queue", place=1, waiting=1, seconds=0)
    feed(page, text)
    expect(page.locator(".e-intro-line")).to_have_text("waiting for the device: place 1")  # how long nobody knows
    text += made.line(type="queue", place=0, waiting=0, seconds=0)
    feed(page, text)
    wait_for_text(page, ".e-intro-line", "preparing...")
    stopped = RECORDS[10].to_json() | {"type": "run_cancelled", "new_tokens": 3}
    text += made.ndjson(RECORDS[:10]) + json.dumps(stopped) + "\n"
    feed(page, text)
    wait_for_text(page, ".e-status-text", "stopped by you")
    text += made.line(type="error", message="The device is <b>gone</b>. Try again.")
    feed(page, text)
    wait_for_text(page, "[role=alert]", "The device is <b>gone</b>. Try again.")


def test_stopped_is_said_before_the_engine_hears_of_it(page):
    text = made.ndjson(RECORDS[:10])
    feed(page, text)
    wait_for_text(page, ".e-status-text", "round 1")
    text += made.line(type="stopped", message="after 120 seconds")
    feed(page, text)
    wait_for_text(page, ".e-status-text", "stopped after 120 seconds")
    assert state(page)["phase"] == "cancelled"


def test_a_dismissed_run_does_not_come_back(page):
    first = made.line(type="queue", run="one", place=0, waiting=0)
    feed(page, first + made.ndjson(RECORDS[:40]))
    wait_for_text(page, ".e-status-text", "round")
    page.evaluate("view.dismiss()")
    feed(page, first + TEXT)
    page.locator(".e-intro").wait_for()
    assert state(page)["phase"] == "idle"
    feed(page, made.line(type="queue", run="two", place=0, waiting=0) + TEXT)
    wait_for_text(page, ".e-status-text", "identical")


def test_a_broken_line_is_one_clear_error(page):
    feed(page, "{not json}\n")
    wait_for_text(page, "[role=alert]", "Line 1 of the trace cannot be read")
    assert page.locator(".e-intro").is_visible()


def test_tooltip_by_keyboard(page):
    feed(page, TEXT)
    stop = page.locator('.e-lane-eesd .e-tok[tabindex="0"]')
    stop.focus()
    wait_for_text(page, ".e-tip", "target probability")
    page.keyboard.press("ArrowRight")
    wait_for_text(page, ".e-tip", "position4")
    assert page.locator('.e-lane-eesd .e-tok[tabindex="0"]').count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == page.locator(".e-tip").get_attribute("id")
    page.keyboard.press("End")
    wait_for_text(page, ".e-tip", "<|endoftext|>")
    page.keyboard.press("Escape")
    page.locator(".e-tip").wait_for(state="hidden")


def test_rejected_drafts_can_be_hidden(page):
    feed(page, TEXT)
    page.get_by_label("hide rejected drafts").check()
    assert not page.locator(tokens("rejected")).first.is_visible()
    assert page.locator(tokens("correction")).first.is_visible()


def test_the_final_text_is_large_and_rounds_are_parted(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    style = "(selector, of, part) => getComputedStyle(document.querySelector(`.e-lane-eesd .e-text > .e-${selector}`), part)[of]"
    sizes = {kind: page.evaluate(f"kind => parseFloat(({style})(kind, 'fontSize'))", kind) for kind in SHAPES}
    assert sizes["rejected"] == sizes["untested"] < 0.9 * sizes["accepted"]
    assert sizes["accepted"] == sizes["correction"] == sizes["bonus"]
    seams = {kind: page.evaluate(f"kind => ({style})(kind, 'borderRightWidth', '::after')", kind) for kind in SHAPES}
    assert [kind for kind, width in seams.items() if width == "1px"] == ["correction", "bonus"]


def test_scrolling_up_stops_following(page):
    feed(page, made.ndjson(RECORDS[: len(RECORDS) * 2 // 3]))
    box = page.locator(".e-lane-eesd .e-text")
    page.wait_for_function("(() => { const b = document.querySelector('.e-lane-eesd .e-text'); return b.scrollTop > 40 })()")
    box.hover()
    page.mouse.wheel(0, -4000)
    page.wait_for_function("document.querySelector('.e-lane-eesd .e-text').scrollTop === 0")
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    assert box.evaluate("b => b.scrollTop") == 0


def test_decisions_and_charts_speak(page):
    feed(page, TEXT)
    decision = page.locator(".e-decisions li").last
    decision.wait_for()
    assert "theta" in decision.text_content() and "chi" in decision.text_content()
    for name in ("why", "lengths", "clock"):
        page.locator(f".e-chart-{name} .plot-container").wait_for()
    assert "Belief Beta(" in page.locator(".e-chart-why").get_attribute("aria-label")
    assert "EESD" in page.locator(".e-chart-clock").get_attribute("aria-label")
    assert page.evaluate("EESD.modules['lib/beta.js'].betaCurve({alpha: 1e6, beta: 3e5}).y.every(Number.isFinite)")


def test_what_ended_a_round_is_named_where_the_coin_said_go_on(page):
    """And behind the end of the text nothing could have paid."""
    said = page.evaluate("""() => ["limit", "length", "eos", "stop", "controller"].map((reason) => {
        const posterior = { alpha: 1, beta: 1 }, terms = { theta: 0.9, chi: reason === "controller" ? 0 : 1, u: 0.5 };
        const outcome = { accepted: 1, drafted: 1, next_kind: "none", verify_seconds: 0.1, draft_seconds: 0.1 };
        const tokens = [{ state: "accepted", draft: 0.5, entropy: 1, target: 0.5, margin: 1 }];
        const round = { tokens, drafts: [{}], decisions: [{ go: false, terms }], stop: reason, posterior, learned: posterior, outcome };
        const { why, steps } = EESD.modules['lib/explain.js'].explain({ settings: { temperature: 0 } }, round);
        return [why, steps[2].rows[0].text];
    })""")
    assert [row.rpartition(", ")[2] for _, row in said] == ["at limit", "text full", "text ends", "stop string", "stop"]
    assert ["one more might have paid" in why for why, _ in said] == [True, False, False, False, True]


@pytest.mark.parametrize("reason", ["limit", "length"])
def test_the_coin_alone_is_named_where_it_said_stop_and_there_was_no_room_either(page, reason):
    before, said_stop, _ = TEXT.partition('"reason": "controller"')
    feed(page, before + said_stop.replace("controller", reason) + "}\n")
    wait_for_text(page, ".e-decisions li:last-child", "chi 0: stop")
    expect(page.locator(".e-headline")).to_have_text(re.compile(r"drafts?, the controller said stop$"))
    expect(page.locator(".e-microscope")).to_contain_text("So the coin said stop.")
    expect(page.locator(".e-microscope")).to_contain_text("The controller said stop.")


def test_a_fixed_length_has_a_note_instead_of_a_curve(page):
    feed(page, made.ndjson(made.trace(tokens=40, controller="fixed")))
    wait_for_text(page, ".e-note", "Fixed draft length: 4 tokens")
    assert page.locator(".e-chart-why").is_hidden()


def test_without_plotly_a_note_stands_in(open_page, tmp_path):
    page = open_page(write_page(tmp_path, charts=False))
    feed(page, TEXT)
    wait_for_text(page, ".e-chart-clock", "No chart: plotly.js is not loaded")
    wait_for_text(page, ".e-status-text", "identical")


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const over = (...layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const c of layers) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const panel = getComputedStyle(document.querySelector('.e-race')).backgroundColor;
  const nodes = document.querySelectorAll('.e-lane .e-mark, .e-lane .e-prompt, .e-metric, .e-status, .e-key');
  return Math.min(...[...nodes].map(node => {
    const style = getComputedStyle(node);
    const [a, b] = [over(panel, style.backgroundColor, style.color), over(panel, style.backgroundColor)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


def test_contrast_in_both_themes(open_page, url):
    page = open_page(url, reduced_motion="reduce")
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    assert page.evaluate(CONTRAST) >= 4.5
    ticks = "getComputedStyle(document.querySelector('.e-chart-clock .xtick text')).fill"
    page.locator(".e-chart-clock .xtick text").first.wait_for()
    light = page.evaluate(ticks)
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"{ticks} !== {json.dumps(light)}")
    assert page.evaluate(CONTRAST) >= 4.5


def test_a_phone_needs_no_sideways_scroll(open_page, url):
    page = open_page(url, width=390, height=844, has_touch=True)
    assert no_sideways_scroll(page)
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    page.locator(".e-chart-clock .plot-container").wait_for()
    assert no_sideways_scroll(page)
    page.locator(tokens("bonus")).last.tap()
    wait_for_text(page, ".e-tip", "bonus from the target")


def test_the_stage_fits_a_laptop(page):
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")
    top, clock = page.locator(".e-stage").bounding_box(), page.locator("section.e-clock").bounding_box()
    assert clock["y"] + clock["height"] - top["y"] <= 636  # what the form above it leaves of 800 pixels


def test_a_thousand_tokens_keep_up(page):
    long = made.ndjson(made.trace(tokens=1000, run="long"))
    step = len(long) // 200
    spent = page.evaluate(
        """async ([text, step]) => {
            const frame = () => new Promise(requestAnimationFrame);
            let longest = 0;
            for (let end = step; end < text.length + step; end += step) {
                view.feed(text.slice(0, end));
                const start = performance.now();
                await frame();
                longest = Math.max(longest, performance.now() - start);
            }
            return longest;
        }""",
        [long, step],
    )
    assert spent < 2000  # generous: a shared machine; a stall would be far longer
    wait_for_text(page, ".e-status-text", "all 1000 tokens")


def test_a_hidden_tab_keeps_up_without_frames(page):
    page.evaluate("""() => {
        Object.defineProperty(document, 'hidden', {get: () => true});
        window.requestAnimationFrame = () => 0;
    }""")
    feed(page, TEXT)
    wait_for_text(page, ".e-status-text", "identical")


def test_everything_is_small():
    files = [path for path in WEB.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 516_000
    assert all(len(path.read_text("utf-8").splitlines()) <= 350 for path in files)
    lines = [(path.name, line) for path in WEB.rglob("*.js") for line in path.read_text("utf-8").splitlines()]
    assert not [(name, line) for name, line in lines if len(line) > 160]

"""The whole app in a real browser: a tiny random model behind the page that visitors see."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import tiny_model
import torch
from gradio_client import Client
from hostile import hostile
from playwright.sync_api import expect

from app.form import FIELDS
from app.page import OPENING, launch
from app.settings import Limits
from app.visit import Visits
from eesd_core.engine import Engine
from eesd_core.events import TokensCommitted
from eesd_core.export import open_trace
from eesd_core.loading import load_engine
from eesd_core.recording import processor

HOSTILE = [
    "<img src=x onerror=window.__x=1>",
    "${window.__x=1}",
    "{{window.__x=1}}",
    "</script><script>window.__x=1</script>",
    "`${window.__x=1}`\\u0024{1+1}",
]
LONG = 512  # tokens: a run of seconds, to be stopped


class PacedEngine(Engine):
    """An engine that rests after every round, on nobody's clock, so that a run lasts long enough to be stopped."""

    rest = 0.0

    def run(self, *args, **options):
        for record in super().run(*args, **options):
            yield record
            if isinstance(record.event, TokensCommitted):
                time.sleep(self.rest)


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.save(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other in a model this small, above all on a busy machine
    loaded = load_engine(str(folder), None, "cpu", "float32")
    yield PacedEngine(loaded.target, loaded.exit_layer, loaded.level)
    torch.set_num_threads(threads)


@pytest.fixture
def slowly(engine):
    engine.rest = 0.01
    yield
    engine.rest = 0.0


@pytest.fixture(scope="session")
def app(engine):
    visits = Visits(engine, Limits(runs_a_minute=10_000))
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    yield visits, page.local_url
    page.close()


@pytest.fixture
def device(app):
    """Free before and after every test."""
    visits, _ = app
    until_free(visits.device)
    yield visits.device
    until_free(visits.device)


@pytest.fixture
def visit(open_page, app, device):
    """visit(width, height, query) -> a page that is ready."""

    def visit(width: int = 1280, height: int = 800, query: str = "?__theme=light", **options):
        page = open_page(app[1] + query, width, height, **options)
        for part in (".e-stage", "#run", "#reset"):  # Gradio mounts its components one after the other
            page.locator(part).wait_for()
        return page

    return visit


def until_free(device, seconds: float = 10.0) -> float:
    began = time.monotonic()
    while device.waiting():
        assert time.monotonic() - began < seconds, "the device is still held"
        time.sleep(0.005)
    return time.monotonic() - began


def settings(page, **values) -> None:
    """Open the settings and fill them in. Names are the elements' ids."""
    if not page.locator("#seed").is_visible():
        page.locator("#settings .label-wrap").click()
        page.locator("#seed").wait_for()
    for name, value in values.items():
        if name == "controller":
            page.locator("#controller").get_by_label(value).check()
        else:
            page.locator(f"#{name.replace('_', '-')} :is(input, textarea)").fill(value)


FIRST_LINE = "EESD.page.view.stream.consumed.split('\\n', 1)[0]"  # names the run that is on the page


def run(page, prompt: str | None = None) -> None:
    """Press Run, and wait until the new run is on the page."""
    if prompt is not None:
        page.locator("#prompt textarea").fill(prompt)
    before = page.evaluate(FIRST_LINE)
    page.locator("#run").click()
    page.wait_for_function(f"before => ![before, ''].includes({FIRST_LINE})", arg=before)


def reach(page, phase: str) -> None:
    expect(page.locator(".eesd")).to_have_attribute("data-phase", phase, timeout=20_000)


def state(page) -> dict:
    return page.evaluate("EESD.page.view.state")


def alert(page):
    return page.locator(".eesd [role=alert]")


def seconds_to_stop(page, how: str = "document.getElementById('stop').click()") -> float:
    """From the press to the moment the page says so, on the page's own clock."""
    return page.evaluate(f"""async () => {{
        const began = performance.now();
        {how};
        while (EESD.page.view.root.dataset.phase !== 'cancelled') {{
            if (performance.now() - began > 5000) break;
            await new Promise((next) => setTimeout(next, 5));
        }}
        return (performance.now() - began) / 1000;
    }}""")


def no_sideways_scroll(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


# ---- runs ----


def test_a_run_to_its_verdict(visit):
    page = visit()
    run(page)
    reach(page, "finished")
    now = state(page)
    assert now["tokens"] == {"eesd": 128, "vanilla": 128}
    assert now["texts"]["eesd"] == now["texts"]["vanilla"] != ""
    assert now["verdict"].startswith("identical: all 128 tokens")
    assert now["counts"]["accepted"] > 0 and now["counts"]["correction"] > 0
    page.locator(".e-chart-clock .plot-container").wait_for()
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()


def test_settings_reach_the_engine(visit):
    page = visit()
    settings(page, temperature="0", new_tokens="40", controller="fixed", length="0")
    run(page)
    reach(page, "finished")
    greedy = state(page)
    assert greedy["counts"]["accepted"] == greedy["counts"]["rejected"] == 0
    assert greedy["tokens"]["eesd"] == 40 == greedy["rounds"]
    settings(page, seed="8", length="3")
    run(page)
    expect(page.locator(".e-note")).to_contain_text("3 tokens in every round")
    reach(page, "finished")
    again = state(page)
    assert again["texts"]["eesd"] == greedy["texts"]["eesd"]  # without noise the seed does not matter
    assert again["counts"]["accepted"] + again["counts"]["rejected"] > 0


def test_the_seed_matters_and_repeats(visit):
    page = visit()
    texts = []
    for seed in ("1", "2", "1"):
        settings(page, seed=seed, new_tokens="24")
        run(page)
        reach(page, "finished")
        texts.append(state(page)["texts"]["eesd"])
    assert texts[0] == texts[2] != texts[1]


def test_run_pressed_twice_is_one_run(visit, device, slowly):
    page = visit()
    page.locator("#run").dblclick()
    reach(page, "running")
    assert device.waiting() == 1
    expect(page.locator("#run")).to_be_disabled()
    reach(page, "finished")


def test_keys_run_and_stop(visit, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    page.locator("#prompt textarea").press("Control+Enter")
    reach(page, "running")
    assert page.locator("#prompt textarea").input_value().endswith("so clever that")
    page.keyboard.press("Escape")
    reach(page, "cancelled")


def test_escape_closes_an_open_list_and_does_not_stop(visit, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    run(page)
    reach(page, "running")
    page.locator("#examples input").click()
    page.locator("#examples [role=option]").first.wait_for()
    page.locator("#examples input").press("Escape")
    expect(page.locator("#examples [role=option]")).to_have_count(0)
    assert state(page)["phase"] == "running"
    page.locator("#prompt textarea").press("Escape")
    reach(page, "cancelled")


def test_an_example_fills_the_prompt(visit):
    page = visit()
    page.locator("#examples input").click()
    page.get_by_role("option", name="The storm").click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^The wind had been rising"))


# ---- stop, reset, leave ----


def test_stop_in_the_middle(visit, device, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    times = []
    for _ in range(3):  # the fastest counts: other work on the machine only adds
        run(page)
        page.locator(".e-lane-eesd .e-accepted").first.wait_for()
        times.append(seconds_to_stop(page))
        assert until_free(device) < 0.5
        expect(page.locator("#run")).to_be_enabled()
    assert min(times) < 0.25, times
    expect(page.locator(".e-status-text")).to_have_text("stopped by you")
    assert 0 < state(page)["tokens"]["eesd"] < LONG
    run(page)
    reach(page, "running")
    seconds_to_stop(page)


def test_stop_before_the_first_token(visit, device, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    times = []
    for _ in range(3):
        page.locator("#run").click()
        page.wait_for_function("!document.getElementById('stop').disabled")
        times.append(seconds_to_stop(page))
        assert until_free(device) < 0.5
        expect(page.locator("#run")).to_be_enabled()
    assert min(times) < 0.25, times


def test_reset_ends_the_run_and_restores_the_form(visit, device, slowly):
    page = visit()
    prompt = page.locator("#prompt textarea").input_value()
    settings(page, new_tokens=str(LONG), controller="fixed", seed="99")
    run(page, "Something else")
    reach(page, "running")
    page.locator("#reset").click()
    reach(page, "idle")
    expect(page.locator(".e-intro")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value(prompt)
    expect(page.locator("#seed textarea")).to_have_value("7")
    expect(page.locator("#run")).to_be_enabled()
    until_free(device)
    assert state(page)["phase"] == "idle"  # nothing of the stopped run came back
    settings(page, new_tokens="16")
    run(page)
    reach(page, "finished")


def test_a_run_right_after_reset_is_not_stopped(visit):
    page = visit()
    page.evaluate("""() => {
        document.getElementById('reset').click();
        document.getElementById('run').click();
    }""")
    reach(page, "finished")


def test_closing_the_tab_frees_the_device(visit, device, slowly):
    page = visit()
    settings(page, new_tokens=str(LONG))
    run(page)
    reach(page, "running")
    assert device.waiting() == 1
    page.close()
    assert until_free(device) < 2


# ---- two visitors ----


def test_two_visitors_take_turns(visit, device, slowly):
    first, second = visit(), visit()
    settings(first, new_tokens="128", seed="1")
    settings(second, new_tokens="32", seed="2")
    run(first, "The first")
    reach(first, "running")
    run(second, "The second")
    expect(second.locator(".e-status-text")).to_contain_text("waiting for the device: place 1")
    reach(first, "finished")
    reach(second, "finished")
    assert state(first)["tokens"]["eesd"] == 128 and state(second)["tokens"]["eesd"] == 32
    assert first.evaluate("EESD.page.view.run.lanes.eesd.prompt") == "The first"
    assert second.evaluate("EESD.page.view.run.lanes.eesd.prompt") == "The second"


def test_stop_while_waiting_in_line_leaves_the_other_alone(visit, device, slowly):
    first, second = visit(), visit()
    settings(first, new_tokens=str(LONG))
    run(first)
    reach(first, "running")
    run(second)
    expect(second.locator(".e-status-text")).to_contain_text("place 1")
    took = seconds_to_stop(second)
    assert device.waiting() == 1
    assert took < 0.5
    expect(second.locator(".e-intro-line")).to_have_text("stopped by you")
    assert state(first)["phase"] == "running"
    seconds_to_stop(first)


# ---- bad and hostile input ----


BAD = [  # prompt, settings, what the page says
    ("", {}, "the prompt is empty"),
    ("   ", {}, "the prompt is empty"),
    ("x" * 100_000, {}, "the prompt has 100,000 characters: shorten it to 4,000"),
    ("x" * 3900, {"new_tokens": "512"}, "exceed the context of 4096"),
    (None, {"seed": "abc"}, "seed must be a whole number from 0 to"),
    (None, {"seed": ""}, "not empty"),
    (None, {"new_tokens": "-3"}, "new tokens must be a whole number from 1 to 512, not -3"),
    (None, {"new_tokens": ""}, "new tokens must be a whole number from 1 to 512, not empty"),
    (None, {"temperature": "9"}, "temperature must be a number from 0 to 2, not 9"),
    (None, {"top_p": "0"}, "top-p must be a number from 0.01 to 1, not 0"),
    (None, {"alpha": "0"}, "the prior's alpha must be a number from 0.001 to"),
    (None, {"controller": "fixed", "length": "2.5"}, "draft length must be a whole number from 0 to 15, not 2.5"),
]


def test_bad_input_is_one_clear_line_and_the_next_run_works(visit):
    page = visit()
    for prompt, values, line in BAD:
        settings(page, **values)
        run(page, prompt)
        expect(alert(page)).to_contain_text(line)
        expect(page.locator("#run")).to_be_enabled()
        page.locator("#reset").click()
        expect(alert(page)).to_be_hidden()
        expect(page.locator("#new-tokens input")).to_have_value("128")
        settings(page, new_tokens="8")
        run(page)
        reach(page, "finished")


def test_hostile_prompts_are_text(visit):
    page = visit()
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    settings(page, new_tokens="8")
    for prompt in HOSTILE:
        run(page, prompt)
        expect(page.locator(".e-lane-eesd .e-prompt")).to_have_text(prompt)
        reach(page, "finished")
        assert page.locator(".eesd :is(img, script)").count() == 0
    assert page.evaluate("window.__x") is None and not dialogs


def test_the_stream_refuses_in_words_whatever_is_sent(app, device):
    client = Client(app[1], verbose=False)
    good = {field.name: field.value for field in FIELDS} | {"prompt": "Once", "new_tokens": 8}

    def stream(**change) -> str:
        try:
            return client.predict(*(good | change).values(), api_name="/stream")
        except Exception as refused:  # by Gradio, before our own checks
            return str(refused)

    assert '"race_finished"' in stream()
    bad = [
        {"prompt": None}, {"temperature": None}, {"temperature": -1}, {"top_p": 7}, {"seed": None}, {"seed": "٣"}, {"seed": "9" * 5000},
        {"new_tokens": 1e9}, {"new_tokens": 1.5}, {"new_tokens": "many"}, {"controller": "magic"}, {"controller": None}, {"alpha": 0},
        {"controller": "fixed", "length": 99}, {"top_k": -1}, {"acceptance": "luck"}, {"chat": "yes"}, {"draw": 1},
    ]  # fmt: skip
    for change in bad:
        answer = stream(**change)
        assert "race_finished" not in answer and "Traceback" not in answer, change
    assert '"race_finished"' in stream()


# ---- links, and what is taken away ----


LINK = "EESD.page.behind.link()"


def test_a_link_holds_the_form_and_needs_nothing_of_the_server(visit):
    page = visit(query="?prompt=Hello%20%3Cb%3E&seed=99&controller=ucb&width=2&temperature=0.5&chat=1&acceptance=rejection")
    expect(page.locator("#prompt textarea")).to_have_value("Hello <b>")
    settings(page)
    expect(page.locator("#seed textarea")).to_have_value("99")
    expect(page.locator("#width input")).to_have_value("2")
    expect(page.locator("#alpha")).to_be_hidden()
    link = page.evaluate(LINK)
    assert "seed=99" in link and "controller=ucb" in link and "alpha" not in link
    again = visit(query="?" + link.split("?", 1)[1])
    expect(again.locator("#prompt textarea")).to_have_value("Hello <b>")
    assert again.evaluate(LINK) == link
    settings(again, seed="100")
    again.wait_for_function(f"{LINK}.includes('seed=100')")
    assert again.locator("#prompt :is(b, img)").count() == 0


def test_what_a_link_cannot_ask_for_is_left_out_and_said(visit):
    page = visit(query="?temperature=9&seed=abc&controller=magic&chat=perhaps&new_tokens=99999&prompt=" + "x" * 4001)
    expect(page.locator(".t-line")).to_contain_text("prompt, temperature, seed, new_tokens, chat, controller")
    assert "seed=7&" in page.evaluate(LINK)
    assert page.locator("#prompt textarea").input_value().startswith("Once upon a time")


def test_hostile_links_give_a_value_in_bounds_or_nothing(visit):
    page = visit()
    texts = [text.encode("utf-8", "replace").decode() for text in hostile()]
    fields = {field.name: field for field in FIELDS}
    for values in page.evaluate(
        """texts => texts.map((text) => {
            const search = new URLSearchParams(EESD.page.form.map(({ name }) => [name, text])).toString();
            return EESD.link.read(EESD.page.form, search).values.map((value) => value ?? null);
        })""",
        texts,
    ):
        for field, value in zip(fields.values(), values):
            if value is None:
                continue
            assert field.kind != "text" or len(value) <= field.high
            assert field.kind != "choice" or value in field.choices
            assert field.kind not in ("number", "whole") or field.low <= float(value) <= field.high
    assert page.evaluate("window.__x") is None


def test_a_live_run_is_taken_away_as_one_file_that_opens_offline(visit, browser, tmp_path):
    page = visit()
    settings(page, new_tokens="24")
    run(page, "Hello <img src=x onerror=window.__x=1>")
    reach(page, "finished")
    expect(page.locator(".w-own")).to_contain_text("this run")
    with page.expect_download() as download:
        page.locator(".t-html").click()
    file = tmp_path / "run.html"
    download.value.save_as(file)
    offline = browser.new_context(offline=True)
    copy = offline.new_page()
    copy.goto(file.as_uri())
    reach(copy, "finished")
    assert copy.evaluate("EESD.view.state.texts") == state(page)["texts"]
    assert copy.evaluate("window.__x") is None
    expect(copy.locator(".s-title")).to_contain_text(processor())
    offline.close()


def test_a_trace_saved_on_the_page_opens_again_as_recorded(visit, tmp_path):
    page = visit()
    settings(page, new_tokens="16")
    run(page)
    reach(page, "finished")
    text = state(page)["texts"]["eesd"]
    with page.expect_download() as download:
        page.locator(".t-trace").click()
    file = tmp_path / "run.ndjson"
    download.value.save_as(file)
    assert open_trace(file).head["machine"] == processor()
    page.reload()
    page.locator(".t-panel input[type=file]").set_input_files(file)
    expect(page.locator(".t-line")).to_contain_text("showing run.ndjson")
    expect(page.locator(".eesd-mode.eesd-recorded")).to_be_visible()
    reach(page, "finished")
    assert state(page)["texts"]["eesd"] == text


def test_a_code_for_the_link_is_drawn(visit):
    page = visit()
    page.locator(".t-qr").click()
    page.wait_for_function("document.querySelector('img.t-qr').naturalWidth > 0")
    expect(page.locator(".t-text")).to_contain_text("seed=7")


# ---- the recorded race ----


def test_the_page_opens_on_a_recorded_race_and_run_makes_it_live(visit):
    page = visit()
    recorded, live = page.locator(".eesd-mode.eesd-recorded"), page.locator(".eesd-mode.eesd-live")
    expect(recorded).to_be_visible()
    expect(live).to_be_hidden()
    head, *_, verdict = map(json.loads, OPENING.read_text("ascii").splitlines())
    for fact in (head["machine"], head["date"]):
        expect(page.locator(".eesd-title")).to_contain_text(fact)
    reach(page, "finished")
    assert abs(page.evaluate("EESD.page.view.player.time") - verdict["t"]) < 1e-6
    settings(page, new_tokens="16")
    run(page)
    expect(live).to_be_visible()
    expect(recorded).to_be_hidden()
    reach(page, "finished")
    assert state(page)["tokens"]["eesd"] == 16


@pytest.mark.parametrize(("query", "options"), [("?paused=1", {}), ("?", {"reduced_motion": "reduce"})])
def test_nothing_moves_if_asked(visit, query, options):
    page = visit(query=query, **options)
    reach(page, "running" if "paused" in query else "finished")
    assert not page.evaluate("EESD.page.view.player.playing")
    assert (state(page)["tokens"]["eesd"] == 0) == ("paused" in query)


def test_typing_a_prompt_moves_no_playhead(visit):
    page = visit(query="?paused=1")
    page.locator("#prompt textarea").fill("")
    page.locator("#prompt textarea").press_sequentially("fix a ?. r,")
    assert state(page)["tokens"]["eesd"] == 0 and not page.evaluate("EESD.page.view.player.playing")
    page.locator("#prompt textarea").blur()
    page.keyboard.press("ArrowRight")
    assert state(page)["tokens"]["eesd"] > 0


# ---- rendered on the server too ----


def node_is_new_enough() -> bool:
    node = shutil.which(os.environ.get("GRADIO_NODE_PATH", "node"))
    return bool(node) and int(subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip("v\n").split(".")[0]) >= 24


@pytest.mark.skipif(not node_is_new_enough(), reason="rendering on the server needs Node 24: install it or set GRADIO_NODE_PATH")
def test_rendered_on_the_server_too(engine, open_page):
    page = launch(visits := Visits(engine), ssr_mode=True, prevent_thread_lock=True, quiet=True)
    try:
        browser_page = open_page(page.local_url + "?seed=5", 1280, 800)
        browser_page.locator(".e-stage").wait_for()
        browser_page.wait_for_function("EESD.page.address.includes('seed=5')")
        run(browser_page)
        reach(browser_page, "finished")
        for path in ("health", "offline.txt", "qr.svg?link=http://x"):
            assert browser_page.request.get(f"{page.local_url}gradio_api/eesd/{path}").ok
        browser_page.close()
        until_free(visits.device)
    finally:
        page.close()


# ---- looks ----


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_is_in_sight_on_a_laptop(visit, theme):
    page = visit(query=f"?__theme={theme}")
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    run(page)
    reach(page, "finished")
    lanes = ".e-lane-eesd .e-text", ".e-lane-vanilla .e-text"
    parts = ".eesd-title", "#prompt", "#run", "#stop", *lanes, ".e-why", ".e-scrub", ".e-slider", ".e-chart-clock"
    for part in parts:
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800, part
    assert no_sideways_scroll(page)


def test_the_theme_button_turns_the_lights_and_the_address_keeps_it(visit):
    page = visit()
    page.get_by_role("button", name="light or dark").click()
    assert page.evaluate("document.body.classList.contains('dark')")
    assert "__theme=dark" in page.url
    page.reload()
    page.locator(".e-stage").wait_for()
    assert page.evaluate("document.body.classList.contains('dark')")


def test_the_exactness_chip_explains_itself(visit, engine):
    page = visit()
    page.locator("#reset").click()  # it is about live runs
    chip = page.locator(".eesd-level")
    expect(page.locator(".eesd-hint")).to_be_hidden()
    chip.focus()
    expect(page.locator(".eesd-hint")).to_be_visible()
    expect(chip).to_contain_text(engine.level.replace("-", " "))


def test_a_phone_shows_run_at_once_and_needs_no_sideways_scroll(visit):
    page = visit(390, 844, has_touch=True)
    assert no_sideways_scroll(page)
    prompt, button = page.locator("#prompt").bounding_box(), page.locator("#run").bounding_box()
    assert 0 < button["y"] - (prompt["y"] + prompt["height"]) < 40
    settings(page, new_tokens="32")
    assert no_sideways_scroll(page)
    page.locator("#run").tap()
    reach(page, "finished")
    assert no_sideways_scroll(page)


def test_focus_is_visible_and_only_the_controllers_own_settings_show(visit):
    page = visit()
    page.locator("#prompt textarea").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    assert page.locator("#run").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    settings(page)
    expect(page.locator("#alpha")).to_be_visible()
    expect(page.locator("#length")).to_be_hidden()
    settings(page, controller="fixed")
    expect(page.locator("#alpha")).to_be_hidden()
    expect(page.locator("#length")).to_be_visible()


def test_the_page_loads_nothing_from_elsewhere(browser, app):
    context = browser.new_context()
    page = context.new_page()
    elsewhere = []
    page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith((app[1], "data:", "blob:")) else None)
    page.goto(app[1])
    page.locator(".e-stage").wait_for()
    page.wait_for_function("window.Plotly")
    context.close()
    assert not elsewhere


def test_no_renderer_file_closes_a_script_early():
    web = Path(__file__).parents[2] / "assets" / "web"
    assert not any("</script" in path.read_text("utf-8") for path in web.glob("*.js"))

"""What visitors send: bad values are one clear line, hostile text stays text."""

import pytest
from app_page import FIRST_LINE, alert, reach, run, settings, state
from gradio_client import Client
from playwright.sync_api import expect

from app.form import FIELDS

pytestmark = pytest.mark.usefixtures("without_charts")
HOSTILE = [
    "<img src=x onerror=window.__x=1>",
    "${window.__x=1}",
    "{{window.__x=1}}",
    "</script><script>window.__x=1</script>",
    "`${window.__x=1}`\\u0024{1+1}",
]
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
    (None, {"alpha": "0"}, "the prior's alpha must be a number from 0.01 to"),
    (None, {"controller": "fixed", "length": "2.5"}, "draft length must be a whole number from 0 to 15, not 2.5"),
]


def test_bad_input_is_one_clear_line_and_the_next_run_works(visit):
    page = visit()
    for prompt, values, line in BAD:
        settings(page, **values)
        if prompt is not None:
            page.locator("#prompt textarea").fill(prompt)
        page.locator("#run").click()
        expect(alert(page)).to_contain_text(line)
        expect(page.locator("#run")).to_be_enabled()
        page.locator("#reset").click()
        expect(alert(page)).to_be_hidden()
        expect(page.locator("#new-tokens input")).to_have_value("128")
        settings(page, new_tokens="8")
        run(page)
        reach(page, "finished")


def test_a_refused_run_leaves_the_one_on_the_page(visit):
    page = visit()
    settings(page, new_tokens="8")
    run(page)
    reach(page, "finished")
    text, address = state(page)["texts"], page.evaluate(FIRST_LINE)
    for _ in range(2):
        settings(page, temperature="9")
        page.locator("#run").click()
        expect(alert(page)).to_contain_text("temperature must be")
        expect(page.locator("#run")).to_be_enabled()
        assert state(page)["texts"] == text and page.evaluate(FIRST_LINE) == address
        expect(page.locator(".e-lane-eesd .e-text")).to_be_visible()
    settings(page, temperature="0.8")
    run(page)
    reach(page, "finished")
    expect(alert(page)).to_be_hidden()


def test_on_a_phone_the_reason_is_in_sight_below_a_long_form(visit):
    page = visit(390, 844)
    settings(page, temperature="9")
    page.locator("#run").click()
    expect(alert(page)).to_be_in_viewport(ratio=1)


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

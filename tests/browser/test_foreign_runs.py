"""Another program's run on the page: what it said is drawn, what it did not say is not, and what cannot be is refused."""

import json

from app_page import until_still
from playwright.sync_api import expect
from replies import LLAMA, VLLM, WRONG, changed

from eesd_core.errors import UserError
from eesd_core.export import export
from eesd_core.foreign.read import read_foreign
from eesd_core.foreign.told import Told, records_of
from eesd_core.trace import parse_trace, to_line

ROUNDS = [(4, 0), (4, 2), (4, 4), (3, 1)]
SAID = Told(
    "vLLM <b>", 12, "a model", 9, text="Once upon <img src=x onerror=window.__x=1> a time.", rounds=ROUNDS, seconds=0.5, reason="stop"
)


def test_it_is_drawn_and_taken_away(open_page, tmp_path):
    lines = list(map(to_line, records_of([SAID])))
    timed = {"type": "round_told", "run": "foreign", "lane": "eesd", "row": 0, "seq": 5, "t": 0.25, "round": 4}
    timed |= {"drafted": 2, "accepted": 2, "ids": [5, 6, 7], "text": " And", "seconds": 0.25}
    lines[5:5] = [json.dumps(timed) + "\n"]
    lines = [
        json.dumps(json.loads(line) | {"seq": seq, "t": max(json.loads(line)["t"], 0.25 * (seq > 4))}) + "\n"
        for seq, line in enumerate(lines)
    ]
    trace = parse_trace("".join(lines).encode())
    file = tmp_path / "run.html"
    file.write_text(export(trace, "html"), "utf-8")
    page = open_page("about:blank", 1280, 800, offline=True, reduced_motion="reduce")
    page.goto(file.as_uri())
    page.locator(".e-stage").wait_for()
    until_still(page)
    expect(page.locator(".eesd").first).to_have_attribute("data-phase", "finished")
    expect(page.locator(".e-lane-eesd h3")).to_have_text("vLLM <b>")
    expect(page.locator(".e-lane-eesd .e-text")).to_contain_text("Once upon <img src=x onerror=window.__x=1> a time.")
    expect(page.locator(".e-why-words")).to_have_text("vLLM <b> says: 2 drafts, 2 accepted.")
    lane = page.evaluate("(({ drafted, accepted, written, clock }) => ({ drafted, accepted, written, clock }))(EESD.view.run.lanes.eesd)")
    assert lane == {"drafted": 17, "accepted": 9, "written": 12, "clock": 0.5}
    page.locator(".e-chart-lengths .plot-container").wait_for()
    assert page.evaluate("window.__x ?? null") is None
    script = """text => {
        const { parse } = EESD.modules['lib/trace.js'], exports = EESD.modules['lib/exports.js'], trace = parse(text);
        return ['csv', 'perfetto', 'ndjson'].map((kind) => exports[kind](trace));
    }"""
    made = page.evaluate(script, trace.text)
    assert made[0] == export(trace, "csv") and json.loads(made[1]) == json.loads(export(trace, "perfetto"))
    assert parse_trace(made[2].encode()).records == trace.records

    at = next(i for i, line in enumerate(lines) if '"seconds": 0.25' in line)
    wrong = {"drafted": [257, -1, 1, 1.5, None], "accepted": [3, -1], "ids": [[1] * 4, [None], "x"], "seconds": [-1, "x"], "round": [3, 9]}
    wrong |= {"text": [None, 3], "t": [-1]}
    changes = [json.dumps(json.loads(lines[at]) | {name: value}) for name, values in wrong.items() for value in values]
    texts = ["".join([*lines[:at], line + "\n", *lines[at + 1 :]]) for line in changes]

    def refused(text: str) -> bool:
        try:
            parse_trace(text.encode())
        except UserError:
            return True
        return False

    script = """texts => texts.map((text) => {
        try { EESD.modules['lib/trace.js'].parse(text); return false; } catch { return true; }
    })"""
    ours = list(map(refused, texts))
    assert page.evaluate(script, texts) == ours and ours.count(False) == 1  # a text may be missing


def test_the_browser_reads_responses_as_python_does(open_page, tmp_path):
    """Also "Open a trace" itself."""
    file = tmp_path / "run.html"
    file.write_text(export(parse_trace("".join(map(to_line, records_of([SAID]))).encode()), "html"), "utf-8")
    page = open_page("about:blank", 1280, 800, offline=True, reduced_motion="reduce")
    page.goto(file.as_uri())
    page.locator(".e-stage").wait_for()
    parts = [{"choices": [{"index": 0, "delta": {"content": text}, "token_ids": [7]}], "model": "m"} for text in (" who", " had")]
    parts += [{"choices": [{"delta": {}, "finish_reason": "length"}]}, {"choices": [], "usage": VLLM["usage"], "metrics": VLLM["metrics"]}]
    summary = changed("metrics.speculative_decoding.per_step_accepted", None)
    summary["metrics"]["speculative_decoding"]["per_step_drafted"] = None
    odd = [changed("choices", [{"text": "\u2028</script>", "finish_reason": reason}]) for reason in ([1], {}, "constructor", None, 3)]
    odd += [LLAMA | {"stop_type": [1]}, LLAMA | {"timings": {"predicted_n": 2}}, changed("choices", [{"message": {}, "token_ids": None}])]
    texts = [json.dumps(reply) for reply in (VLLM, LLAMA, summary, *odd, *(changed(*wrong) for wrong in WRONG))]
    texts += [f"{texts[0]}\n{texts[1]}\n", json.dumps([VLLM, LLAMA], indent=1), "[]", "3", '{"timings": 3}', "null", "data: 4", "data: {}"]
    texts.append("".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n")

    def ours(text: str) -> list | None:
        (tmp_path / "reply").write_text(text, "utf-8")
        try:
            return [json.loads(to_line(record)) for record in records_of(read_foreign(tmp_path / "reply"))]
        except UserError:
            return None

    script = """texts => texts.map((text) => {
        try { return EESD.modules['lib/foreign.js'].foreign(text); }
        catch (problem) { return problem.message.includes('\\n') ? 'several lines' : null; }
    })"""
    expected = list(map(ours, texts))
    assert page.evaluate(script, texts) == expected
    assert sum(records is None for records in expected) == len(WRONG) + 6

    (tmp_path / "reply.json").write_text(texts[0])
    page.locator("input[type=file]").set_input_files(tmp_path / "reply.json")
    expect(page.locator(".e-lane-eesd h3")).to_have_text("vLLM")
    expect(page.locator(".e-lane-eesd .e-text")).to_contain_text("who had a son.")
    (tmp_path / "wrong.json").write_text(json.dumps(changed(*WRONG[0])))
    page.locator("input[type=file]").set_input_files(tmp_path / "wrong.json")
    expect(page.locator(".e-takeaway, .e-panel").filter(has_text="num_draft_tokens is not a whole number").first).to_be_visible()
    expect(page.locator(".e-lane-eesd h3")).to_have_text("vLLM")

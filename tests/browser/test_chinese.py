"""The Chinese page has no English sentence left: not in the tables of words, and not on the page."""

import ast
import json
import re
from pathlib import Path

from app_page import reach, run, settings

from app.arrival import Arrival
from app.device import FAILED
from app.form_values import request_from_form
from app.studies import CONTESTANTS, examples_of
from eesd_core.control import CONTROLLERS
from eesd_core.draft.registry import DRAFTERS
from eesd_core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

# Names, keys, formulas and patterns that are the same in both languages.
SAME = {
    "charts.contexts.hover", "charts.law.curve", "charts.law.formula", "keys.list.2.0", "keys.list.4.0", "microscope.draft.token",
    "microscope.draw.belief", "microscope.tree.most", "race.lanes.eesd", "scrubber.times",
    "takeaway.csv.0", "takeaway.paper", "takeaway.perfetto.0", "together.forms.ems",
    *(f"glossary.links.{i}.{j}" for i in range(12) for j in range(2)),
}  # fmt: skip
LEAVES = """() => {
    const leaves = {};
    const walk = (value, path) => {
        if (value && typeof value === 'object')
            for (const [name, inner] of Object.entries(value)) walk(inner, path ? `${path}.${name}` : name);
        else leaves[path] = String(value);
    };
    walk(EESD.modules['lib/words.js'].say, '');
    return leaves;
}"""
LATIN = re.compile(r"[A-Za-z]{2,}")


def test_every_word_is_translated(visit):
    english, chinese = (visit(query=f"?lang={language}&view=live").evaluate(LEAVES) for language in ("en", "zh"))
    same = {path for path, text in english.items() if LATIN.search(text) and chinese[path] == text}
    assert same == SAME, sorted(same ^ SAME)


TEXTS = """() => {
    const isOurs = (node) => !node.closest('script, style, .e-text, .m-text, textarea, svg, .js-plotly-plot');
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const texts = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) if (isOurs(node.parentElement)) texts.push(node.nodeValue.trim());
    for (const node of document.querySelectorAll('[title], [aria-label], [placeholder], [alt]'))
        for (const name of ['title', 'aria-label', 'placeholder', 'alt'])
            if (isOurs(node)) texts.push(node.getAttribute(name)?.trim() ?? '');
    for (const node of document.querySelectorAll('svg.main-svg text')) texts.push(node.textContent.trim());
    return [...new Set(texts)];
}"""
def test_examples_have_chinese_names(visit):
    """Also those of a model that was not on the page when it opened."""
    page = visit(query="?lang=zh&view=live")
    assert HAN.search(page.locator("#examples input").input_value())
    page.locator("#examples input").click()
    assert all(HAN.search(name) for name in page.locator("#examples [role=option]").all_inner_texts())
    words = page.evaluate("EESD.modules['lib/words.js'].say.page.form")
    assert {example["name"] for chat in (False, True) for example in examples_of(chat)} <= words.keys()


HAN = re.compile(r"[\u4e00-\u9fff]")


NAMES = {  # titles of papers, keys, formats, and what the command line calls its controllers
    "EESD", "EESD Live", "English", "CSV", "Perfetto", "Ctrl + Enter, Esc", "Shift + ← →", "X, Shift + X",
    "Accelerating Large Language Model Decoding with Speculative Sampling", "Fast Inference from Transformers via Speculative Decoding",
    "GliDe with a CaPE: A Low-Hassle Method to Accelerate Speculative Decoding",
    "Parallel Decoding via Hidden Transfer for Lossless Large Language Model Acceleration",
    "Chimera: A Lossless Decoding Method for Accelerating Large Language Models Inference by Fusing all Tokens",
    "Boosting Lossless Speculative Decoding via Feature Sampling and Partial Alignment Distillation (FSPAD)",
    "EAGLE-3: Scaling up Inference Acceleration of Large Language Models via Training-Time Test",
    "Speculative Diffusion Decoding: Accelerating Language Model Generation through Diffusion (SpecDiff)",
    "DFlash: Block Diffusion for Flash Speculative Decoding",
    "DSpark: Confidence-Scheduled Speculative Decoding with Semi-Autoregressive Generation",
    "Speculative Decoding via Early-exiting for Faster LLM Inference with Thompson Sampling Control Mechanism (EESD)",
    "EMS-SD", "EMS-SD: Efficient Multi-sample Speculative Decoding for Accelerating Large Language Models",
    "speedup(k) = (1 + α + ... + α^k) · t / (k · c · t + T(k + 1) + o)", "cpu float32", "float32",
    *CONTROLLERS, *DRAFTERS, *CONTESTANTS,
}  # fmt: skip


def test_no_english_sentence_is_left_on_the_page(visit, paced):
    page = visit(query="?lang=zh&paused=1")
    texts = [page.evaluate(TEXTS)]
    settings(page, new_tokens="32")
    for radio in page.locator("#controller input").all():
        radio.check()
        page.wait_for_timeout(50)
    texts.append(page.evaluate(TEXTS))
    run(page)
    reach(page, "finished")
    page.evaluate("EESD.page.view.drawAll()")
    page.evaluate("document.querySelectorAll('.e-numbers').forEach((button) => button.click())")
    texts.append(page.evaluate(TEXTS))
    page.locator(".e-lane-eesd .e-tok").first.focus()
    page.evaluate("EESD.page.takeAway.cite()")
    page.evaluate("const { tour } = EESD.page.view.panels; tour.path.value = 'student'; tour.go(4)")
    texts.append(page.evaluate(TEXTS))
    names = NAMES | {paced.target.name, page.evaluate("document.querySelector('.t-text').textContent")}  # a citation is in English
    left = {text for some in texts for text in some if LATIN.search(text) and not HAN.search(text)} - names
    assert not left, "\n".join(sorted(left))


def refusals() -> list[str]:
    """Lines of the server's own."""
    said = [FAILED.format("RuntimeError")]
    wrong = [{"temperature": 9}, {"top_k": -1}, {"chat": "yes"}, {"stop": "x" * 257}, {"stop": 7}]
    talks = {"system": 7}, {"system": "x" * 1001}, {"history": "x"}, {"history": json.dumps([["x" * 12_001, ""]])}
    wrong += [{"chat": True} | talk for talk in talks]
    forms = [{"prompt": ""}, {"prompt": "x" * 5000}, *({"prompt": "x"} | values for values in wrong)]
    for ask in (*(lambda form=form: request_from_form(**form) for form in forms), Arrival("smollm2", print).check):
        try:
            ask()
        except UserError as problem:
            said.append(str(problem))
    assert len(said) == 13
    return said


REACHED = (
    *(f"app/{name}.py" for name in ("runs", "engines", "arrival", "form_values", "studies")),
    *(f"eesd_core/{name}.py" for name in ("engine", "model/target", "text/chat", "text/codec", "text/stop_strings", "checks/same_law")),
)
PARTS = {"most": "45 seconds of computing a minute", "both": "the prompt (7 tokens) and 7 new tokens"}
AT_LOAD = ("has room for", "the tokenizer of 7 cannot be")


def spelled() -> list[str]:
    """Every refusal in the code that a run of the page can reach, 7 in the place of what is filled in."""
    said = []
    for path in REACHED:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UserError", "Busy")):
                continue
            text = node.args[0]
            parts = [text] if isinstance(text, ast.Constant) else getattr(text, "values", [])
            line = "".join(part.value if isinstance(part, ast.Constant) else PARTS.get(ast.unparse(part.value), "7") for part in parts)
            if line and not any(words in line for words in AT_LOAD):
                said.append(line)
    assert len(said) > 25
    return said


def test_every_refusal_has_words_in_chinese(visit):
    say = "lines => lines.map(EESD.modules['lib/refusals.js'].inWords)"
    lines = spelled()
    chinese = visit(query="?lang=zh&view=live").evaluate(say, lines)
    assert [line for line, words in zip(lines, chinese) if not HAN.search(words)] == []


def test_the_server_refuses_in_the_visitors_language(visit):
    say = "lines => lines.map(EESD.modules['lib/refusals.js'].inWords)"
    english, chinese = (visit(query=f"?lang={language}&view=live").evaluate(say, refusals()) for language in ("en", "zh"))
    assert english == refusals()
    assert all(HAN.search(line) for line in chinese), chinese
    page = visit(query="?lang=zh&view=live")
    page.locator("#prompt textarea").fill("")
    page.locator("#run").click()
    page.get_by_role("alert").get_by_text("提示词为空").wait_for()

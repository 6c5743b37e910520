"""Prompts in, reports out: formats, spelling of methods, what hostile names may do on the page, and the search for a skip set."""

import copy
import csv
import io
import json
from collections import Counter

import numpy as np
import pytest

from eesd_core.bench import bench, compare, load_prompts, own_request, plan, read_prompts
from eesd_core.bench.methods import parse_method
from eesd_core.bench.page import to_html
from eesd_core.bench.prompts import Prompt
from eesd_core.bench.suites import DEFAULT, FULL, Group
from eesd_core.bench.summary import ratio, summarise
from eesd_core.bench.table import to_csv
from eesd_core.cli import main
from eesd_core.draft.skip_set import SkipSet
from eesd_core.errors import UserError
from eesd_core.model.catalog import EMBEDDED
from eesd_core.sampling import Sampling
from eesd_core.simulate.skip_search import as_row, as_set, search, search_skips

HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_the_projects_own_prompts():
    prompts = load_prompts(None)
    assert len(prompts) == 60 and len({p.text for p in prompts}) == len({p.id for p in prompts}) == 60
    count = Counter(p.category for p in prompts)
    assert set(count) == {"story", "dialogue", "question", "instruction", "summary", "arithmetic", "code"} and min(count.values()) == 8
    assert len({p.category for p in prompts[:7]}) == 7  # few prompts are of all kinds
    trained_on = "".join(path.read_text() for path in (EMBEDDED.parent / "text").glob("*.jsonl"))
    assert not any(p.text[:60] in trained_on for p in prompts)


def test_formats_of_prompts(tmp_path):
    path = tmp_path / "p.jsonl"
    spec_bench = '{"question_id": 81, "category": "writing", "turns": ["b", "c"]}'
    path.write_text(f'{{"prompt": "a", "category": "x", "chat": true}}\n\n{spec_bench}\n{{"prompt": "d"}}\n')
    first, second, third = load_prompts(path)
    assert (
        first == Prompt("p-0", "x", "a", True)
        and second == Prompt("81", "writing", "b", True)
        and third == Prompt("p-2", "all prompts", "d")
    )
    assert read_prompts(path, 2) == ["a", "b"] and len(read_prompts(None, None)) == 8


@pytest.mark.parametrize(
    "text", ["", "\n", "nonsense", "[]", "1", '{"text": "a"}', '{"prompt": 3}', '{"turns": []}', '{"turns": {}}', "\ufeff[", "[" * 9999]
)
def test_broken_prompts_are_said(tmp_path, text):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UserError):
        load_prompts(tmp_path / "p.jsonl")
    with pytest.raises(UserError):
        load_prompts(tmp_path)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf%s", b"%s\r\n", b'{"prompt": "first"}\n\n%s'])
def test_files_as_editors_write_them(tmp_path, content):
    """A mark in front, Windows' line breaks, and characters within a string that break lines elsewhere."""
    (tmp_path / "p.jsonl").write_bytes(content % '{"prompt": "a\u2028b\x85c"}'.encode())
    assert load_prompts(tmp_path / "p.jsonl")[-1].text == "a\u2028b\x85c"


@pytest.mark.parametrize(
    "content, says",
    [(b'{"prompt": "a"}\n\n{"prompt": 3}\n', "line 3 of "), (b'{"prompt": "\xff"}', "UTF-8"), (b"\n\n", "holds no prompts")],
)
def test_what_is_wrong_with_prompts_is_told(tmp_path, content, says):
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=says):
        load_prompts(tmp_path / "p.jsonl")


def test_spelling_of_methods():
    assert {parse_method(name).name for name in (*DEFAULT, *FULL)} == {*DEFAULT, *FULL}
    method = parse_method("layer-skip:a3.m4+beta:forget=0.9@rejection")
    assert (str(method.drafter), method.controller, method.acceptance) == ("layer-skip:a3.m4", "beta:forget=0.9", "rejection")
    request = method.request("x", 8, Sampling(0.8, seed=3))
    assert request.sampling.rejects and request.settings == {"seed": 3, "forget": 0.9} and str(request.drafter) == "layer-skip:a3.m4"
    assert parse_method("frozen-exit:4").setting == 4 and own_request("vanilla", "x", 8, Sampling()).method == "vanilla"


@pytest.mark.parametrize(
    "name",
    ["", "magic", "hf:0", "hf:x", "hf@rejection", "beta@luck", "fixed:99", "layer-skip:q+beta", "layer-skip+magic", "frozen-exit:-1"],
)
def test_a_wrong_method_is_said(name):
    with pytest.raises(UserError):
        parse_method(name)


@pytest.fixture(scope="module")
def report(engine, tmp_path_factory) -> dict:
    prompts = [Prompt("1", f"=1+1{HOSTILE}", "Once upon a time"), Prompt(HOSTILE, "b", "x y x y x")]
    return bench(engine, "default", plan(engine, "default", prompts, ["fixed:2", "hf"], Sampling(), 6, 1), tmp_path_factory.mktemp("bench"))


def test_the_page_holds_the_report_and_nothing_runs_from_it(report):
    page = to_html(report | {"notes": {"x": HOSTILE}})
    data = page.split('<script type="application/json" id="report">')[1].split("</script>")[0]
    assert json.loads(data)["groups"] == report["groups"] and "<img" not in page
    assert "default-src 'none'" in page and "http://" not in page.split('id="plotly"')[0] and "https://" not in page.split('id="plotly"')[0]


def test_the_csv_has_the_figures_of_the_json(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == 3 * (1 + 2)
    for row in rows:
        figures = report["groups"][0]["methods"][row["method"]]
        spread = figures["speedup"] if row["category"] == "all" else figures["categories"][row["category"].removeprefix("'")]
        assert float(row["speedup"]) == spread["overall"] and [float(row["low"]), float(row["high"])] == spread["interval"]
        assert not row["category"].startswith("=")


def test_a_speedup_is_that_of_all_texts_together():
    """And its interval that of the same figure over other draws of the prompts."""
    found = ratio(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    assert found["overall"] == 2.0 and found["median"] == 2.0 and 1.0 <= found["interval"][0] <= 2.0 <= found["interval"][1] <= 3.0
    assert ratio(np.array([1.0, 1.0, 9.0]), np.ones(3))["overall"] == pytest.approx(11 / 3, abs=1e-4)


def test_a_text_weighs_as_much_as_it_is_long():
    """One of 1 token and one of 99; a method that wrote another text is judged by its pace."""
    facts = {"group": "g", "repeat": 0, "drafter": "early-exit", "draft_seconds": 0.0, "verify_seconds": 0.0, "rounds": [[0, 0]]}
    facts |= {"prefill_seconds": 0.0, "wall_seconds": 0.0, "draft_passes": 0, "draft_layers": 0}
    facts |= {"joules": None, "peak_bytes": None, "margins": []}
    cells = []
    for name, speeds in (("vanilla", (1, 1)), ("fixed:2", (2, 1)), ("beta", (1, 2))):  # tokens a second, text by text
        for prompt, (length, speed) in enumerate(zip((1, 99), speeds)):
            length += 10 * (name == "beta")
            cells.append(facts | {"method": name, "prompt": prompt, "ids": [0] * length, "counted": length, "seconds": length / speed})
    prompts = (Prompt("short", "a", "x"), Prompt("long", "b", "x"))
    rows = summarise(Group("g", "g", ("vanilla", "fixed:2", "beta"), prompts, Sampling(), 99, 1), cells)["methods"]
    assert rows["fixed:2"]["speedup"]["overall"] == pytest.approx(100 / 99.5, abs=1e-4)
    assert rows["beta"]["speedup"]["overall"] == pytest.approx(100 / 50.5, abs=1e-3) == rows["beta"]["tokens_per_second"]
    assert rows["beta"]["regret"]["summed_ms"] == [500.0, -49000.0] and rows["beta"]["speedup"]["median"] == 1.5


def test_two_reports_are_compared(report, tmp_path, capsys):
    other = copy.deepcopy(report) | {"machine": report["machine"] | {"load_at_start": 9.0}}
    rows = other["groups"][0]["methods"]
    rows["hf"]["speedup"]["overall"] = round(1.04 * report["groups"][0]["methods"]["hf"]["speedup"]["overall"], 4)
    for name, data in (("a", report), ("b", other), ("c", other | {"suite": "full"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(data))
    found = compare(tmp_path / "a", tmp_path / "b" / "report.json")
    assert found["largest_difference"] == pytest.approx(0.04, abs=0.001) and found["differ"] == []
    assert {row["method"]: row["ratio"] for row in found["methods"]}["fixed:2"] == 1.0
    assert "largest difference: 4.0%, hf" in capsys.readouterr().out
    assert main(["bench", "--compare", str(tmp_path / "a"), str(tmp_path / "c"), "--json"]) == 0
    assert "suite" in json.loads(capsys.readouterr().out.splitlines()[-1])["differ"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other"}', "\ud800", None])
def test_what_cannot_be_compared_is_said(report, tmp_path, content):
    for name, text in (("a", json.dumps(report)), ("b", content)):
        if text is not None:
            (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert main(["bench", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2


def test_an_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    found = [ratio(random.lognormal(0.5, 0.3, 60), np.ones(60))["interval"] for _ in range(200)]
    assert 0.9 <= np.mean([low <= np.exp(0.5 + 0.3**2 / 2) <= high for low, high in found]) <= 0.99


# The skip set


def test_sets_and_rows_are_the_same():
    skips = SkipSet.parse("a1.a3.m0")
    assert as_set(as_row(skips, 5)) == skips and as_row(skips, 5).sum() == 3


def test_the_search_finds_what_random_trials_do_not():
    """Worth falls with every sub-layer that differs from a hidden set."""
    hidden = as_row(SkipSet.parse("a1.a2.a5.m3.m4.m6"), 8)

    def worth(skips: SkipSet) -> float:
        return -float((as_row(skips, 8) ^ hidden).sum())

    *_, (number, found, best) = search(worth, 8, trials=40, seed=1)
    assert number == 40
    random = np.random.default_rng(1)
    lucky = max(-(row ^ hidden).sum() for row in random.random((40, 16)) < 0.4)
    assert worth(found) == best > lucky and best >= -2


def test_the_search_on_a_model(agreeing):
    """Where the layers behind the second add nothing, they are skipped first."""
    *_, (_, found, _) = search_skips(agreeing, ["Once upon a time"], trials=10)
    assert {2, 3} & (found.attention | found.mlp) and not {0, 1} <= found.attention & found.mlp

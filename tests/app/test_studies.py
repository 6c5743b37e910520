"""The small benchmark and the test of distributions, as the page asks for them: line by line, through the one queue, stopped by leaving."""

import gzip
import json
import threading
import time

import httpx
import pytest
from fake_engine import FakeEngine

from app import studies
from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from eesd_core.bench import Prompt, latest
from eesd_core.bench.latest import latest_report
from eesd_core.loading import load_engine

ROOT = "gradio_api/eesd"
FORM = {"prompt": "Once upon", "temperature": 0.7, "top_k": 20}


@pytest.fixture(scope="module")
def server(engine):
    visits = Visits(engine, Limits(runs_a_minute=100_000, waiting_each=100, seconds=100))
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    yield visits, page.local_url
    page.close()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(studies, "DRAWS", 40)
    monkeypatch.setattr(studies, "load_prompts", lambda path, limit: [Prompt("a", "stories", "Once"), Prompt("b", "code", "def f")])
    monkeypatch.setattr(studies, "NEW_TOKENS", 6)


def ask(server, name: str, form: dict) -> list[dict]:
    answer = httpx.post(f"{server[1]}{ROOT}/{name}", json=form, timeout=120)
    assert answer.status_code == 200 and "<" not in answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def until_free(visits: Visits, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while visits.device.waiting():
        assert time.monotonic() < end, "the device is still held"
        time.sleep(0.01)


def test_the_test_of_distributions(server):
    lines = ask(server, "law", FORM)
    assert lines[0]["type"] == "queue" and lines[-1]["type"] == "law" and lines[-1]["drawn"] == 40
    assert len(lines[-1]["places"]) == 2 and 0 <= lines[-1]["together"]["p"] <= 1


def test_a_small_benchmark_gives_a_report_and_leaves_no_files(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    lines = ask(server, "benchmark", {})
    assert [line["type"] for line in lines if line["type"] == "error"] == []
    progress = [line for line in lines if line["type"] == "bench"]
    assert progress[-1]["done"] == progress[-1]["total"] == 2 * len(studies.METHODS)
    assert lines[-1]["type"] == "report" and lines[-1]["html"].startswith("<!doctype html>")
    until_free(server[0])
    assert list(tmp_path.iterdir()) == []


def test_leaving_frees_the_device(server, monkeypatch):
    monkeypatch.setattr(studies, "DRAWS", 100_000)
    with httpx.stream("POST", f"{server[1]}{ROOT}/law", json=FORM, timeout=60) as answer:
        for line in answer.iter_lines():
            if json.loads(line)["type"] == "law":
                break
    until_free(server[0])


def test_they_wait_in_the_one_line(server):
    visits, gate = server[0], threading.Event()
    job = visits.device.submit(lambda stopped: iter(lambda: gate.wait(0.01) or stopped(), True))
    threading.Timer(1.0, gate.set).start()
    lines = ask(server, "law", FORM)
    assert any(line["type"] == "queue" and line["place"] == 1 for line in lines) and lines[-1]["type"] == "law"
    assert job.done


@pytest.mark.parametrize(
    ("name", "form", "line"),
    [
        ("law", FORM | {"temperature": 0}, "temperature above 0"),
        ("law", FORM | {"prompt": ""}, "the prompt is empty"),
        ("law", FORM | {"prompt": "x" * 3000}, "exceed the context"),
        ("law", FORM | {"quantize": "8bit"}, "one precision"),
        ("law", FORM | {"quantize": "x"}, "weights must be one of"),
        ("law", FORM | {"out": "/etc"}, "values by name, and nothing else"),
        ("benchmark", {"quantize": ["x"]}, "weights must be one of"),
        ("benchmark", [1], "values by name"),
        ("benchmark", "x" * 100_000, "larger than 64 kB"),
    ],
)
def test_what_cannot_be_is_one_line(server, name, form, line):
    lines = ask(server, name, form)
    assert lines[-1]["type"] == "error" and line in lines[-1]["message"]
    until_free(server[0])


def test_other_sites_cannot_send_it_as_a_form(server):
    answer = httpx.post(f"{server[1]}{ROOT}/law", content=json.dumps(FORM), headers={"content-type": "text/plain"})
    assert "application/json" in answer.json()["message"]


def test_too_many_are_refused_as_runs_are(engine):
    visits = Visits(engine, Limits(runs_a_minute=1))
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    try:
        own = (visits, page.local_url)
        assert ask(own, "law", FORM)[-1]["type"] == "law"
        assert "runs a minute" in ask(own, "benchmark", {})[-1]["message"]
    finally:
        page.close()


def test_the_recorded_race_of_methods_is_packed_on_its_way(server):
    answer = httpx.get(f"{server[1]}{ROOT}/methods.ndjson")
    assert answer.headers["content-encoding"] == "gzip" and answer.content == gzip.decompress(studies.RECORDED_METHODS.read_bytes())


def test_the_latest_report_comes_in_a_sandbox(server, tmp_path, monkeypatch):
    assert httpx.get(f"{server[1]}{ROOT}/latest").json() is None or latest_report()
    folder = tmp_path / "2026-01-01T000000-default"
    folder.mkdir()
    model, machine = {"name": "tiny", "dtype": "float32"}, {"processor": "an <old> one"}
    report = {"format": "eesd-bench/3", "suite": "default", "finished": "2026-01-01T00:00:00", "model": model, "machine": machine}
    (folder / "report.json").write_text(json.dumps(report))
    monkeypatch.setattr(studies, "latest_report", lambda: latest.latest_report(tmp_path, tmp_path / "none"))
    facts = httpx.get(f"{server[1]}{ROOT}/latest").json()
    assert (facts["suite"], facts["recorded"], facts["machine"]) == ("default", False, "an <old> one")
    answer = httpx.get(f"{server[1]}{ROOT}/latest.html")
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert "<script>" in answer.text and "an <old> one" not in answer.text
    monkeypatch.setattr(studies, "latest_report", lambda: None)
    assert httpx.get(f"{server[1]}{ROOT}/latest.html").status_code == 404


def test_where_the_gpu_is_lent_neither_is_offered():
    visits = Visits(FakeEngine())
    visits.studies = False
    shown = {"/latest", "/latest.html", "/methods.ndjson"}  # which run nothing
    assert {route.path for route in studies.study_routes(visits, "")} == shown


def test_methods_race_on_one_text(server):
    names = ["throughput", "prompt-lookup", "fixed:4"]
    lines = ask(server, "methods", FORM | {"methods": names, "new_tokens": 12})
    table = lines[-1]
    assert table["type"] == "table" and [row["name"] for row in table["rows"]] == ["vanilla", *names]
    assert all(row["identical"] and row["tokens"] == 12 and row["seconds"] > 0 for row in table["rows"])
    assert table["rows"][0]["speedup"] == 1
    assert {line["lane"] for line in lines if "lane" in line} == {"vanilla", *names}
    until_free(server[0])


WRONG_METHODS = ([], None, "beta", ["beta", "beta"], ["beta", "ucb", "gsd", "cape", "mixed"], ["hf"], [["beta"]], ["__class__"])


@pytest.mark.parametrize("methods", WRONG_METHODS)
def test_only_methods_of_the_list_race(server, methods):
    (line,) = ask(server, "methods", FORM | {"methods": methods})
    assert line["type"] == "error" and ("different methods" in line["message"] or "from the list" in line["message"])


def test_precisions_race_on_one_text(embedded):
    limits = Limits(runs_a_minute=100_000)
    visits = Visits.load(lambda quantize: load_engine(None, None, "cpu", "float32", quantize), limits, model="storyteller")
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    try:
        lines = ask((visits, page.local_url), "precisions", FORM | {"precisions": ["none", "q8"], "new_tokens": 12})
        assert [line["precision"] for line in lines if line["type"] == "loading"] == ["q8"]
        rows = lines[-1]["rows"]
        assert [row["name"] for row in rows] == ["none", "q8"] and all(row["identical"] and row["speedup"] > 0 for row in rows)
        assert all(row["prices"].keys() == {"1", "2", "4", "8"} for row in rows)
        assert {line["lane"] for line in lines if "lane" in line} == {"none vanilla", "none eesd", "q8 vanilla", "q8 eesd"}
    finally:
        page.close()


WRONG_PRECISIONS = ([], None, "q8", ["q8"], ["q8", "q8"], ["none", "q8", "q4", "8bit"], ["none", "q2"], [["none"], "q8"])


@pytest.mark.parametrize("precisions", WRONG_PRECISIONS)
def test_only_known_precisions_race(server, precisions):
    (line,) = ask(server, "precisions", FORM | {"precisions": precisions})
    assert line["type"] == "error"


def test_several_texts_at_once_by_three_forms(server):
    lines = ask(server, "together", FORM | {"texts": 4, "new_tokens": 9})
    table, told = lines[-1], [line for line in lines if "lane" in line]
    assert table["type"] == "table" and [row["form"] for row in table["rows"]] == ["ems", "padded", "vanilla"]
    assert all(row["identical"] and 4 <= row["tokens"] <= 36 for row in table["rows"])
    assert {(line["lane"], line["row"]) for line in told} == {(form, row) for form in ("ems", "padded", "vanilla") for row in range(4)}
    prompts = {line["row"]: line["prompt"] for line in told if line["type"] == "run_started"}
    assert list(prompts.values()) == [example["prompt"] for example in studies.examples_of(False)[:4]]
    until_free(server[0])


@pytest.mark.parametrize("texts", [None, 3, 16, "4", True, 4.0, [4]])
def test_only_so_many_texts_as_the_page_offers(server, texts):
    (line,) = ask(server, "together", FORM | {"texts": texts})
    assert line["type"] == "error" and "one of 1, 2, 4, 8" in line["message"]


def test_closing_the_connection_stops_all_texts(server, monkeypatch):
    monkeypatch.setattr(studies, "SMALL", 512)
    with httpx.stream("POST", f"{server[1]}{ROOT}/together", json=FORM | {"texts": 2, "new_tokens": 60}, timeout=60) as answer:
        assert any("tokens_committed" in line for line in answer.iter_lines())
    until_free(server[0])

"""The page is served before the model is loaded: nothing that answers meanwhile imports torch, and a run waits."""

import asyncio
import json
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from app.engines import Engines
from app.form import FIELDS
from app.page import own_part
from app.routes import state_of
from app.runs import Visits
from eesd_core.errors import UserError
from eesd_core.model import catalog

ROOT = Path(__file__).resolve().parents[2]
# Asks for everything that a browser or a program may ask for while the model is loaded. Only the thread that loads it may import torch and
# transformers: two at once fail, and the server must not wait for them.
EARLY = """
import asyncio, sys, threading
import httpx
from app.engines import Engines
from app.page import OPENING, launch
from app.runs import Visits

go, asked, wrong = threading.Event(), threading.Event(), []

def see(event, arguments):
    if event == "import" and arguments[0] in ("torch", "transformers", "numba") and threading.current_thread().name != "device":
        wrong.append(arguments[0])

sys.addaudithook(see)

def load(quantize):
    asked.set()
    go.wait(60)
    raise SystemExit

visits = Visits(Engines(None, "none", load, "storyteller"))
page = launch(visits, prevent_thread_lock=True, quiet=True, openai=True)
threading.Thread(target=visits.make_ready, daemon=True).start()
asked.wait(60)
get = lambda path: httpx.get(page.local_url + path, timeout=60)
own = "gradio_api/eesd/"
names = ("models", "offline.txt", "lecture.html", "latest", "latest.html", "methods.ndjson", "plotly.js")
for path in ("", "health", *(own + name for name in names)):
    assert get(path).is_success, path
assert get("health").json()["status"] == "loading" and get("health").json()["models"][0]["seconds"] >= 0
assert "storyteller" in get("v1/models").text

async def first(prompt):
    async for text in visits.run("s", "here", prompt):
        if '"loading"' in text:
            return text

print(asyncio.run(first("Once")))
lines = httpx.stream("POST", page.local_url + own + "methods", json={"prompt": "Once", "methods": ["throughput"]}, timeout=60)
with lines as answer:
    assert '"queue"' in next(answer.iter_lines())
sys.exit(", ".join(wrong) or 0)
"""


def test_nothing_that_answers_meanwhile_imports_torch():
    done = subprocess.run([sys.executable, "-c", EARLY], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["place"] == 0  # nobody else's run is ahead


def form_of(prompt: str) -> list:
    return [prompt if field.name == "prompt" else field.value for field in FIELDS]


def test_run_waits_for_the_model_and_then_runs():
    go, loaded = threading.Event(), []

    def load(quantize):
        assert go.wait(60)
        loaded.append(quantize)
        return FakeEngine()

    visits = Visits(Engines(None, "none", load, "storyteller"))
    assert '"level": null' in own_part(visits) and state_of(visits)["status"] == "loading"

    async def visit():
        texts = visits.run("s", "here", *form_of("Once"))
        with ThreadPoolExecutor(1) as other:
            ready = other.submit(visits.make_ready)
            while '"loading"' not in (text := await anext(texts)):
                pass
            assert json.loads(text.splitlines()[-1])["place"] == 0
            go.set()
            text = [text async for text in texts][-1]
            ready.result()
        return [json.loads(line)["type"] for line in text.splitlines()]

    with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running in the main thread once a browser test has run
        types = thread.submit(asyncio.run, visit()).result()
    assert "race_finished" in types and loaded == ["none"] and visits.engine.prompts == ["Once"]
    assert state_of(visits)["status"] == "ok" and visits.device.runs == 1  # loading is no run
    assert '"level": "exact-by-construction"' in own_part(visits)


def test_a_model_that_cannot_be_loaded_is_one_line():
    def load(quantize):
        raise UserError("the weights are missing: fetch them")

    with pytest.raises(UserError, match="the weights are missing: fetch them"):
        Visits(Engines(None, "none", load, "storyteller")).make_ready()


def test_models_of_one_file_share_its_arrival():
    arrivals_of = runpy.run_path(str(ROOT / "app.py"))["arrivals_of"]
    found = arrivals_of(["smollm2", "smollm2-early"], "storyteller")
    assert list(found) == ["smollm2", "smollm2-early"] and len(set(found.values())) == 1
    assert not found["smollm2"].ready
    assert all(arrival.ready for arrival in arrivals_of(["smollm2", "storyteller"], "smollm2-early").values())


def test_the_page_opens_on_the_best_model_that_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("EESD_CACHE", str(tmp_path))
    monkeypatch.setattr(catalog, "preloaded", lambda file: None)
    best_here = runpy.run_path(str(ROOT / "app.py"))["best_here"]
    assert best_here() == "storyteller"
    monkeypatch.setattr(catalog, "preloaded", lambda file: ROOT)
    assert best_here() == "smollm2-early", "as on a Space that has preloaded its file"
    monkeypatch.setattr(catalog, "preloaded", lambda file: None)
    catalog.SMOLLM2.path.touch()
    assert best_here() == "smollm2-early"

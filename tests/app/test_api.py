"""The server as programs meet it: endpoints, health, twenty visitors at once, visitors that stop and leave."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine
from gradio_client import Client
from hostile import hostile

from app.api import MOST_TRACE
from app.form import FIELDS
from app.form_values import Limits
from app.page import STREAMS_AT_ONCE, launch
from app.routes import MOST_SENT
from app.runs import Visits
from eesd_core.racing import race
from tools.soak import soak

OPENING = Path(__file__).parents[2] / "assets" / "traces" / "opening.ndjson"
VISITORS = 20
AT_ONCE = 50  # fewer than may wait in line


@pytest.fixture(scope="module")
def server():
    visits = Visits(FakeEngine(), Limits(runs_a_minute=100_000, waiting_each=100, seconds=20), race)
    page = launch(visits, prevent_thread_lock=True, quiet=True)
    yield visits, page.local_url
    page.close()


@pytest.fixture
def visits(server):
    visits, _ = server
    visits.engine.go.set()
    visits.engine.prompts.clear()
    return visits


@pytest.fixture(scope="module")
def client(server):
    return Client(server[1], verbose=False, httpx_kwargs={"timeout": 120})


def test_endpoints_are_typed_and_say_what_they_do(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/race", "/generate", "/replay"}  # what the page uses itself is not offered
    names = [parameter["parameter_name"] for parameter in endpoints["/race"]["parameters"]]
    assert names[:4] == ["prompt", "max_new_tokens", "temperature", "seed"]
    info = client.client_get("/gradio_api/info") if hasattr(client, "client_get") else httpx.get(client.src + "gradio_api/info").json()
    assert "compare texts and clocks" in json.dumps(info)


def test_race_generate_and_replay(client, visits):
    result = client.predict("Once", 5, api_name="/race")
    assert result["status"] == "finished" and result["identical"] and result["eesd"]["new_tokens"] == 5
    assert "trace" not in result
    traced = client.predict("Once", with_trace=True, api_name="/race")
    assert json.loads(traced["trace"].splitlines()[-1])["type"] == "race_finished"
    plain = client.predict("Once", method="vanilla", api_name="/generate")
    assert plain["text"] == result["eesd"]["text"] and plain["method"] == "vanilla"
    told = client.predict(OPENING.read_text(), api_name="/replay")
    assert told["eesd"]["new_tokens"] == told["vanilla"]["new_tokens"] > 60 and told["identical"]


def test_drafts_are_made_wrong_on_purpose_as_on_the_page(client, visits):
    visits.engine.drafters.clear()
    client.predict("Once", 5, api_name="/race")
    client.predict("Once", 5, wrong=0.5, wrong_from=2, api_name="/race")
    client.predict("Once", 64, wrong=1, api_name="/generate")
    assert visits.engine.drafters == ["early-exit", "disturbed:0.5:2", "disturbed:1:32"]


def test_what_an_endpoint_refuses_it_refuses_in_one_line(client, visits):
    bad = [
        ("/race", {"prompt": ""}, "the prompt is empty"),
        ("/race", {"prompt": "x" * 5000}, "shorten it to 4,000"),
        ("/race", {"prompt": 7}, "the prompt must be text"),
        ("/race", {"prompt": "x", "controller": "magic"}, "unknown controller 'magic'"),
        ("/race", {"prompt": "x", "controller": ["beta"]}, "the controller must be a short text"),
        ("/race", {"prompt": "x", "controller": "fixed:99"}, "the draft length must be a whole number from 0 to 15"),
        ("/race", {"prompt": "x", "controller": "beta:seed=3"}, "the controller has the seed of the run"),
        ("/race", {"prompt": "x", "with_trace": "yes"}, "with trace must be one of True, False, not yes"),
        ("/race", {"prompt": "x", "max_new_tokens": 10**9}, "new tokens must be a whole number from 1 to 512"),
        ("/race", {"prompt": "x", "seed": "abc"}, "seed must be a whole number"),
        ("/race", {"prompt": "x", "chat": "maybe"}, "chat must be one of"),
        ("/race", {"prompt": "x", "quantize": "8bit"}, "this server has its model in one precision"),
        ("/race", {"prompt": "x", "quantize": "2bit"}, "weights must be one of"),
        ("/race", {"prompt": "x", "wrong": 2}, "wrong drafts must be a number from 0 to 1"),
        ("/race", {"prompt": "x", "wrong": 0.5, "wrong_from": 513}, "wrong from must be a whole number from 0 to 512"),
        ("/race", {"prompt": "x", "stop": "x" * 257}, "stop strings: at most 16, each of 1 to 256 characters"),
        ("/generate", {"prompt": "x", "stop": 7}, "stop text must be text, not 7"),
        ("/race", {"prompt": "x", "system": "Be brief."}, "system and history are for chat"),
        ("/generate", {"prompt": "x", "chat": True, "history": "[[1]]"}, "the conversation must be earlier turns as JSON"),
        ("/generate", {"prompt": "x", "wrong": "much"}, "wrong drafts must be a number"),
        ("/generate", {"prompt": "too long"}, "the prompt is <too> long"),
        ("/generate", {"prompt": "x", "method": "foo"}, "method must be one of eesd, vanilla, not foo"),
        ("/replay", {"trace": "hello"}, "this is no trace"),
        ("/replay", {"trace": None}, "send the text of a trace"),
        ("/replay", {"trace": "x" * 9_000_000}, "at most 8 MB"),
    ]
    for name, values, line in bad:
        with pytest.raises(Exception, match=line) as refused:
            client.predict(**values, api_name=name)
        assert "Traceback" not in str(refused.value)
    assert client.predict("Once", api_name="/race")["identical"]


def test_no_files_are_taken(server):
    for path in ("gradio_api/upload", "gradio_api/upload/", "upload"):
        answer = httpx.post(server[1] + path, files={"files": ("a.txt", b"a")}, timeout=60)
        assert answer.status_code in (403, 405) and answer.is_error, path
    assert httpx.get(server[1] + "health", timeout=60).status_code == 200


def test_nothing_much_larger_than_a_trace_is_taken(server):
    def post(size: int, streamed: bool) -> httpx.Response:
        body = json.dumps({"data": ["x" * size]}).encode()
        parts = (body[at : at + 2**20] for at in range(0, len(body), 2**20))  # without a length that could be looked at
        headers = {"content-type": "application/json"}
        return httpx.post(server[1] + "gradio_api/call/replay", content=parts if streamed else body, headers=headers, timeout=60)

    assert post(MOST_TRACE, False).status_code == 200
    for streamed in (False, True):
        assert post(MOST_SENT, streamed).status_code == 413
    assert httpx.get(server[1] + "health", timeout=60).status_code == 200


def test_a_trace_is_read_in_line_with_the_runs(client, visits):
    """Reading a large one takes seconds from a race beside it."""
    release = threading.Event()
    race = visits.device.submit(lambda stopped: iter([release.wait(60)]))
    told = client.submit(OPENING.read_text(), api_name="/replay")
    try:
        until(lambda: visits.device.waiting() == 2)
        assert not told.done()
    finally:
        release.set()
    assert told.result()["identical"] and race.done


def test_a_program_that_waits_is_told_once_a_second(client, visits):
    release = threading.Event()
    visits.device.submit(lambda stopped: iter([release.wait(60)]))
    job = client.submit("Once", api_name="/race")
    try:
        until(lambda: visits.device.waiting() == 2)
        time.sleep(1.5)
        assert 1 <= len(job.outputs()) <= 4
    finally:
        release.set()
    assert job.result()["identical"]


def until(come: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not come():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_bare_post_with_too_few_values_is_told_so(server):
    begun = httpx.post(server[1] + "gradio_api/call/stream", json={"data": ["Once"]}, timeout=60)
    answer = httpx.get(server[1] + f"gradio_api/call/stream/{begun.json()['event_id']}", timeout=60).text
    assert "enough input values" in answer and "null" not in answer


def test_health(server, visits):
    state = httpx.get(server[1] + "health", timeout=60).json()
    assert state["status"] == "ok" and state["waiting"] == 0 and state["model"] == "fake"
    assert {"runs", "mean_seconds", "uptime_seconds", "memory_mb", "level", "device", "dtype"} <= set(state)
    assert state["file"] == "fake.gguf" and state["file_mb"] is None


def test_a_code_for_a_link_and_nothing_else(server):
    def ask(link: str):
        return httpx.get(server[1] + "gradio_api/eesd/qr.svg", params={"link": link}, timeout=60)

    assert ask("https://example.org/?prompt=Once").headers["content-type"] == "image/svg+xml"
    assert ask("http://x/" + "x" * 2000).status_code == 400
    for text in hostile(80)[::2]:
        answer = ask(text.encode("utf-8", "replace").decode())
        assert answer.status_code == 400 and "<" not in answer.text
        answer = ask("http://x/?prompt=" + text[:200].encode("utf-8", "replace").decode())
        assert answer.status_code == 200 and "onerror" not in answer.text


def test_twenty_visitors_at_once_are_served_in_order_and_see_their_own_run_alone(server, visits):
    admitted, admit = [], visits.admit

    def noting(address, request, *rest, **named):
        queue_up = admit(address, request, *rest, **named)

        def noted():
            admitted.append(request.prompt)
            return queue_up()

        return noted

    visits.admit = noting
    clients = [Client(server[1], verbose=False, httpx_kwargs={"timeout": 120}) for _ in range(VISITORS)]
    start = threading.Barrier(VISITORS, timeout=60)

    def visitor(number: int) -> list[dict]:
        start.wait()
        form = [{"prompt": f"visitor {number}", "seed": str(number)}.get(field.name, field.value) for field in FIELDS]
        return [json.loads(line) for line in clients[number].predict(*form, api_name="/stream").splitlines()]

    try:
        with ThreadPoolExecutor(VISITORS) as pool:
            runs = list(pool.map(visitor, range(VISITORS)))
    finally:
        visits.admit = admit
    assert visits.engine.prompts == admitted and len(set(admitted)) == VISITORS
    for number, lines in enumerate(runs):
        assert lines[-1]["type"] == "race_finished" and lines[-1]["identical"]
        assert {line["prompt"] for line in lines if line["type"] == "run_started"} == {f"visitor {number}"}
        assert len({line["run"] for line in lines if "run" in line}) == 1
        assert [line for line in lines if line["type"] == "error"] == []
    assert len({lines[0]["run"] for lines in runs}) == VISITORS
    assert visits.device.waiting() == 0 and not visits._jobs


def test_visitors_that_stop_and_leave_leave_nothing_behind(server, visits):
    visits.engine.tokens, before = 40, visits.engine.tokens
    tick = threading.Thread(target=let_go_a_step_at_a_time, args=[visits.engine, done := threading.Event()])
    visits.engine.go.clear()
    tick.start()
    try:
        with ThreadPoolExecutor(1) as thread:
            report = thread.submit(asyncio.run, soak(server[1], 30, {"new_tokens": 5})).result()
    finally:
        done.set()
        tick.join()
        visits.engine.tokens = before
    assert report.held == 0 and min(report.ends.values()) > 3
    assert not visits._jobs and visits.device.waiting() == 0
    assert report.growth() is None or report.growth() < 0.05


def let_go_a_step_at_a_time(engine: FakeEngine, done: threading.Event) -> None:
    """A fake run then lasts about half a second."""
    while not done.wait(0.01):
        engine.go.set()
        engine.go.clear()
    engine.go.set()


def test_hostile_prompts_go_through_as_text(server, visits):
    texts = [text for text in hostile() if text.strip()]

    async def ask(number: int, text: str) -> None:
        stream = [part async for part in visits.run(f"s{number}", "here", text)]
        lines = [json.loads(line) for line in stream[-1].splitlines()]
        assert "<" not in stream[-1] and stream[-1].isascii()
        if len(text) > 4000:
            assert "shorten it" in lines[-1]["message"]
        else:
            assert lines[-1]["type"] == "race_finished"
            assert {line["prompt"] for line in lines if line["type"] == "run_started"} == {text}

    async def ask_all() -> None:
        numbered = list(enumerate(texts))
        for first in range(0, len(numbered), AT_ONCE):  # a visitor waits at least one frame of the page: many wait together
            await asyncio.gather(*(ask(*one) for one in numbered[first : first + AT_ONCE]))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask_all()).result()


def test_of_visitors_that_left_only_so_many_are_remembered():
    page = launch(Visits(FakeEngine()), prevent_thread_lock=True, quiet=True)
    sessions = page.app.state_holder
    for number in range(STREAMS_AT_ONCE + 10):
        sessions[f"visitor {number}"]
    page.close()
    assert list(sessions.session_data) == [f"visitor {number}" for number in range(10, STREAMS_AT_ONCE + 10)]

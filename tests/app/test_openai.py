"""Completions for programs: the shapes of OpenAI's interface, streamed and whole; what is not done is refused by name; who leaves frees the
device; "Open a trace" opens what comes back."""

import json
import time

import httpx
import pytest
from fake_engine import FakeEngine

from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from eesd_core.engine import Engine
from eesd_core.foreign.read import read_foreign

WORDS = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "controller": "fixed:2"}  # which drafts on any machine
TALK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


class Server:
    def __init__(self, engine, **limits):
        self.visits = Visits(engine, Limits(**({"runs_a_minute": 100_000, "waiting_each": 100} | limits)))
        self.page = launch(self.visits, openai=True, prevent_thread_lock=True, quiet=True)
        self.url = self.page.local_url + "v1/"

    def post(self, name: str, body: dict, **options) -> httpx.Response:
        return httpx.post(self.url + name, json=body, timeout=60, **options)

    def events(self, name: str, body: dict) -> list:
        with httpx.stream("POST", self.url + name, json=body | {"stream": True}, timeout=60) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


@pytest.fixture(scope="module")
def fake():
    server = Server(FakeEngine())
    yield server
    server.page.close()


@pytest.fixture(scope="module")
def real(engine: Engine):
    server = Server(engine)
    yield server
    server.page.close()


def test_a_completion_is_the_engines_text(real, engine, tmp_path):
    reply = real.post("completions", WORDS).json()
    plain = real.post("completions", WORDS | {"method": "vanilla"}).json()
    (choice,) = reply["choices"]
    assert reply["object"] == "text_completion" and choice["finish_reason"] == "length"
    assert choice["text"] == plain["choices"][0]["text"] and "metrics" not in plain
    assert reply["usage"] == plain["usage"] and reply["usage"]["completion_tokens"] == 12
    path = tmp_path / "reply.json"
    path.write_text(json.dumps(reply))
    assert read_foreign(path)


def test_a_stream_says_the_same(real):
    whole = real.post("completions", WORDS).json()
    parts = real.events("completions", WORDS | {"stream_options": {"include_usage": True}})
    assert "".join(part["choices"][0]["text"] for part in parts[:-1]) == whole["choices"][0]["text"]
    assert parts[-2]["choices"][0]["finish_reason"] == "length"
    assert parts[-1]["choices"] == [] and parts[-1]["usage"] == whole["usage"]
    assert {part["id"] for part in parts} == {parts[0]["id"]}


def test_a_conversation(fake, monkeypatch):
    asked = []
    monkeypatch.setattr(fake.visits.engine, "encode", lambda request: asked.append(request) or [1])
    turns = [("system", "Be brief."), ("user", "One"), ("assistant", "1"), ("user", [{"type": "text", "text": "Two"}])]
    body = TALK | {"messages": [{"role": role, "content": content} for role, content in turns]}
    reply = fake.post("chat/completions", body).json()
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": " 0 1 2 3 4"}
    assert (asked[0].system, asked[0].history, asked[0].prompt) == ("Be brief.", (("One", "1"),), "Two")
    first, *parts, last = fake.events("chat/completions", body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""} and first["object"] == "chat.completion.chunk"
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts) == " 0 1 2 3 4" and last["choices"][0]["delta"] == {}


@pytest.mark.parametrize(
    ("name", "body", "says", "status"),
    [
        ("completions", {"prompt": ""}, "the prompt is empty", 400),
        ("completions", {"prompt": ["a", "b"]}, "prompt must be text", 400),
        ("completions", WORDS | {"n": 2}, "n is not done here", 400),
        ("completions", WORDS | {"logprobs": 3}, "logprobs is not done here", 400),
        ("completions", WORDS | {"max_tokens": 10**9}, "new tokens must be", 400),
        ("completions", WORDS | {"temperature": "hot"}, "temperature must be", 400),
        ("completions", WORDS | {"stop": [1]}, "stop text must be text", 400),
        ("completions", WORDS | {"controller": "nobody"}, "nobody", 400),
        ("completions", WORDS | {"model": "gpt-4"}, "has no model 'gpt-4'", 404),
        ("completions", {"prompt": "a" * 300_000}, "larger than 256 kB", 400),
        ("completions", {"prompt": "too long"}, "the prompt is <too> long", 400),
        ("chat/completions", {}, "messages must be", 400),
        ("chat/completions", TALK | {"messages": [{"role": "assistant", "content": "a"}]}, "messages must be", 400),
        ("chat/completions", TALK | {"messages": [{"role": "user", "content": {"a": 1}}]}, "must be text", 400),
        ("chat/completions", TALK | {"tools": [{"type": "function"}]}, "tools is not done here", 400),
    ],
)
def test_refusals_are_one_line_in_openais_form(fake, name, body, says, status):
    reply = fake.post(name, body)
    assert reply.status_code == status and says in reply.json()["error"]["message"] and "\n" not in reply.json()["error"]["message"]


def test_models_are_listed_and_other_sites_cannot_post(fake):
    assert [model["id"] for model in httpx.get(fake.url + "models").json()["data"]] == [""]
    reply = httpx.post(fake.url + "completions", content=json.dumps(WORDS), headers={"content-type": "text/plain"})
    assert reply.status_code == 400 and "application/json" in reply.text


def test_a_run_that_fails_says_so(fake, monkeypatch):
    monkeypatch.setattr(fake.visits.engine, "fail", RuntimeError("no"))
    assert "the run failed" in fake.post("completions", WORDS).json()["error"]["message"]
    assert "the run failed" in fake.events("completions", WORDS)[-1]["error"]["message"]


@pytest.mark.parametrize("streamed", [True, False])
def test_who_leaves_frees_the_device(fake, streamed):
    engine, device = fake.visits.engine, fake.visits.device
    engine.go.clear()
    try:
        with pytest.raises(httpx.TimeoutException):
            httpx.post(fake.url + "completions", json=WORDS | {"stream": streamed}, timeout=httpx.Timeout(5, read=0.5))
        until = time.monotonic() + 10
        while device.waiting() and time.monotonic() < until:
            time.sleep(0.05)
        assert device.waiting() == 0
    finally:
        engine.go.set()


def test_too_many_runs_are_429():
    server = Server(FakeEngine(), runs_a_minute=1)
    try:
        assert server.post("completions", WORDS).status_code == 200
        assert server.post("completions", WORDS).status_code == 429
    finally:
        server.page.close()

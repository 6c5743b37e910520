"""Replies from a server: whole, once each, through refusals and interruptions; what cannot be used is dropped or said in one line."""

import gc
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eesd_core.errors import UserError
from eesd_core.model.load import load_target
from eesd_core.train.lessons import Lessons
from eesd_core.train.replies import remote
from eesd_core.train.replies.store import REPLIES, load_ids, load_replies, parts
from eesd_core.train.replies.turns import end_of_turn

COUNT = 40


class Serving(ThreadingHTTPServer):
    """Replies "Yes. <number of the request's characters>" to all; every `busy`th answer is a refusal for haste."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked, self.busy, self.reply, self.answers = [], 3, None, 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(200, {"data": [{"id": "served"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.answers += 1
        if self.server.busy and not self.server.answers % self.server.busy:
            return self.say(429, {})
        self.server.asked.append(body)
        reply = self.server.reply
        if reply is None:
            message = {"content": f"Yes. {len(body['messages'][-1]['content'])}"}
            reply = 200, {"choices": [{"message": message, "finish_reason": "stop"}]}
        return self.say(*reply)

    def say(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    serving = Serving()
    yield serving
    serving.shutdown()


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    files = {
        "instruct": {"prompt": "Say yes", "source": "a"},
        "books": {"text": "One sentence. " * 90},
        "openstax": {"text": "A fact. " * 90},
    }
    files["dialogues"] = {"text": "Hello there.\nHi.\n" * 20}
    for name, record in files.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(record))
    return folder


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote, "PART", 8)


def ask(address, requests, out, count=COUNT, served_as=None):
    """In a thread of its own: tests with a browser leave an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(remote.replies_from, address, served_as, None, requests, out, count, 32, 4).result()


def test_every_request_has_its_reply_once_and_heads_can_learn_from_it(server, requests, tmp_path, embedded, monkeypatch):
    with monkeypatch.context() as stop:  # as if somebody stopped it after two parts
        real, saved = remote.save_part, []

        def save(*arguments, **options):
            if len(saved) == 2:
                raise KeyboardInterrupt
            saved.append(real(*arguments, **options))

        stop.setattr(remote, "save_part", save)
        with pytest.raises(KeyboardInterrupt):
            ask(server.address, requests, tmp_path)
    assert len(parts(tmp_path)) == 2
    ask(server.address, requests, tmp_path)
    found = list(load_replies(tmp_path / REPLIES))
    assert sorted(replies.number for replies in found) == list(range(COUNT))
    target = load_target(None, "cpu", "float32", "none", alone=True)
    for replies in found:
        text = target.codec.decode(replies.turns[0])
        assert text.startswith("Yes. ") and replies.turns[0][-1] == end_of_turn(target)
    assert any(len(replies.turns) == 2 for replies in found) and {body["model"] for body in server.asked} == {"served"}
    assert [body.get("min_p") for body in server.asked if body["seed"] == 1] and {b["temperature"] for b in server.asked} == {0.0, 0.8, 1.0}
    ids = load_ids(tmp_path, 0)
    assert ids["reply"].any() and Lessons(tmp_path).texts


def test_a_text_that_reads_otherwise_is_dropped_and_counted(server, requests, tmp_path, embedded, monkeypatch, capsys):
    right = remote.ids_of
    monkeypatch.setattr(remote, "ids_of", lambda target, text: right(target, text) if len(server.asked) % 2 else [])
    ask(server.address, requests, tmp_path, 12)
    dropped = int(capsys.readouterr().out.rsplit("; ", 1)[1].split()[0])
    kept = len({replies.number for replies in load_replies(tmp_path / REPLIES)})
    assert dropped > 0 and kept + dropped == 12


def test_only_what_reads_the_same_is_taken(embedded):
    target = load_target(None, "cpu", "float32", "none", alone=True)
    assert target.codec.decode(remote.ids_of(target, "There was a king.")) == "There was a king."
    assert remote.ids_of(target, " \n") == []


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((404, {"error": "no such model"}), "answered 404"),
        ((200, {"choices": []}), "without a reply"),
        ((200, {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}), "without text"),
        ((200, ["a"]), "answered 200"),
        ((503, {}), "in 6 tries"),
    ],
)
def test_what_a_server_says_wrong_is_one_line(server, requests, tmp_path, embedded, reply, says, caplog):
    server.busy, server.reply = 0, reply
    with pytest.raises(UserError, match=says) as problem:
        ask(server.address, requests, tmp_path, 8)
    assert "\n" not in str(problem.value)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]  # of the requests that failed together, one tells it


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "ftp://a/v1", "nonsense"])
def test_what_is_no_server_is_one_line(requests, tmp_path, embedded, address):
    with pytest.raises(UserError, match=r"did not answer|is no address"):
        ask(address, requests, tmp_path, 2)

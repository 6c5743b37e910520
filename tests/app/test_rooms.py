"""Rooms to follow along: everybody sees what the presenter shows, whoever joins late or anew too; nobody else speaks, and a room is gone
when it is over."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fake_engine import FakeEngine

from app import rooms as rooms_module
from app.page import launch
from app.rooms import MOST_ROOMS, SILENT, Rooms
from app.runs import Visits
from eesd_core.errors import UserError

AT = {"cursor": 0, "time": 0.0, "speed": 1.0, "playing": False, "live": True, "round": None}
QUESTION = {"id": 1, "kind": "count", "choices": 7}


def run(coroutine):
    """In a thread of its own: tests with a browser leave an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class Phone:
    """Reads what a room says, as a page does."""

    def __init__(self, room):
        self.lines = room.follow()
        self.name, self.run, self.text, self.place, self.question, self.closed = "", None, "", None, None, False

    async def read(self) -> "Phone":
        for line in (await anext(self.lines)).splitlines():
            said = json.loads(line)
            self.name = said.get("you", self.name)
            if "run" in said:
                self.run, self.text = said["run"], ""
            self.text += said.get("text", "")
            self.place, self.question = said.get("place", self.place), said.get("question", self.question)
            self.closed = said.get("closed", False)
        return self


async def joined(room) -> Phone:
    phone = await Phone(room).read()
    return await phone.read()


def test_everybody_sees_the_run_in_view_whenever_they_come():
    async def lecture():
        room = Rooms().open()
        early = await joined(room)
        assert room.hear(1, 0, "one\n", AT, None) == {"run": 1, "length": 4, "phones": 1, "answers": []}
        assert (await early.read()).text == "one\n"
        room.hear(1, 4, "two\n", AT | {"cursor": 7}, None)
        late = await joined(room)
        assert (await early.read()).text == late.text == "one\ntwo\n" and late.place["cursor"] == 7
        room.hear(2, 0, "<other>\n", AT, None)  # another run: nothing of the first is kept
        for phone in (early, late, await joined(room)):
            await phone.read() if phone.run == 1 else None
            assert (phone.run, phone.text) == (2, "<other>\n")
        await early.lines.aclose()
        assert len(room.phones) == 2

    run(lecture())


def test_what_got_lost_is_asked_for_again():
    room = Rooms().open()
    room.hear(1, 0, "abc", AT, None)
    assert room.hear(1, 0, "abc", AT, None)["length"] == 3, "the same part twice"
    assert room.hear(1, 9, "later", AT, None)["length"] == 3, "a part behind a gap"
    assert room.hear(1, 3, "def", AT, None)["length"] == 6


def test_the_room_answers():
    async def lecture():
        room = Rooms().open()
        phones = [await joined(room) for _ in range(3)]
        room.hear(1, 0, "", AT, QUESTION)
        for phone, choice in zip(phones, (2, 2, 5)):
            room.answer(phone.name, 1, choice)
        room.answer(phones[2].name, 1, 4)  # changed its mind
        assert room.hear(1, 0, "", AT, QUESTION)["answers"] == [0, 0, 2, 0, 1, 0, 0]
        for phone, question, choice in (("nobody", 1, 1), (phones[0].name, 2, 1), (phones[0].name, 1, 7)):
            with pytest.raises(UserError):
                room.answer(phone, question, choice)
        over = QUESTION | {"truth": 2, "guess": 3, "belief": 0.7}
        room.hear(1, 0, "", AT, over)
        with pytest.raises(UserError, match="over"):
            room.answer(phones[0].name, 1, 2)
        assert (await phones[0].read()).question == over | {"counts": [0, 0, 2, 0, 1, 0, 0]}
        assert room.hear(1, 0, "", AT, None)["answers"] == []

    run(lecture())


def test_a_room_closes_when_told_and_when_its_presenter_is_silent():
    async def lecture():
        now = [0.0]
        rooms = Rooms(lambda: now[0])
        told, silent = rooms.open(), rooms.open()
        phones = [await joined(room) for room in (told, silent)]
        rooms.close(rooms.presented(told.code.lower(), told.key))
        now[0] = SILENT + 1
        with pytest.raises(UserError, match="no such room"):
            rooms.room(silent.code)
        for phone in phones:
            assert (await phone.read()).closed
            with pytest.raises(StopAsyncIteration):
                await phone.read()
        assert len(rooms) == 0 and not told.phones and not silent.phones

    run(lecture())


def test_limits(monkeypatch):
    async def lecture():
        monkeypatch.setattr(rooms_module, "MOST_PHONES", 2)
        monkeypatch.setattr(rooms_module, "MOST_RUN", 10)
        rooms = Rooms()
        room = rooms.open()
        _phones = [await joined(room) for _ in range(2)]
        with pytest.raises(UserError, match="full"):
            await anext(room.follow())
        with pytest.raises(UserError, match="MB"):
            room.hear(1, 0, 11 * "x", AT, None)
        for _ in range(MOST_ROOMS - 1):
            rooms.open()
        with pytest.raises(UserError, match="open already"):
            rooms.open()

    run(lecture())


# ---- over HTTP ----


@pytest.fixture(scope="module")
def root():
    page = launch(Visits(FakeEngine()), prevent_thread_lock=True, quiet=True)
    yield f"{page.local_url}gradio_api/eesd/room"
    page.close()


@pytest.fixture(scope="module")
def room(root) -> dict:
    return httpx.post(f"{root}/open", json={}).json()


def said(room: dict, **more) -> dict:
    return room | {"run": 1, "offset": 0, "text": "", "place": AT, "question": None} | more


def test_a_hundred_phones_hear_the_presenter(root, room):
    httpx.post(f"{root}/say", json=said(room, text="first\n")).raise_for_status()

    async def one(client: httpx.AsyncClient, here: asyncio.Event, count: list) -> str:
        heard = ""
        async with client.stream("GET", f"{root}/follow?code={room['code']}") as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_text():
                heard += part
                if "first" in part:
                    count.append(1)
                    if len(count) == 100:
                        here.set()
                if "last" in part:
                    return heard

    async def lecture():
        here, count = asyncio.Event(), []
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            phones = [asyncio.create_task(one(client, here, count)) for _ in range(100)]
            await here.wait()
            answer = await client.post(f"{root}/say", json=said(room, offset=6, text="last\n"))
            assert answer.json()["phones"] == 100
            heard = await asyncio.gather(*phones)
        assert all(text.index("first") < text.index("last") and "<" not in text for text in heard)

    run(lecture())


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("say", {"key": "wrong"}, "not the key"),
        ("say", {"code": "NOROOM"}, "no such room"),
        ("say", {"code": ["A"]}, "no such room"),
        ("say", {"run": -1}, "whole numbers"),
        ("say", {"text": None}, "text must be text"),
        ("say", {"place": {"cursor": "1"}}, "cursor"),
        ("say", {"place": {"elsewhere": 1}}, "place has"),
        ("say", {"question": {"id": 1, "kind": "<b>", "choices": 3}}, "a question has"),
        ("say", {"question": QUESTION | {"choices": 10**9}}, "a question has"),
        ("say", {"question": QUESTION | {"truth": 9, "guess": 1, "belief": 0.5}}, "a question has"),
        ("answer", {"phone": "x", "question": 1, "choice": 10**30}, "an answer has"),
        ("answer", {"phone": "x", "question": 1, "choice": 1}, "not in the room"),
        ("close", {"key": ""}, "not the key"),
    ],
)
def test_hostile_visitors_are_refused_in_one_line(root, room, name, values, why):
    answer = httpx.post(f"{root}/{name}", json=said(room) | values)
    assert answer.status_code == 400 and why in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_bodies_are_json_of_a_sensible_size(root, room):
    assert httpx.post(f"{root}/say", content="{}").json()["error"] == "send application/json"
    big = httpx.post(f"{root}/say", json=said(room, text="x" * 600_000))
    assert big.status_code == 400 and "512 kB" in big.json()["error"]
    assert httpx.post(f"{root}/answer", json={"phone": "x" * 2000}).status_code == 400
    assert "no such room" in httpx.get(f"{root}/follow?code=NOROOM").json()["refused"]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: httpx.post(f"{root}/open", json={}).status_code, range(8)))
    assert codes.count(200) == 5, "six a minute, one of which is the room of these tests"


def test_the_phones_page_lets_in_its_own_script_alone(root):
    page = httpx.get(f"{root}?code=<b>")
    assert page.status_code == 200 and "script-src 'sha256-" in page.text and "<b>" not in page.text

"""A visitor's stream: it only grows, says what happens in time, and always gives the device back."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_engine import FakeEngine

from app.contest import HINDSIGHT_SECONDS, contest
from app.form_values import Limits, request_from_form
from app.runs import FRAME_SECONDS, WAITING_SECONDS, Visits, looked_every, note, told_every
from eesd_core.racing import race

FORM = ("Once upon a time", 0.8, 0, 1, 0, "7", 16)  # the rest of the form has its usual values
BAD = ("", *FORM[1:])


@pytest.fixture
def visits():
    return Visits(FakeEngine(), work=race)


def in_a_loop(coroutine) -> None:
    """In a thread of its own, because Playwright keeps a loop running in the main thread once a browser test has run."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


async def collect(stream) -> list[dict]:
    """All lines of a stream, while checking that its text only grows and cannot open a tag."""
    before = ""
    async for text in stream:
        assert text.startswith(before)
        before = text
    assert "<" not in before
    return [json.loads(line) for line in before.splitlines()]


def types(lines: list[dict]) -> list[str]:
    return [line["type"] for line in lines]


async def see(stream, kind: str) -> str:
    """Read on until the text has a line of this kind."""
    async for text in stream:
        if f'"{kind}"' in text:
            return text
    raise AssertionError(f"no {kind} line came")


async def free(visits: Visits) -> None:
    async with asyncio.timeout(30):
        while visits.device.waiting():
            await asyncio.sleep(0.005)
    assert not visits._jobs


def test_a_run_from_queue_to_verdict(visits):
    async def visit():
        lines = await collect(visits.run("a", "here", *FORM))
        assert lines[0] == {"type": "queue", "run": lines[0]["run"], "place": 0, "waiting": 0}
        assert lines[-1]["type"] == "race_finished" and lines[-1]["identical"]
        assert {line["run"] for line in lines if "lane" in line} == {lines[0]["run"]}
        await free(visits)

    in_a_loop(visit())


@pytest.mark.parametrize("form", [BAD, ("too long", *FORM[1:]), (*FORM[:5], "abc", *FORM[6:]), (None,) * 22])
def test_bad_input_is_one_line_and_the_next_run_works(visits, form):
    async def visit():
        lines = await collect(visits.run("a", "here", *form))
        assert types(lines) == ["error"]
        assert types(await collect(visits.run("a", "here", *FORM)))[-1] == "race_finished"

    in_a_loop(visit())


def test_a_failure_is_one_line_and_the_next_run_works(visits):
    async def visit():
        visits.engine.fail = RuntimeError("out of <memory>")
        lines = await collect(visits.run("a", "here", *FORM))
        assert lines[-1]["type"] == "error" and "RuntimeError" in lines[-1]["message"]
        visits.engine.fail = None
        assert types(await collect(visits.run("a", "here", *FORM)))[-1] == "race_finished"

    in_a_loop(visit())


def test_stop_while_running(visits):
    async def visit():
        visits.engine.go.clear()
        stream = visits.run("a", "here", *FORM)
        await see(stream, "tokens_committed")
        await visits.stop("a")
        lines = await collect(stream)
        assert {"type": "stopped", "message": "by you"} in lines
        assert "run_finished" not in types(lines)
        await free(visits)

    in_a_loop(visit())


def test_stop_while_waiting_in_line(visits):
    async def visit():
        visits.engine.go.clear()
        first, second = visits.run("a", "here", *FORM), visits.run("b", "here", *FORM)
        await see(first, "tokens_committed")
        text = await see(second, "place")
        while '"place": 1' not in text:
            text = await anext(second)
        await visits.stop("b")
        lines = await collect(second)
        assert types(lines)[-1] == "stopped" and "run_started" not in types(lines)
        assert visits.device.waiting() == 1
        await first.aclose()
        await free(visits)

    in_a_loop(visit())


def test_stop_that_overtakes_its_run(visits):
    async def visit():
        visits.engine.go.clear()
        stopping = asyncio.create_task(visits.stop("a"))
        await asyncio.sleep(0)
        assert "stopped" in types(await collect(visits.run("a", "here", *FORM)))
        await stopping
        await free(visits)

    in_a_loop(visit())


def test_a_second_run_ends_the_first(visits):
    async def visit():
        visits.engine.go.clear()
        first, second = visits.run("a", "here", *FORM), visits.run("a", "here", *FORM)
        await see(first, "tokens_committed")
        following = asyncio.create_task(collect(second))
        assert "stopped" in types(await collect(first))
        visits.engine.go.set()
        assert types(await following)[-1] == "race_finished"
        await free(visits)

    in_a_loop(visit())


def test_clients_without_a_session_share_nothing(visits):
    async def visit():
        results = await asyncio.gather(*(collect(visits.run(None, f"address {number}", *FORM)) for number in range(3)))
        assert [types(lines)[-1] for lines in results] == ["race_finished"] * 3
        assert len({lines[0]["run"] for lines in results}) == 3
        await free(visits)

    in_a_loop(visit())


def test_a_closed_stream_gives_the_device_back(visits):
    async def visit():
        visits.engine.go.clear()
        stream = visits.run("a", "here", *FORM)
        await see(stream, "tokens_committed")
        await stream.aclose()
        await free(visits)

    in_a_loop(visit())


def test_a_stream_closed_after_its_first_line_never_asks_for_the_device(visits):
    async def visit():
        stream = visits.run("a", "here", *FORM)
        await anext(stream)
        await stream.aclose()
        await free(visits)

    in_a_loop(visit())


def test_the_longest_run_says_why_it_ended():
    async def visit():
        visits = Visits(FakeEngine(), Limits(seconds=0.05), race)
        visits.engine.go.clear()
        lines = await collect(visits.run("a", "here", *FORM))
        assert {"type": "stopped", "message": "after 0.05 seconds, the most a run may take here"} in lines
        await free(visits)

    in_a_loop(visit())


def test_hindsight_ends_with_stop_and_soon_where_others_wait(monkeypatch):
    """What it asks now and then is whether to go on; here it asks for ever."""
    asked = []

    def hindsight(engine, request, records, stopped):
        while not stopped():
            asked.append(time.monotonic())
            time.sleep(0.005)

    monkeypatch.setattr("app.contest.hindsight", hindsight)

    async def visit():
        visits = Visits(FakeEngine())
        for end in ("stop", "others"):
            stream = visits.run("a", "here", *FORM)
            await see(stream, "race_finished")
            asked.clear()
            await asyncio.sleep(2 * HINDSIGHT_SECONDS)
            assert asked and visits.device.waiting() == 1  # nobody else is there: it has the time it wants
            if end == "stop":
                await visits.stop("a")
                await collect(stream)
            else:
                monkeypatch.setattr("app.contest.hindsight", lambda *_: None)
                assert "race_finished" in types(await collect(visits.run("b", "there", *FORM)))
                await stream.aclose()
            await free(visits)

    in_a_loop(visit())


def test_hindsight_begins_no_piece_for_which_there_is_no_time_where_others_wait(monkeypatch):
    pieces = []

    def hindsight(engine, request, records, stopped):
        while not stopped():
            pieces.append(time.sleep(0.6 * HINDSIGHT_SECONDS))

    monkeypatch.setattr("app.contest.hindsight", hindsight)
    request = request_from_form(*FORM)
    assert list(contest(FakeEngine(), request, "run", bool, others=lambda: True)) and len(pieces) == 1


def test_place_and_estimated_wait_are_told(visits):
    async def visit():
        visits.device.mean_seconds = 4000.0
        visits.engine.go.clear()
        first = visits.run("a", "here", *FORM)
        await see(first, "tokens_committed")
        others = [visits.run(name, f"address {name}", *FORM) for name in "bc"]
        waits = []
        for other in others:
            text = ""
            while '"seconds"' not in text:
                text = await anext(other)
            waits.append(json.loads(text.splitlines()[-1]))
        assert [(wait["place"], wait["waiting"]) for wait in waits] == [(1, 2), (2, 3)]
        assert 3900 < waits[0]["seconds"] <= 4000 and 7900 < waits[1]["seconds"] <= 8000
        for stream in (first, *others):
            await stream.aclose()
        await free(visits)

    in_a_loop(visit())


def test_a_full_line_and_too_many_runs_are_refused_in_words():
    async def visit():
        visits = Visits(FakeEngine(), Limits(waiting=1, runs_a_minute=2), race)
        visits.engine.go.clear()
        first = visits.run("a", "here", *FORM)
        await see(first, "tokens_committed")
        refused = await collect(visits.run("b", "there", *FORM))
        assert (refused[-1]["type"], refused[-1]["message"]) == ("error", "1 runs are waiting already: try again in a minute")
        assert await collect(visits.run("b", "there", *FORM)) != refused  # a text like the last one is not sent
        visits.engine.go.set()
        await collect(first)
        assert types(await collect(visits.run("a", "here", *FORM)))[-1] == "race_finished"
        refused = await collect(visits.run("c", "here", *FORM))
        assert refused[-1]["message"].startswith("2 runs a minute is the most here: try again in ")
        assert types(await collect(visits.run("d", "elsewhere", *FORM)))[-1] == "race_finished"
        await free(visits)

    in_a_loop(visit())


def test_one_address_has_few_places_and_not_all_of_the_device():
    async def visit():
        visits = Visits(FakeEngine(), Limits(waiting_each=2, seconds_a_minute=1.0), race)
        visits.engine.go.clear()
        first, second = visits.run("a", "here", *FORM), visits.run("b", "here", *FORM)
        await see(first, "tokens_committed")
        await anext(second)
        await anext(second)
        refused = await collect(visits.run("c", "here", *FORM))
        assert refused[-1]["message"].startswith("2 runs from your address are in line already")
        await second.aclose()  # leaves the line
        other = visits.run("d", "there", *FORM)
        await anext(other)
        await anext(other)
        visits.seconds.use("here", 5.0)
        refused = await collect(visits.run("c", "here", *FORM))
        assert refused[-1]["message"].startswith("1 seconds of computing a minute is the most for one address while others wait")
        await other.aclose()
        visits.engine.go.set()
        await collect(first)
        assert types(await collect(visits.run("c", "here", *FORM)))[-1] == "race_finished"  # nobody else wants the device
        assert visits.seconds._used["here"][-1][1] > 0  # what the run took is counted
        await free(visits)

    in_a_loop(visit())


def test_who_comes_at_the_same_moment_finds_no_more_room():
    """The line is asked for after the first line was sent, so many may have been let in before the first of them stands in it."""

    async def visit():
        visits = Visits(FakeEngine(), Limits(waiting_each=2), race)
        visits.engine.go.clear()
        streams = [visits.run(name, "here", *FORM) for name in "abcd"]
        for stream in streams:
            await anext(stream)
        texts = [await anext(stream) for stream in streams]
        assert ["from your address are in line already" in text for text in texts] == [False, False, True, True]
        assert visits.device.waiting() == 2
        for stream in streams:
            await stream.aclose()
        await free(visits)

    in_a_loop(visit())


def test_who_waits_is_told_once_a_second(visits):
    async def visit():
        visits.engine.go.clear()
        first, second = visits.run("a", "here", *FORM), visits.run("b", "there", *FORM)
        await see(first, "tokens_committed")
        began, times = time.monotonic(), 0
        async for _ in second:
            times += 1
            if time.monotonic() > began + 1.5:
                break
        assert times <= 4
        await second.aclose()
        await first.aclose()
        await free(visits)

    in_a_loop(visit())


def test_a_long_line_is_told_little_more_often_than_a_short_one():
    assert told_every(0) == told_every(1) == WAITING_SECONDS
    assert sum(1 / told_every(place) for place in range(1, 91)) < 20
    assert looked_every(0) == looked_every(1) == FRAME_SECONDS and sum(1 / looked_every(place) for place in range(1, 91)) < 120


def test_a_note_cannot_open_a_tag():
    assert "<" not in note(type="error", message="</script>")
    assert json.loads(note(message="</script>"))["message"] == "</script>"

"""Visitors who share passes: each hears of his own race, and its text is what it is alone, whoever comes, leaves or cannot be served."""

import asyncio
import json
import random
import time

import pytest
from test_runs import collect, free, in_a_loop, types

from app.form_values import Limits, request_from_form
from app.runs import Visits
from eesd_core.errors import UserError
from eesd_core.racing import race
from eesd_core.rounds import fold

LIMITS = Limits(runs_a_minute=100_000, waiting_each=100, seconds_a_minute=1e9, together=4)
PROMPTS = ("Once upon a time", "The wind", "x y z", "She opened the letter", "A hundred")


def form(number: int, tokens: int = 12) -> tuple:
    return (PROMPTS[number % len(PROMPTS)], 0.8, 0, 1, 0, str(number), tokens)


@pytest.fixture
def visits(engine):
    return Visits(engine, LIMITS)


def text_of(lines: list[dict], lane: str) -> list[int]:
    return [id for line in lines if line["type"] == "tokens_committed" and line["lane"] == lane for id in line["ids"]]


def alone(engine, number: int, lane: str = "eesd") -> list[int]:
    return fold(race(engine, request_from_form(*form(number))), lane).token_ids


def own(lines: list[dict]) -> None:
    """Every line of the visitor's own run, of nobody else's text."""
    records = [line for line in lines if "lane" in line]
    assert {line["run"] for line in records} <= {lines[0]["run"]} and {line["row"] for line in records} <= {0}
    for lane in ("eesd", "vanilla"):
        numbers = [line["seq"] for line in records if line["lane"] == lane]
        assert numbers == list(range(len(numbers)))


def test_twelve_visitors_see_their_own_texts(visits, engine):
    async def visit():
        streams = await asyncio.gather(*(collect(visits.run(f"v{number}", "here", *form(number))) for number in range(12)))
        for number, lines in enumerate(streams):
            own(lines)
            assert lines[-1]["type"] == "race_finished" and lines[-1]["identical"]
            assert text_of(lines, "eesd") == text_of(lines, "vanilla") == alone(engine, number)
            started = next(line for line in lines if line["type"] == "run_started")
            assert started["settings"]["together"]["texts"] == 4  # the page says that device time is shared
        await free(visits)

    in_a_loop(visit())


def test_who_is_alone_has_hindsight_too(visits):
    async def visit():
        assert types(await collect(visits.run("a", "here", *form(1))))[-2:] == ["race_finished", "what_if"]
        await free(visits)

    in_a_loop(visit())


def test_random_leaving_changes_no_other_text(visits, engine):
    chance = random.Random(2)

    async def one(number: int):
        await asyncio.sleep(chance.random() / 4)
        stream, how, after = visits.run(f"v{number}", "here", *form(number)), chance.choice(["stay", "stop", "leave"]), chance.random() / 2
        if how == "stay":
            return number, await collect(stream)
        if how == "stop":
            reading = asyncio.create_task(collect(stream))
            await asyncio.sleep(after)
            await visits.stop(f"v{number}")
            return number, await reading
        text, end = await anext(stream), time.monotonic() + after
        while time.monotonic() < end:
            text = await anext(stream, text)
        await stream.aclose()
        return number, [json.loads(line) for line in text.splitlines()]

    async def visit():
        for number, lines in await asyncio.gather(*map(one, range(24))):
            own(lines)
            expected = alone(engine, number)
            for lane in ("eesd", "vanilla"):
                text = text_of(lines, lane)
                assert text == expected[: len(text)]
            if lines[-1]["type"] in ("race_finished", "what_if"):
                assert text_of(lines, "eesd") == expected
        await free(visits)

    in_a_loop(visit())


def test_a_bad_request_among_good_ones_fails_alone(visits, engine, monkeypatch):
    """Requests that get past the door and cannot be started."""
    problems = {"The wind": RuntimeError("out of <memory>"), "x y z": UserError("ask for less")}

    def start(request, *more, start=engine.start, **parts):
        if request.prompt in problems:
            raise problems[request.prompt]
        return start(request, *more, **parts)

    async def visit():
        expected = [alone(engine, number) for number in (0, 3)]
        monkeypatch.setattr(engine, "start", start)
        streams = await asyncio.gather(*(collect(visits.run(f"v{number}", "here", *form(number))) for number in range(4)))
        assert [text_of(streams[number], "eesd") for number in (0, 3)] == expected
        for number, words in ((1, "RuntimeError"), (2, "ask for less")):
            assert types(streams[number])[-1] == "error" and "tokens_committed" not in types(streams[number])
            assert words in streams[number][-1]["message"] and "memory" not in streams[number][-1]["message"]
        await free(visits)

    in_a_loop(visit())

"""`python app.py`: what cannot be served is said in one line, before the model is loaded."""

import asyncio
import runpy
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from uvicorn import Config

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture
def start(monkeypatch):
    main = runpy.run_path(str(APP))["main"]

    def start(*flags: str) -> int:
        monkeypatch.setattr(sys, "argv", ["app.py", *flags])
        return main()

    return start


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--runs-per-minute", "0"], "--runs-per-minute must be at least 1"),
        (["--together", "0"], "--together must be from 1 to 8"),
        (["--together", "9"], "--together must be from 1 to 8"),
        (["--quantize", "q8", "--dtype", "float32"], "leave out --dtype float32 or --quantize q8"),
        (["--port", "99999"], "port 99999"),
        (["--host", "name.invalid"], "cannot listen on name.invalid"),
        (["--model", "nowhere"], "nowhere"),
        (["--model", "storyteller", "--heads", "nowhere"], "nowhere holds no trained heads"),
    ],
)
def test_wrong_flags_are_one_line(start, capsys, flags, line):
    assert start(*flags) == 2
    said = capsys.readouterr().err
    assert line in said and said.startswith("error: ") and said.count("\n") == 1


@pytest.mark.parametrize("host", [[], ["--host", "0.0.0.0"]])
def test_a_port_in_use_is_one_line(start, capsys, host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert start(*host, "--port", str(taken.getsockname()[1])) == 2
    said = capsys.readouterr().err
    assert "choose another" in said and said.count("\n") == 1


@pytest.mark.parametrize(("space", "seen"), [("someone/space", "203.0.113.9"), (None, "10.16.3.80")])
def test_visitors_have_their_own_address_on_spaces_alone(start, monkeypatch, space, seen):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # so that it is as before afterwards
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    if space:
        monkeypatch.setenv("SPACE_ID", space)
    start("--runs-per-minute", "0")
    addresses = []

    async def app(scope, receive, send):
        addresses.append(scope["client"][0])

    header = (b"x-forwarded-for", b"1.2.3.4, 203.0.113.9, 10.0.0.7")  # the first is what a visitor wrote
    config = Config(app, lifespan="off")
    config.load()
    scope = {"type": "http", "client": ("10.16.3.80", 1), "headers": [header], "scheme": "http"}
    with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running in the main thread once a browser test has run
        thread.submit(asyncio.run, config.loaded_app(scope, None, None)).result()
    assert addresses == [seen]

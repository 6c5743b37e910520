"""Replies from a server with OpenAI's chat completions (vLLM, SGLang, llama.cpp, TGI, `python app.py --openai`), for heads to learn from.

A server sends text, and heads learn from token ids. So a reply is encoded again, and dropped where decoding the ids does not give the same
text. The ids may still differ from those that the server drew; what is learned is the model's own forward pass over them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from ...errors import UserError
from ...model.load import load_target
from ...model.target import Target
from .collect import DRAWS, LONGEST_PROMPT, MOST_TURNS, numbers
from .requests import Requests
from .store import parts, save_part, save_replies
from .turns import end_of_turn, turn_behind
from .writer import WIDTH, Text

TRIES, FIRST_PAUSE = 6, 0.5  # tries per request; seconds before the second try, doubled each time
SILENT = 600.0  # seconds without an answer before a try fails
PART = 32  # texts that are saved together: an interruption loses no more than these
LATER = (408, 425, 429, 500, 502, 503, 504)  # status codes of a server that may answer next time
Message = dict[str, str]


class Said(NamedTuple):
    text: str
    whole: bool  # the model ended it, not the limit


class Server:
    """Use it in `async with`. `address`: as OpenAI's clients take it, including /v1. `model`: the server's name for it; None: the only
    model that it lists."""

    def __init__(self, address: str, model: str | None, new_tokens: int):
        self.address, self.model, self.new_tokens = address.rstrip("/"), model, new_tokens

    async def __aenter__(self) -> "Server":
        self.client = httpx.AsyncClient(timeout=httpx.Timeout(SILENT, connect=10.0))
        if self.model is None:
            listed = (await self.ask("GET", "/models")).get("data")
            names = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
            if len(names) != 1:
                raise UserError(f"{self.address} serves {', '.join(map(str, names)) or 'no model'}: choose one with --served-as NAME")
            self.model = names[0]
        return self

    async def __aexit__(self, *_) -> None:
        await self.client.aclose()

    async def reply(self, messages: list[Message], temperature: float, min_p: float, seed: int) -> Said:
        """The model's reply to a conversation. Raises UserError."""
        body = {"model": self.model, "messages": messages, "temperature": temperature, "seed": seed, "max_tokens": self.new_tokens}
        answer = await self.ask("POST", "/chat/completions", body | ({"min_p": min_p} if min_p else {}))
        try:
            choice = answer["choices"][0]
            text, reason = choice["message"]["content"], choice["finish_reason"]
        except (KeyError, IndexError, TypeError):
            raise UserError(f"{self.address} answered without a reply in it: is it a server of chat completions?") from None
        if not isinstance(text, str):
            raise UserError(f"{self.address} answered without text: is it a server of chat completions?")
        return Said(text, reason == "stop")

    async def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """The answer, a JSON object. Raises UserError after the last try, or at once where another try makes no sense."""
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                answer = await self.client.request(method, self.address + path, json=body)
                if answer.status_code not in LATER:
                    break
                problem = f"status {answer.status_code}"
            except httpx.InvalidURL as error:
                raise UserError(f"{self.address} is no address ({error}): write http://HOST:PORT/v1") from None
            except httpx.UnsupportedProtocol:
                raise UserError(f"{self.address} is no address of a server: write http://HOST:PORT/v1") from None
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
        else:
            raise UserError(f"{self.address} did not answer in {TRIES} tries ({problem}): what is written is kept; try again later")
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.status_code != 200 or not isinstance(value, dict):
            said = " ".join(answer.text.split())[:200]
            raise UserError(f"{self.address}{path} answered {answer.status_code} ({said}): check the address and the model's name")
        return value


def replies_from(
    address: str, served_as: str | None, model: str, data: Path, out: Path, count: int, new_tokens: int, at_once: int
) -> None:  # fmt: skip
    """As `collect.write_replies`, but a server writes. `model`: the same model on this machine, for its tokenizer. `at_once`: requests
    under way. Raises UserError."""
    requests = Requests(data)
    target = load_target(model, "cpu", "float32", "none", alone=True)
    out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_gather(Server(address, served_as, new_tokens), target, requests, out, count, at_once))
    save_replies(out)


async def _gather(server: Server, target: Target, requests: Requests, out: Path, count: int, at_once: int) -> None:
    done = numbers(out)
    todo = ((number, *DRAWS[number % len(DRAWS)]) for number in range(count) if number not in done)
    index, began, new, dropped, finished = max(parts(out), default=-1) + 1, time.monotonic(), 0, 0, []

    def keep() -> None:
        nonlocal index, finished
        if finished:
            save_part(out, index, [(text, None) for text in finished], (), states=False)
            index, finished = index + 1, []
        pace = new / (time.monotonic() - began)
        print(f"{index} parts: {new:,} tokens came, {pace:.0f} a second; {dropped} texts dropped", flush=True)

    try:
        async with server:
            async for text in texts_from(server, target, requests, todo, at_once):
                dropped += text is None
                if text:
                    finished.append(text)
                    new += sum(end - begin for begin, end in text.turns)
                if len(finished) == PART:
                    keep()
    finally:
        keep()


async def texts_from(
    server: Server, target: Target, requests: Requests, todo: Iterator[tuple[int, float, float]], at_once: int
) -> AsyncIterator[Text | None]:  # fmt: skip
    """Texts as they are completed, with `at_once` of them under way. None stands for a text that changes when encoded again, or whose
    request is too long. todo: number, temperature, min-p. Raises UserError."""
    working: set[asyncio.Task] = set()
    try:
        while True:
            while len(working) < at_once and (draw := next(todo, None)):
                working.add(asyncio.create_task(one_text(server, target, requests, *draw)))
            if not working:
                return
            done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task.exception() is not None):  # failures last: texts that came are kept first
                yield task.result()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)  # several may have failed for the same reason; one is reported


async def one_text(server: Server, target: Target, requests: Requests, number: int, temperature: float, min_p: float) -> Text | None:
    """A request, its reply, and perhaps a second turn. None where the request is too long, or a reply changes when it is encoded again."""
    messages: list[Message] = [{"role": "user", "content": requests.draw(number)}]
    text = Text(number, list(target.codec.encode_chat(messages)), temperature, min_p)
    if len(text.ids) > LONGEST_PROMPT:
        return None
    while True:
        said = await server.reply(messages, temperature, min_p, number)
        reply = ids_of(target, said.text)
        if not reply:
            return None
        reply += [end_of_turn(target)] if said.whole else []
        text.turns.append((len(text.ids), len(text.ids) + len(reply)))
        text.ids += reply
        request = requests.follow_up(number) if said.whole and len(text.turns) < MOST_TURNS else None
        more = turn_behind(target, request) if request else []
        if not more or len(text.ids) + len(more) + server.new_tokens // 2 > WIDTH:
            return text
        text.ids += more
        messages += [{"role": "assistant", "content": said.text}, {"role": "user", "content": request}]


def ids_of(target: Target, text: str) -> list[int]:
    """A reply's ids; none where decoding them does not give the reply."""
    if not text.strip():
        return []
    special = target.codec.special_ids
    ids = [id for id in target.codec.encode(text) if id not in special]
    return ids if target.codec.decode(ids) == text else []

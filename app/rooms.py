"""Rooms for following along: phones see what the presenter's page shows, as it happens.

The presenter's page sends the lines of its run and the state of its playhead; every follower reads the same bytes from where it left off. A
room keeps only the run in view and no names. It is gone when it is closed or its presenter has been silent too long. Everything here runs
in the server's event loop and touches no device.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from eesd_core.errors import UserError

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ"  # without I, L and O, which are read as digits
MOST_ROOMS, MOST_PHONES = 20, 300  # per server; per room
MOST_RUN = 8 * 2**20  # characters of a run's lines
SILENT = 15 * 60.0  # seconds without a word from the presenter's page, after which a room closes
PULSE = 15.0  # seconds between keep-alive lines to a phone: the server notices that a phone has left only when it sends


class Room:
    def __init__(self, code: str, key: str, now: Callable[[], float] = time.monotonic):
        """Followers join with `code`; the presenter speaks with `key`."""
        self.code, self.key, self.now = code, key, now
        self.heard = now()
        self.run = 0  # number of the run in view; a higher number starts a new run
        self.length = 0  # characters of the run's lines
        self.place: dict = {}  # where the presenter's playhead is
        self.question: dict | None = None
        self.answers: dict[str, int] = {}  # to the question in view, by phone
        self.phones: set[str] = set()
        self.closed = False
        self._parts: list[bytes] = []  # lines for followers; each wraps some of the run's lines
        self._news = 0  # counts changes of place and question
        self._changed = asyncio.Event()

    def hear(self, run: int, offset: int, text: str, place: dict, question: dict | None) -> dict:
        """Take an update from the presenter's page: `text` continues the lines of `run` at character `offset`. Returns how much has
        arrived, so that the page resends what was lost, and the room's answers. Raises UserError."""
        self.heard = self.now()
        if run > self.run:
            self.run, self.length, self._parts = run, 0, []
        if run == self.run and offset == self.length and text:
            if self.length + len(text) > MOST_RUN:
                raise UserError(f"this run has more than {MOST_RUN >> 20} MB: followers see no more of it")
            self._parts.append(line(text=text))
            self.length += len(text)
        if not (question and self.question and question["id"] == self.question["id"]):
            self.answers = {}
        self.question = question
        if question and "truth" in question:
            self.question = question | {"counts": self.counts()}
        self.place = place
        self._news += 1
        self._wake()
        return {"run": self.run, "length": self.length, "phones": len(self.phones), "answers": self.counts()}

    def counts(self) -> list[int]:
        """How many chose each answer."""
        if not self.question:
            return []
        given = list(self.answers.values())
        return [given.count(choice) for choice in range(self.question["choices"])]

    def answer(self, phone: str, question: int, choice: int) -> None:
        """`choice`: 0, 1 ... A phone's last answer counts. Raises UserError."""
        if phone not in self.phones:
            raise UserError("this phone is not in the room: load the page again")
        if not self.question or question != self.question["id"] or "truth" in self.question:
            raise UserError("that question is over")
        if choice >= self.question["choices"]:
            raise UserError("that is none of the answers")
        self.answers[phone] = choice

    async def follow(self) -> AsyncIterator[bytes]:
        """Lines for one phone, from the beginning of the run in view until the room closes. Raises UserError if the room is full."""
        if len(self.phones) >= MOST_PHONES:
            raise UserError(f"the room is full: {MOST_PHONES} phones are the most")
        phone = secrets.token_urlsafe(9)
        self.phones.add(phone)
        run, sent, news = -1, 0, -1
        try:
            yield line(you=phone)
            while not self.closed:
                changed, out = self._changed, []
                if run != self.run:
                    run, sent = self.run, 0
                    out.append(line(run=run))
                out += self._parts[sent:]
                sent = len(self._parts)
                if news != self._news:
                    news = self._news
                    out.append(line(place=self.place, question=self.question))
                yield b"".join(out) or b"\n"
                with suppress(TimeoutError):
                    async with asyncio.timeout(PULSE):
                        await changed.wait()
            yield line(closed=True)
        finally:
            self.phones.discard(phone)
            self.answers.pop(phone, None)

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Rooms:
    def __init__(self, now: Callable[[], float] = time.monotonic):
        self.now = now
        self._rooms: dict[str, Room] = {}  # by code

    def open(self) -> Room:
        """Open a new room. Raises UserError."""
        self._sweep()
        if len(self._rooms) >= MOST_ROOMS:
            raise UserError(f"{MOST_ROOMS} rooms are open already: try again later")
        code = next(code for code in iter(new_code, "") if code not in self._rooms)
        room = self._rooms[code] = Room(code, secrets.token_urlsafe(18), self.now)
        return room

    def presented(self, code: object, key: object) -> Room:
        """The room with this code, if the key is its presenter's. Raises UserError."""
        room = self.room(code)
        if not isinstance(key, str) or not secrets.compare_digest(room.key.encode(), key.encode("utf-8", "replace")):
            raise UserError("this is not the key of that room")
        return room

    def room(self, code: object) -> Room:
        """The room with this code. Raises UserError."""
        self._sweep()
        room = self._rooms.get(code.upper()) if isinstance(code, str) else None
        if room is None:
            raise UserError("there is no such room: it was closed, or the code is mistyped")
        return room

    def close(self, room: Room) -> None:
        room.close()
        self._rooms.pop(room.code, None)

    def _sweep(self) -> None:
        for room in list(self._rooms.values()):
            if self.now() - room.heard > SILENT:
                self.close(room)

    def __len__(self) -> int:
        return len(self._rooms)


def new_code() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(6))


def line(**values) -> bytes:
    """One JSON line. It contains no "<", like all lines to a page."""
    return json.dumps(values).replace("<", "\\u003c").encode() + b"\n"

"""What a room costs the server: with `python -m tools.measure --followers N` a presenter shows the recorded race to N phones.

Prints how late they see it, and how much processor time the server takes for it. Presenter and phones are one process of their own at the
lowest priority; they speak plain HTTP as pages do.
"""

import asyncio
import json
import subprocess
import sys
import time

import httpx

from app.page import OPENING
from app.runs import Visits
from eesd_core.memory import memory_mb
from eesd_core.racing import race
from eesd_core.request import Request

EVERY = 0.5  # seconds between two messages of a presenter's page
ROOMS = 20
SLOWLY, QUICKLY = 8.0, 0.02  # seconds of a lecture per second of the recorded race


def measure_room(visits: Visits, url: str, phones: int) -> None:
    def one_run() -> float:
        began, used = time.perf_counter(), time.process_time()
        list(race(visits.engine, Request("Once upon a time there was a king who", 256)))
        return (time.process_time() - used) / (time.perf_counter() - began)

    visits.device.call(one_run)  # warm-up
    run = visits.device.call(one_run)
    print(f"a run by itself takes {run:.2f} s of processor time a second")
    (shown, joining, following), _ = speak(url, phones, SLOWLY, 1)
    share = following / shown["seconds"]
    print(f"{phones} phones take {joining:.2f} s to join, then {share:.3f} s a second for {shown['seconds']:.0f} s:", end=" ")
    print(f"{share / run:.1%} of a run's")
    print(f"they see the run {shown['median']:.3f} s later, at most {shown['most']:.3f} s; the last round at most {shown['last']:.3f} s")
    _, memory = speak(url, phones, QUICKLY, ROOMS)
    if None not in memory:
        early, late = memory[ROOMS // 4], memory[-1]
        print(f"memory of the server: {late:.0f} MB after {ROOMS} rooms, {late / early - 1:+.1%} since the first quarter")


def speak(url: str, phones: int, pace: float, rooms: int) -> tuple[tuple[dict, float, float], list[float | None]]:
    """What the phones of the last room saw; the server's processor time while they joined and while they followed; its memory after every
    room."""
    command = ["nice", "-n", "19", sys.executable, "-m", "tools.measure_room", url, str(phones), str(pace), str(rooms)]
    memory = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as visitors:
        for _ in range(rooms):
            times = []
            for _ in ("joining", "joined", "over"):
                text = visitors.stdout.readline()
                times.append(time.process_time())
            memory.append(memory_mb())
    return (json.loads(text), times[1] - times[0], times[2] - times[1]), memory


async def lecture(url: str, phones: int, pace: float) -> dict:
    """A room from its opening to its end; returns how late its phones saw things, in seconds."""
    root, lines = f"{url}gradio_api/eesd/room", OPENING.read_text(encoding="ascii").splitlines(keepends=True)
    timed = sorted(((json.loads(line).get("t", 0.0), i) for i, line in enumerate(lines)), key=lambda pair: pair[0])
    said, heard = {}, []  # when a part was sent, by where it ends; how much later it arrived
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:
        room = (await http.post(f"{root}/open", json={})).json()
        here, last = asyncio.Semaphore(0), []

        async def follow() -> None:
            length, rest = 0, ""
            async with http.stream("GET", f"{root}/follow?code={room['code']}") as answer:
                here.release()
                async for part in answer.aiter_text():
                    *whole, rest = (rest + part).split("\n")
                    for line in filter(None, whole):
                        length += len(json.loads(line).get("text", ""))
                    heard.append(time.perf_counter() - said.get(length, time.perf_counter()))
                    if length == total:
                        last.append(heard[-1])
                        return

        total = sum(map(len, lines))
        print("joining", flush=True)
        tasks = [asyncio.create_task(follow()) for _ in range(phones)]
        for _ in tasks:
            await here.acquire()
        print("joined", flush=True)
        offset, sent, began = 0, 0, time.perf_counter()
        while sent < len(timed):
            now = (time.perf_counter() - began) / pace
            count = sum(t <= now for t, _ in timed)
            text = "".join(lines[i] for _, i in timed[sent:count])
            place = {"cursor": count, "time": now, "speed": 1, "playing": False, "live": True, "round": None}
            values = {"run": 1, "offset": offset, "text": text, "place": place, "question": None}
            offset, sent = offset + len(text), count
            said[offset] = time.perf_counter()
            (await http.post(f"{root}/say", json=room | values)).raise_for_status()
            await asyncio.sleep(EVERY * min(1.0, pace))
        await asyncio.gather(*tasks)
        seconds = time.perf_counter() - began
        await http.post(f"{root}/close", json=room)
    heard.sort()
    return {"seconds": seconds, "median": heard[len(heard) // 2], "most": heard[-1], "last": max(last)}


if __name__ == "__main__":
    for _ in range(int(sys.argv[4])):
        print(json.dumps(asyncio.run(lecture(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))), flush=True)

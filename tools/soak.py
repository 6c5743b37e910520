"""Visitors that come, stop and leave at random: `python -m tools.measure --soak N` sends N runs to the server, one after the other.

They speak plain HTTP as a browser does, and ask /health for the server's state: after every run the device must be free again, and memory
must not grow.
"""

import asyncio
import json
import random
import time
import uuid
from dataclasses import dataclass, field

import httpx

PROMPTS = ("Once upon a time", "The wind had been rising", "She opened the letter")
MOST_WAIT = 10.0  # seconds after which a device that is still busy counts as held
NAMES = ("finished", "stopped", "left")


@dataclass(slots=True)
class Report:
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    held: int = 0  # runs after which the device stayed busy
    freed: list[float] = field(default_factory=list)  # seconds from Stop or leaving to a free device, including the way there and back
    memory: list[float | None] = field(default_factory=list)  # MB after every run

    def growth(self) -> float | None:
        """The last tenth relative to the tenth after the first fifth, since caches fill up in the beginning; None if memory is unknown."""
        tenth = max(1, len(self.memory) // 10)
        early, late = self.memory[2 * tenth : 3 * tenth], self.memory[-tenth:]
        return sum(late) / sum(early) - 1 if early and None not in self.memory else None


async def soak(url: str, runs: int, form: dict, seed: int = 1) -> Report:
    """`form`: values by name, besides prompt and seed."""
    chance, report = random.Random(seed), Report()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        stream, stop, usual = await endpoints(http)
        for number in range(runs):
            named = form | {"prompt": chance.choice(PROMPTS), "seed": str(number)}
            data = [named.get(props["elem_id"].replace("-", "_"), props.get("value")) for props in usual]
            how = chance.choice(NAMES)
            await visit(http, stream, stop, data, how, chance.random())
            report.ends[how] += 1
            began = time.monotonic()
            while (state := (await http.get("/health")).json())["waiting"] and time.monotonic() < began + MOST_WAIT:
                await asyncio.sleep(0.005)
            report.held += state["waiting"] > 0
            if how != "finished":
                report.freed.append(time.monotonic() - began)
            report.memory.append(state["memory_mb"])
    return report


async def endpoints(http: httpx.AsyncClient) -> tuple[int, int, list[dict]]:
    """Gradio's ids of Run and Stop, and the form's fields as on the page."""
    config = (await http.get("/config")).json()
    stream, stop = (next(d for d in config["dependencies"] if d["api_name"] == name) for name in ("stream", "stop"))
    return stream["id"], stop["id"], [next(c for c in config["components"] if c["id"] == id)["props"] for id in stream["inputs"]]


async def visit(http: httpx.AsyncClient, stream: int, stop: int, data: list, how: str, when: float) -> None:
    """One run: to its end, or until, `when` seconds into it, Stop is pressed or the connection closed."""
    session = uuid.uuid4().hex[:11]
    await http.post("/gradio_api/queue/join", json={"data": data, "fn_index": stream, "session_hash": session})
    began = time.monotonic()
    async with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
        async for line in answer.aiter_lines():
            if how != "finished" and time.monotonic() > began + when:
                if how == "left":
                    return
                await http.post("/gradio_api/run/stop", json={"data": [], "fn_index": stop, "session_hash": session})
                how = "finished"  # the rest of the stream ends by itself
            if line.startswith("data:") and json.loads(line[5:])["msg"] in ("process_completed", "close_stream"):
                return

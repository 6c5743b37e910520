"""What serving costs. `python -m tools.measure` prints the engine's speed with and without a client that consumes the stream, and the time
from pressing Run to the first token at the client. `--waiting 90` prints the speed of a race while nobody and while 90 visitors wait behind
it, `--soak 200` makes 200 runs by visitors who stop and leave at random, `--followers 100` shows a run to 100 phones (measure_room.py),
`--page` measures the page in a browser (measure_page.py).

The client is a process of its own. Rounds alternate (A B B A).
"""

import argparse
import asyncio
import subprocess
import sys
import time
from functools import partial
from statistics import median

import gradio as gr
import httpx
from gradio_client import Client

from app.form import FIELDS
from app.form_values import Limits, request_from_form
from app.page import OPENING, launch
from app.runs import Visits
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.racing import race

from .measure_room import measure_room
from .soak import endpoints, soak, visit

FORM = {"prompt": "Once upon a time there was a king who", "new_tokens": 256}
SETTLE = 1.5  # seconds between the last visitor's joining the line and the race
SOAK_FORM = {"new_tokens": 64}
NO_LIMIT = Limits(seconds=1e9, waiting=1000, runs_a_minute=1_000_000, waiting_each=1000, seconds_a_minute=1e9, rooms_a_minute=1000)


def consume(url: str) -> None:
    """The client: run once, print the seconds to the first token and the sum of both lanes' clocks at the end."""
    client = Client(url, verbose=False)
    began, first = time.perf_counter(), None
    job = client.submit(*(FORM.get(field.name, field.value) for field in FIELDS), api_name="/stream")
    while not job.done():  # a job's own iterator polls a thousand times a second, which alone takes several percent of two cores
        time.sleep(0.02)
        if first is None and any('"draft_token"' in text for text in job.outputs()):
            first = time.perf_counter() - began
    text = job.outputs()[-1]
    finished = [line for line in text.splitlines() if '"run_finished"' in line]
    seconds = sum(float(line.split('"t":')[1].split(",")[0]) for line in finished)
    print(f"{first} {seconds}")


def watching(visits: Visits, url: str) -> None:
    def alone() -> float:
        records = visits.device.call(lambda: list(race(visits.engine, request_from_form(**FORM))))
        return sum(Metrics.fold(records, lane).seconds for lane in ("vanilla", "eesd"))

    def watched() -> tuple[float, float]:
        command = [sys.executable, "-m", "tools.measure", "--consume", url]
        first, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return float(first), float(seconds)

    alone(), watched()  # warm-up
    without, with_client, firsts = [], [], []
    for order in ("AB", "BA") * 3:
        for letter in order:
            if letter == "A":
                without.append(alone())
            else:
                first, seconds = watched()
                firsts.append(first)
                with_client.append(seconds)
    kept = median(without) / median(with_client)
    print(f"both lanes' clocks: alone {median(without):.2f} s, with a client {median(with_client):.2f} s, {kept:.1%} of the speed kept")
    print(f"first token {median(firsts):.2f} s after Run, at most {max(firsts):.2f} s")


def waiting(visits: Visits, url: str, count: int) -> None:
    def raced(behind: int) -> dict[str, float]:
        """Tokens per second of both lanes, measured once `behind` visitors wait behind the race."""
        while visits.device.waiting() <= behind:
            time.sleep(0.05)
        time.sleep(SETTLE)
        records = list(race(visits.engine, request_from_form(**FORM)))
        return {lane: Metrics.fold(records, lane).tokens_per_second for lane in ("vanilla", "eesd")}

    visits.device.call(partial(raced, 0))  # warm-up
    found = {0: [], count: []}
    for behind in (0, count, count, 0):
        command = [sys.executable, "-m", "tools.measure", "--wait", str(behind), "--url", url]
        visitors = subprocess.Popen(command) if behind else None
        found[behind].append(visits.device.call(partial(raced, behind)))
        if visitors:
            visitors.terminate()
            visitors.wait()
        while visits.device.waiting():  # a visitor's leaving is noticed when the next line is sent to them
            time.sleep(0.05)
        for lane, speed in found[behind][-1].items():
            print(f"{behind:>3} waiting, {lane}: {speed:.1f} tokens/s", flush=True)
    for lane in ("vanilla", "eesd"):
        alone, beside = (median(speeds[lane] for speeds in found[behind]) for behind in found)
        print(f"{lane}: {alone:.1f} tokens/s with nobody waiting, {beside:.1f} with {count}, {beside / alone:.1%} of the speed kept")


def soaking(url: str, runs: int) -> None:
    """Runs in a process of its own, so that the client's memory is not the server's."""
    report = asyncio.run(soak(url, runs, SOAK_FORM))
    ends = ", ".join(f"{count} {name}" for name, count in report.ends.items())
    print(f"{sum(report.ends.values())} runs: {ends}; the device stayed busy behind {report.held}")
    if report.freed:
        print(f"free {median(report.freed):.3f} s after Stop or leaving, at most {max(report.freed):.3f} s")
    growth = report.growth()
    print("memory of the server: " + ("unknown" if growth is None else f"{report.memory[-1]:.0f} MB, {growth:+.1%} since the first fifth"))


async def wait_in_line(url: str, count: int) -> None:
    """Visitors that read what they are told, until this process is terminated."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as http:
        stream, _, usual = await endpoints(http)
        data = [props.get("value") for props in usual]
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(visit(http, stream, 0, data, "finished", 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, metavar="N", help="so many visitors wait behind a race, and nobody")
    parser.add_argument("--soak", type=int, metavar="N", help="so many runs by visitors that stop and leave at random")
    parser.add_argument("--followers", type=int, metavar="N", help="what a room with so many phones costs the server")
    parser.add_argument("--page", action="store_true", help="first paint, scrubbing and memory of the page; needs Chromium")
    parser.add_argument("--url", metavar="URL", help="with --soak: a server that runs already, such as http://127.0.0.1:7860/")
    parser.add_argument("--consume", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--wait", type=int, metavar="N", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.consume:
        return consume(flags.consume)
    if flags.wait:
        return asyncio.run(wait_in_line(flags.url, flags.wait))
    if flags.soak and flags.url:
        return soaking(flags.url, flags.soak)
    visits = Visits.load(lambda quantize: load_engine(quantize=quantize), NO_LIMIT)
    url = launch(visits, prevent_thread_lock=True, quiet=True).local_url
    if flags.waiting:
        waiting(visits, url, flags.waiting)
    elif flags.soak:
        subprocess.run([sys.executable, "-m", "tools.measure", "--soak", str(flags.soak), "--url", url], check=True)
    elif flags.followers:
        measure_room(visits, url, flags.followers)
    elif flags.page:
        from .measure_page import measure_page  # playwright is installed for the tests; nothing else here needs it

        measure_page(url, OPENING.read_text(encoding="ascii"))
    else:
        watching(visits, url)
    gr.close_all()


if __name__ == "__main__":
    main()

"""What watching costs: `python -m app.measure` prints the engine's speed with and without a client that consumes the stream.

The client is gradio_client in a process of its own. Rounds alternate (A B B A). Also printed: time from pressing Run to the first
token at the client.
"""

import subprocess
import sys
import time
from statistics import median

import gradio as gr
from gradio_client import Client

from eesd_core.loading import load_engine
from eesd_core.race import race
from eesd_core.trace import Metrics

from .page import launch
from .settings import request_from_form
from .visit import Visits

FORM = ("Once upon a time there was a king who", 0.8, 1.0, "7", 256, "beta", 1, 1, 4)


def consume(url: str) -> None:
    """The client: run once, print seconds to the first token and what each lane's clock said at the end."""
    client = Client(url, verbose=False)
    began, first = time.perf_counter(), None
    job = client.submit(*FORM, api_name="/race")
    while not job.done():  # a job's own iterator looks a thousand times a second, which alone takes several percent of two cores
        time.sleep(0.02)
        if first is None and any('"draft_token"' in text for text in job.outputs()):
            first = time.perf_counter() - began
    text = job.outputs()[-1]
    finished = [line for line in text.splitlines() if '"run_finished"' in line]
    seconds = sum(float(line.split('"t":')[1].split(",")[0]) for line in finished)
    print(f"{first} {seconds}")


def main() -> None:
    visits = Visits.load(load_engine)
    url = launch(visits, prevent_thread_lock=True, quiet=True).local_url

    def alone() -> float:
        records = visits.device.call(lambda: list(race(visits.engine, request_from_form(*FORM))))
        return sum(Metrics.fold(records, lane).seconds for lane in ("vanilla", "eesd"))

    def watched() -> tuple[float, float]:
        command = [sys.executable, "-m", "app.measure", url]
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
    gr.close_all()


if __name__ == "__main__":
    consume(sys.argv[1]) if len(sys.argv) > 1 else main()

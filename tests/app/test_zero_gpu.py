"""ZeroGPU's boundary, acted out: whatever goes into the function or comes out of it has been pickled."""

import asyncio
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from app.form_values import Limits
from app.page import build_page


def lending(duration):
    """Stands for spaces.GPU."""

    def decorate(function):
        def call(*values):
            request, run = pickle.loads(pickle.dumps(values))
            assert 0 < duration(request, run) <= 60
            for record in function(request, run):
                yield pickle.loads(pickle.dumps(record))

        return call

    return decorate


def test_a_run_crosses_the_boundary_as_plain_values(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lending))
    from app.zero_gpu import lent_visits

    devices = []
    visits = lent_visits(lambda device: devices.append(device) or engine, Limits(seconds=60), "storyteller")

    async def visit() -> list[dict]:
        form = ["Once", 0.8, 0, 1, 0, "7", 12]
        stream = [text async for text in visits.run("a", "here", *form)]
        return [json.loads(line) for line in stream[-1].splitlines()]

    with ThreadPoolExecutor(1) as thread:
        lines = thread.submit(asyncio.run, visit()).result()
        again = thread.submit(asyncio.run, visit()).result()
    assert devices == ["cpu", "cuda"]  # the worker loads once
    assert [line["type"] for line in lines][-2:] == ["race_finished", "what_if"]
    posteriors = [line["posterior"] for line in lines if line["type"] == "posterior_updated"]
    assert posteriors and all(posterior["alpha"] > 0 for posterior in posteriors)
    texts = [[line["text"] for line in run if line.get("lane") == "eesd" and line["type"] == "tokens_committed"] for run in (lines, again)]
    assert texts[0] == texts[1]  # nothing was kept between two calls
    offered = {function.api_name for function in build_page(visits).fns.values()}
    assert "race" in offered and "generate" not in offered

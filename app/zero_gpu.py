"""ZeroGPU lends a GPU to one call of one function, which runs in its own worker process.

Arguments and results are pickled. The request goes in as plain values, including the controller's prior; records come out, including the
posterior of every round. No tensor and no state of the main process crosses over. Both lanes run inside one call, so they share the device
and the wait for it is on neither clock. The main process has no GPU to check and time the model on, so the worker loads the model,
once in its lifetime.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace

from eesd_core.engine import Engine
from eesd_core.events import Record
from eesd_core.request import Request

from .contest import contest
from .engines import Engines
from .form_values import Limits
from .runs import Visits

LOADING = 15.0  # seconds lent for the model and its checks
A_TOKEN = 0.1  # seconds more for each token of both lanes: generous, since unused time is not charged


def lent_visits(load: Callable[[str], Engine], limits: Limits, model: str) -> Visits:
    """`load` takes a device and loads `model`. The main process uses its engine only to encode prompts."""
    import spaces

    engine = cache(load)
    reader = engine("cpu")

    def seconds(request: Request, run: str) -> float:
        return min(limits.seconds, LOADING + A_TOKEN * request.max_new_tokens)

    @spaces.GPU(duration=seconds)
    def race_on_gpu(request: Request, run: str) -> Iterator[Record]:
        end = time.monotonic() + seconds(request, run)
        yield from contest(engine("cuda"), request, run, lambda: time.monotonic() > end)

    def lent(_: Engine, request: Request, run: str, stopped: Callable[[], bool]) -> Iterator[Record]:
        return race_on_gpu(request, run)

    target = SimpleNamespace(name=reader.target.name, device="cuda, lent for a run", precision="auto", codec=reader.target.codec)
    shown = SimpleNamespace(target=target, level="exact-as-observed", encode=reader.encode, heads=reader.heads, measured=None)
    visits = Visits(Engines(shown, model=model), limits, lent)
    visits.machine, visits.studies = "ZeroGPU", False
    return visits

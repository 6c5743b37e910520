"""ZeroGPU: a GPU is lent to one call of one function, which runs in a worker process of its own.

What goes in and comes out is pickled: the request goes in as plain values, the controller's prior among them, and records come out, the
posterior of every round among them. No tensor and nothing that the main process holds crosses over. Both lanes run inside one call, so
that they share the device and the wait for it is on nobody's clock. The worker loads the model itself, since the main process has no GPU
to check and to time it on; while the worker lives it is loaded once.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace

from eesd_core.engine import Engine
from eesd_core.events import Record
from eesd_core.request import Request

from .form_values import Limits
from .runs import Visits, contest

LOADING = 15.0  # seconds lent for the model and its checks
A_TOKEN = 0.1  # and for a token in both lanes: generous, since what is lent and not used is not counted


def lent_visits(load: Callable[[str], Engine], limits: Limits) -> Visits:
    """`load` takes a device. In the main process the engine reads prompts and nothing else."""
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
    shown = SimpleNamespace(target=target, level="exact-as-observed", encode=reader.encode, heads=reader.heads)
    visits = Visits(shown, limits, lent)
    visits.machine, visits.studies = "ZeroGPU", False
    return visits

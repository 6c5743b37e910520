"""Which backend writes a text. `device`: rounds stay on the GPU, with one copy to the host each (device_run.py). `host`: the host starts
every step and reads every draft (run.py). Only this file decides.

Times of the two cannot be compared. So runs that are compared are asked about together, and all get the same backend.
"""

from typing import TYPE_CHECKING, Literal

from .model.cuda.graph_steps import unfit
from .request import Request

if TYPE_CHECKING:
    from .engine import Engine

Backend = Literal["device", "host"]
BLIND = ("fixed", "beta", "ucb", "heuristic")  # controllers that ignore the confidence: it is not known before a round is over


def backend(engine: "Engine", *requests: Request) -> Backend:
    """The backend for these runs, which may be compared."""
    return "host" if why_host(engine, *requests) else "device"


def why_host(engine: "Engine", *requests: Request) -> str:
    """Why these runs need the host, in a few words; "": they do not."""
    if not on_gpu(engine):
        return "the model is not on a GPU"
    reasons = (needs_host(engine, request) for request in requests)
    return unfit(engine.target) or next(filter(None, reasons), "") or engine.on_device.refused


def on_gpu(engine: "Engine") -> bool:
    return engine.target.device.type == "cuda"


def needs_host(engine: "Engine", request: Request) -> str:
    """What in this request needs the host; "": nothing."""
    if request.sampling.rejects:
        return "rejection sampling compares whole distributions"
    if request.method == "vanilla":
        return ""
    if request.drafter.name != "early-exit" or request.drafter.settings.get("rows", 1) > 1:
        return f"the drafter {request.drafter} is no chain of the exit layer"
    if engine.exit_layer is None:
        return "no exit layer is loaded"
    if request.controller not in BLIND:
        return f"the controller {request.controller} looks at every draft: only {', '.join(BLIND)} do not"
    return ""

"""Timed runs: whole rounds on the device, without an event for every step (device_run.py)."""

import time
from dataclasses import dataclass, field

from .control import FixedController, make_controller
from .costs import CostTracker
from .device_run import DeviceRun
from .engine import Engine
from .errors import UserError
from .model.cuda.graph_steps import DeviceSteps
from .request import Request

BLIND = ("fixed", "beta", "ucb", "heuristic")  # controllers that do not look at confidence


@dataclass(slots=True)
class Timed:
    """A finished run. `seconds`: of decoding, including the device's work."""

    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    prefill_seconds: float = 0.0
    draft_lengths: list[int] = field(default_factory=list)
    accepted: int = 0
    note: str = ""


def timed_run(engine: Engine, request: Request, steps: DeviceSteps | None = None) -> Timed:
    """Run a request on the device. Raises UserError for what needs the host: rejection sampling, stop strings, and controllers that use the
    confidence.

    `steps` may come from an earlier run and keep their recorded graphs. They must have room for this run.
    """
    drafting = request.method == "eesd"
    if request.sampling.rejects:
        raise UserError("timed runs accept by matching: use greedy decoding or shared noise")
    if request.stop:
        raise UserError("timed runs see no text while they write: leave the stop strings out")
    if drafting and request.controller not in BLIND:
        raise UserError(f"the controller {request.controller} looks at every draft: timed runs take {', '.join(BLIND)}")
    ids, target = engine.encode(request), engine.target
    layer = engine.exit_layer_at(request.sampling) if drafting else None
    steps = steps or DeviceSteps(target, layer, len(ids) + request.max_new_tokens, request.sampling)
    controller = make_controller(request.controller, **request.settings) if drafting else FixedController(0)
    run = DeviceRun(steps, ids, request.max_new_tokens, controller, CostTracker(engine.measured, steps.split))
    timed = Timed(prefill_seconds=run.prefill())
    began = time.perf_counter()
    while not run.ended:
        run.round()  # ends with a copy to the host, so the device has finished
        timed.draft_lengths.append(len(run.drafted.nodes))
        timed.accepted += run.judged.verdict.accepted
    timed.seconds = time.perf_counter() - began
    timed.ids, timed.note = run.written, steps.recorder.note
    return timed

"""Timed runs: the same rounds as the engine's without saying every step, one device-to-host copy a round (model/device_steps.py).

Draft lengths are settled before a round begins, since looking at a draft's confidence would need a copy for every draft. So only
controllers that do not look at it can be used. The text is what the engine writes; tests compare them.
"""

import time
from dataclasses import dataclass, field

import torch

from .control import Controller, Facts, Outcome, make_controller
from .costs import CostTracker
from .engine import Engine
from .errors import UserError
from .model.cuda.graph_steps import DeviceSteps
from .request import Request

BLIND = ("fixed", "beta", "ucb", "heuristic")  # controllers that do not look at confidence


@dataclass(slots=True)
class Timed:
    """A finished run. Seconds are those of decoding, the device's work included."""

    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    prefill_seconds: float = 0.0
    draft_lengths: list[int] = field(default_factory=list)
    accepted: int = 0
    note: str = ""


def timed_run(engine: Engine, request: Request, steps: DeviceSteps | None = None) -> Timed:
    """Raises UserError for what cannot run without the host: rejection sampling, and controllers that look at confidence.

    `steps` of an earlier run keep their recorded graphs; they must have room for this one.
    """
    drafting = request.method == "eesd"
    if request.sampling.rejects:
        raise UserError("timed runs accept by matching: use greedy decoding or shared noise")
    if drafting and request.controller not in BLIND:
        raise UserError(f"the controller {request.controller} looks at every draft: timed runs take {', '.join(BLIND)}")
    ids, target = engine.encode(request), engine.target
    layer = engine.exit_layer_at(request.sampling) if drafting else None
    steps = steps or DeviceSteps(target, layer, len(ids) + request.max_new_tokens, request.sampling)
    controller = make_controller(request.controller, **request.settings) if drafting else None
    costs = CostTracker(engine.measured, steps.split).costs()
    timed = Timed()
    began = _clock(target.device)
    steps.begin(ids)
    timed.prefill_seconds = _clock(target.device) - began
    began = _clock(target.device)
    while len(timed.ids) < request.max_new_tokens:
        left = request.max_new_tokens - len(timed.ids)
        drafts = _plan(controller, costs, left - 1) if controller else 0
        accepted, choices = steps.round(drafts)
        written = choices[: accepted + 1]
        stop = next((i + 1 for i, id in enumerate(written) if id in target.end_ids), None)
        if controller:
            controller.observe(Outcome.of([Facts(i, 1.0, 0.0, 0.0) for i in range(drafts)], accepted))
        timed.ids += written[:stop]
        timed.draft_lengths.append(drafts)
        timed.accepted += accepted
        if stop:
            break
    timed.seconds = _clock(target.device) - began
    timed.note = steps.recorder.note
    return timed


def _plan(controller: Controller, costs, most: int) -> int:
    """The draft length of a round, before any draft is known."""
    budget = min(controller.start_round(costs).nodes, most)
    drafts = 0
    while drafts < budget:
        drafts += 1
        if not controller.keep_drafting(Facts(drafts - 1, 1.0, 0.0, 0.0)).go:
            break
    return drafts


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""Timed runs: whole rounds on the device, without an event for every step (device_run.py)."""

from dataclasses import dataclass, field

from .backends import needs_host
from .engine import Engine
from .errors import UserError
from .model.cuda.graph_steps import DeviceSteps
from .request import Request


@dataclass(slots=True)
class Timed:
    """A finished run. `seconds`: of decoding, including the device's work, without recording graphs."""

    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    prefill_seconds: float = 0.0
    draft_lengths: list[int] = field(default_factory=list)
    accepted: int = 0
    note: str = ""


def timed_run(engine: Engine, request: Request, steps: DeviceSteps | None = None) -> Timed:
    """Run a request on the device. Raises UserError for a request that needs the host. `steps`: see Engine.start_on_device."""
    if why := needs_host(engine, request):
        raise UserError(f"a timed run stays on the device: {why}")
    run = engine.start_on_device(request, steps=steps)
    timed = Timed(prefill_seconds=run.prefill())
    run.clock.start()
    while not run.ended:
        run.round()  # ends with a copy to the host, so the device has finished
        timed.draft_lengths.append(len(run.drafted.nodes))
        timed.accepted += run.judged.verdict.accepted
    run.clock.stop()
    timed.seconds, timed.ids, timed.note = run.clock.seconds, run.written, run.steps.recorder.note
    return timed

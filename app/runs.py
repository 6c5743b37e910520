"""A visitor's run: from the form to a growing text (NDJSON), which the renderer draws.

All of this runs in the server's event loop, so the code between two awaits is never interrupted; the device has its own thread. The first
line is sent after all checks and before the job is queued, because Gradio can close a stream only after its first line. However the stream
ends (end of the run, Stop, a closed tab), the device is released in `finally`.

The page is served before the model is loaded, so nothing here imports torch: contest.py does, in the device's thread.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

from eesd_core.environment import processor
from eesd_core.errors import UserError
from eesd_core.events import Record
from eesd_core.model.catalog import STORYTELLER, locate
from eesd_core.request import Request
from eesd_core.trace import to_line

from .device import Device, Job, Share
from .engines import Beside, Engines, Load, Wanted
from .form_values import Limits, model_from_form, quantize_from_form, request_from_form
from .rate_limit import Pace
from .together import Asked, SharedRaces

if TYPE_CHECKING:
    from eesd_core.engine import Engine

    from .cores import Cores

FRAME_SECONDS = 0.1  # between two updates of the page
WAITING_SECONDS = 1.0  # between two updates of a waiting run's place: each takes processor time from the run on the device
NEAR = 5  # runs ahead; visitors with more ahead are updated less often, so that a long line costs little more
LATE_SECONDS = 0.5  # how long Stop waits for a run that was asked for but has not been queued yet
ESTIMATE_SECONDS = 3.0  # between two estimates of a wait

Contest = Callable[["Engine", Request, str, Callable[[], bool]], Iterator[Record]]
Study = Callable[["Engine", Callable[[], bool]], Iterator[dict]]  # work that yields its own lines instead of records


def note(**line) -> str:
    """A line that is not an engine record: `queue`, `stopped` or `error`. It contains no "<", like the lines of `to_line`."""
    return json.dumps(line).replace("<", "\\u003c") + "\n"


def told_every(place: int) -> float:
    """Seconds between two updates to a visitor with `place` runs ahead. 90 waiting visitors get 20 updates a second together."""
    return WAITING_SECONDS * max(1.0, place / NEAR)


def looked_every(place: int) -> float:
    """Seconds between two looks at a job with `place` jobs ahead: waking up ten times a second for each of 90 costs time too."""
    return FRAME_SECONDS * min(max(1, place), 10)


class Busy(UserError):
    """Too many runs at once, from one address or from all."""

    status = 429  # for programs


class Visits:
    """Runs of all visitors, by Gradio's session. A visitor has one run at most."""

    def __init__(self, engines: "Engines | Engine", limits: Limits | None = None, work: Contest | None = None):
        """`engines`: what visitors may choose from, or the only engine. `work`: what a run does; by default a race and its hindsight."""
        self.engines = engines if isinstance(engines, Engines) else Engines(engines)
        self.limits = limits or Limits()
        self.others = lambda: self.device.waiting() > 1
        self.contest = work or self._race
        self.studies = True  # False on ZeroGPU, where the GPU is lent
        self.device = Device(self.limits.seconds, self.limits.together, lambda: self.cores.look())
        self.pace = Pace(self.limits.runs_a_minute)
        self._parties: dict[Wanted, SharedRaces] = {}
        self.seconds = Pace(self.limits.seconds_a_minute)
        self.machine: str | None = None  # name of the device, if it cannot be read from the engine
        self._jobs: dict[str, Job] = {}  # by session
        self._in_line: dict[str, list[Job]] = {}  # by address

    @classmethod
    def load(
        cls, load: Load, limits: Limits | None = None, quantize: str = "none", choice: bool = True, model: str = "",
        beside: Mapping[str, Beside] | None = None,
    ) -> "Visits":  # fmt: skip
        """Load the engine of `model` in the device's thread, and wait for it. `load` takes the precision of the weights. With `choice`
        visitors may choose another precision; they may also choose a model `beside` the host's. Raises UserError."""
        visits = cls(Engines(None, quantize, load, model, beside, choice), limits)
        visits.make_ready()
        return visits

    @property
    def engine(self) -> "Engine | None":
        """The host's, once it is loaded."""
        return self.engines.host

    @property
    def host(self) -> dict:
        """What the page says of the host's model. Until it is loaded, device and precision are "" and its level None."""
        if not self.engine:
            name = locate().name if self.engines.model == STORYTELLER else self.engines.model
            return {"model": name, "device": "", "dtype": "", "level": None, "machine": self.machine or processor()}
        target, level = self.engine.target, self.engine.level
        machine = self.machine or machine_of(target.device)
        return {"model": target.name, "device": str(target.device), "dtype": target.precision, "level": level, "machine": machine}

    @cached_property
    def cores(self) -> "Cores":
        from .cores import Cores

        return Cores()

    def make_ready(self) -> None:
        """Load the host's engine in the device's thread, and wait. Runs may be in line already: they wait as for any engine that is not
        loaded. Raises UserError."""
        job = self.device.submit(None, partial(self._prepare, self.engines.wanted()))
        while not job.done:
            time.sleep(FRAME_SECONDS / 5)
        if job.error:
            raise UserError(job.error)

    def _prepare(self, wanted: Wanted) -> "Engine":
        """The engine, ready to work. In the device's thread."""
        engine = self.engines.loaded(wanted)
        if engine is None:
            self.cores.leave_one()
            engine = self.engines.engine(wanted)
        self.cores.serve(engine)
        return engine

    def _race(self, engine: "Engine", request: Request, run: str, stopped: Callable[[], bool]) -> Iterator[Record]:
        from .contest import contest

        return contest(engine, request, run, stopped, self.others)

    def _afterwards(self, *race) -> Iterator[Record]:
        from .contest import afterwards

        return afterwards(*race, self.others)

    async def run(self, session: str | None, address: str, *form) -> AsyncIterator[str]:
        """Race both lanes for one visitor of the page. Every yield is the whole text so far."""
        run = uuid.uuid4().hex[:8]
        try:
            wanted = self.engines.wanted(quantize_from_form(*form), model_from_form(*form))
            queue_up = self.admit(address, request_from_form(*form), run, wanted)
        except UserError as problem:
            # The only line, so the page keeps the run that it shows. The run id makes it unique: Gradio does not send the same text twice.
            yield note(type="error", run=run, message=str(problem))
            return
        text = note(type="queue", run=run, place=0, waiting=0)
        yield text
        try:
            job = queue_up()
        except UserError as problem:
            yield text + note(type="error", message=str(problem))
            return
        visitor = session or run  # a bare HTTP client may have no session; the run id is unique
        if earlier := self._jobs.get(visitor):
            self.device.leave(earlier)
        self._jobs[visitor] = job
        try:
            async for part in self._follow(job):
                text += part
                yield text
        finally:
            self.device.leave(job)
            if self._jobs.get(visitor) is job:
                del self._jobs[visitor]

    async def study(self, address: str, study: Study, quantize: str | None, model: str | None = None) -> AsyncIterator[str]:
        """Lines of other work on the device, in the same line and under the same limits as runs. Closing the generator stops the work."""
        yield note(type="queue", place=0, waiting=0)
        try:
            job = self.enter(address, self.engines.wanted(quantize, model), study)()
        except UserError as problem:
            yield note(type="error", message=str(problem))
            return
        try:
            async for part in self._follow(job, lambda line: note(**line)):
                yield part
        finally:
            self.device.leave(job)

    def admit(self, address: str, request: Request, run: str, wanted: Wanted, work: Contest | None = None) -> Callable[[], Job]:
        """Check a request and return a function that puts it into the line. Both raise UserError, so a prompt that is too long, a full
        line or too many runs are refused before they wait. Without `work` it is a race, which may share passes with others."""
        if engine := self.engines.loaded(wanted) or self.engines.loaded(wanted._replace(quantize=self.engines.start)):
            engine.encode(request)  # a model that is not loaded yet checks the length once it is
        share = None if work else Share(self._party(wanted), Asked(request, run))
        work = work or self.contest
        return self.enter(address, wanted, lambda engine, stopped: work(engine, request, run, stopped), share)

    def _party(self, wanted: Wanted) -> SharedRaces:
        """The party of all races with this engine."""
        if wanted not in self._parties:
            engine = partial(self.engines.engine, wanted)
            self._parties[wanted] = SharedRaces(engine, self.limits.together, self._afterwards)
        return self._parties[wanted]

    def enter(self, address: str, wanted: Wanted, work: Study, share: Share | None = None) -> Callable[[], Job]:
        """Like `admit`, for any work on this engine, which is loaded first if need be. Raises UserError."""
        self._check_room(address)
        others = self.device.waiting() > len(self._mine(address))
        if others and (wait := self.seconds.wait(address)):
            most = f"{self.limits.seconds_a_minute:g} seconds of computing a minute"
            raise Busy(f"{most} is the most for one address while others wait: try again in {wait:.0f} seconds")
        if wait := self.pace.ask(address):
            raise Busy(f"{self.limits.runs_a_minute} runs a minute is the most here: try again in {wait:.0f} seconds")

        prepare = partial(self._prepare, wanted)

        def queue_up() -> Job:
            self._check_room(address)  # again: others may have joined in between
            spend = partial(self.seconds.use, address)
            job = self.device.submit(lambda stopped: work(prepare(), stopped), prepare, spend, share)
            self._in_line[address] = [*self._mine(address), job]
            return job

        return queue_up

    def _check_room(self, address: str) -> None:
        """Raises UserError if the line has no room for this address."""
        if self.device.waiting() >= self.limits.waiting:
            raise Busy(f"{self.limits.waiting} runs are waiting already: try again in a minute")
        if len(self._mine(address)) >= self.limits.waiting_each:
            raise Busy(f"{self.limits.waiting_each} runs from your address are in line already: wait for one to end, or stop it")

    def _mine(self, address: str) -> list[Job]:
        """This address's jobs in line."""
        jobs = [job for job in self._in_line.pop(address, []) if not (job.done or job.why_stopped)]
        if jobs:
            self._in_line[address] = jobs
        return jobs

    async def stop(self, session: str | None) -> None:
        """Stop the visitor's run, also one that was just asked for and is not in line yet."""
        for _ in range(round(LATE_SECONDS / FRAME_SECONDS)):
            if job := self._jobs.get(session):
                return self.device.leave(job)
            await asyncio.sleep(FRAME_SECONDS)

    async def _follow(self, job: Job, line: Callable[..., str] = to_line) -> AsyncIterator[str]:
        """What to append to the text, one frame at a time. Often that is nothing, but Gradio notices a closed tab only at a yield."""
        stand, told_at, sent_at, began, told, done = None, 0.0, 0.0, False, False, False
        while not done:
            records, done = job.take()
            part = "".join(map(line, records))
            began = began or bool(records)
            loading = self.device.preparing  # by this job or the one before it: the visitor is told in both cases
            now, clock = (self.device.place(job), None if loading is None else round(loading)), time.monotonic()
            due = clock >= sent_at + told_every(now[0])
            if not began and not done and due and (now != stand or clock > told_at + ESTIMATE_SECONDS):
                stand, told_at = now, clock
                place, loading = now
                wait = {"seconds": self.device.wait(place)} if loading is None else {"loading": loading}  # seconds of loading so far
                part += note(type="queue", place=place, waiting=self.device.waiting(), **wait)
            if job.why_stopped and not told:  # told at once, though the device stops only at its next step
                told = True
                part += note(type="stopped", message=job.why_stopped)
            if done and job.error:
                part += note(type="error", message=job.error)
            if part or began or done or due:
                sent_at = clock
                yield part
            if not done:
                await asyncio.sleep(looked_every(now[0]))


def machine_of(device) -> str:
    """The name of the GPU or of the processor."""
    import torch

    return torch.cuda.get_device_name(device) if getattr(device, "type", "") == "cuda" else processor()

"""A visitor's run: from the form to a stream of text that only grows (NDJSON), which the renderer draws.

All of this runs in the server's event loop, so its steps never overlap between two awaits; the device has a thread of its own. The
first line leaves after all checks and before the device is asked for, because Gradio can close a stream only after its first line.
Whatever ends the stream (the run's end, Stop, a closed tab), the device is released in `finally`.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial

import torch

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.events import RaceFinished, Record
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.simulate.hindsight import hindsight
from eesd_core.trace import to_line

from .device import Device, Job, Share
from .engines import Beside, Engines, Load, Wanted
from .form_values import Limits, model_from_form, quantize_from_form, request_from_form
from .rate_limit import Pace
from .together import Asked, SharedRaces

FRAME_SECONDS = 0.1  # between two updates of the page
WAITING_SECONDS = 1.0  # between two that only say where a waiting run stands: every one costs the engine of somebody else
NEAR = 5  # runs before one's own; who has more of them before him is told less often, so that a long line costs little more
LATE_SECONDS = 0.5  # within which a run that was asked for has come
ESTIMATE_SECONDS = 3.0  # between two estimates of a wait
HINDSIGHT_SECONDS = 0.3  # that a run may spend on hindsight while others wait

Contest = Callable[[Engine, Request, str, Callable[[], bool]], Iterator[Record]]
Study = Callable[[Engine, Callable[[], bool]], Iterator[dict]]  # work that says lines of its own instead of records


def note(**line) -> str:
    """A line that is not an engine record: `queue`, `stopped` or `error`. Free of "<", as those of `to_line` are."""
    return json.dumps(line).replace("<", "\\u003c") + "\n"


def told_every(place: int) -> float:
    """Seconds between two lines to a visitor who has so many runs before his own: 90 who wait are told 20 times a second together."""
    return WAITING_SECONDS * max(1.0, place / NEAR)


def looked_every(place: int) -> float:
    """Seconds between two looks at a job with so many before it: to wake up for each of 90 ten times a second is work too."""
    return FRAME_SECONDS * min(max(1, place), 10)


def contest(
    engine: Engine, request: Request, run: str, stopped: Callable[[], bool], others: Callable[[], bool] = bool
) -> Iterator[Record]:  # fmt: skip
    """The race, and behind its verdict what other draft lengths would have made of it."""
    records = []
    for record in race(engine, request, run, stopped):
        records.append(record)
        yield record
    if records and isinstance(records[-1].event, RaceFinished):
        yield from afterwards(engine, request, records, stopped, others)


def afterwards(
    engine: Engine, request: Request, records: list[Record], stopped: Callable[[], bool], others: Callable[[], bool]
) -> Iterator[Record]:  # fmt: skip
    """What other draft lengths would have made of a finished race: left out where that takes long and `others` wait."""
    asked = time.monotonic()
    end = asked + HINDSIGHT_SECONDS

    def enough() -> bool:
        nonlocal asked
        before, asked = asked, time.monotonic()
        return stopped() or (asked + (asked - before) > end and others())  # the next piece takes about as long as the last one

    if more := hindsight(engine, request, records, enough):
        yield more


class Busy(UserError):
    """Too much at once, from one address or from all."""

    status = 429  # for programs


class Visits:
    """Runs of all visitors, by Gradio's session. A visitor has one run at most."""

    def __init__(self, engine: Engine | None, limits: Limits | None = None, work: Contest | None = None):
        """`work`: what a run is; without it a race and its hindsight."""
        self.engine, self.limits = engine, limits or Limits()
        self.others = lambda: self.device.waiting() > 1
        self.contest = work or partial(contest, others=self.others)
        self.engines = Engines(engine)
        self.studies = True  # the engine is here and not lent
        self.device, self.pace = Device(self.limits.seconds, self.limits.together), Pace(self.limits.runs_a_minute)
        self._parties: dict[Wanted, SharedRaces] = {}
        self.seconds = Pace(self.limits.seconds_a_minute)
        self.machine: str | None = None  # what the device is called, where it cannot say itself
        self._jobs: dict[str, Job] = {}  # by session
        self._in_line: dict[str, list[Job]] = {}  # by address

    @classmethod
    def load(
        cls, load: Load, limits: Limits | None = None, quantize: str = "none", choice: bool = True, model: str = "",
        beside: Mapping[str, Beside] | None = None,
    ) -> "Visits":  # fmt: skip
        """With an engine of `model` that is loaded in the device's own thread. `load` takes the precision of the weights; with `choice`
        visitors may ask for others than the host's, and for the models `beside` it.

        One core is left to the server and to a browser on the same machine: torch's threads wait for each other, so one that shares
        its core halves the speed of all (two cores and Chromium: 37 tokens/s with two threads, 80 with one).
        """
        visits = cls(None, limits)

        def prepare() -> Engine:
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, torch.get_num_threads() - 1))
            return load(quantize)

        visits.engine = visits.device.call(prepare)
        visits.engines = Engines(visits.engine, quantize, load if choice else None, model, beside)
        visits.device.mean_seconds = None  # loading was no run
        return visits

    async def run(self, session: str | None, address: str, *form) -> AsyncIterator[str]:
        """Race both lanes for one visitor of the page. Yields the whole text so far each time."""
        run = uuid.uuid4().hex[:8]
        try:
            wanted = self.engines.wanted(quantize_from_form(*form), model_from_form(*form))
            queue_up = self.admit(address, request_from_form(*form), run, wanted)
        except UserError as problem:
            # Alone, so the page keeps the run that it shows; with its run, since a text like the last one is not sent.
            yield note(type="error", run=run, message=str(problem))
            return
        text = note(type="queue", run=run, place=0, waiting=0)
        yield text
        try:
            job = queue_up()
        except UserError as problem:
            yield text + note(type="error", message=str(problem))
            return
        visitor = session or run  # a bare HTTP client may have no session: then nobody else may have its place
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
        """Lines of something else that needs the device, in the same queue and under the same limits as runs. Closing it is its Stop."""
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
        """Check a request; what is returned puts it into the line. Raise UserError, both: too long a prompt, a full line or too many runs
        are refused before they wait. Without `work` it is a race, which may share passes with others."""
        if engine := self.engines.loaded(wanted) or self.engines.loaded(wanted._replace(quantize=self.engines.start)):
            engine.encode(request)  # a model that nobody has used yet refuses what is too long when it is there
        share = None if work else Share(self._party(wanted), Asked(request, run))
        work = work or self.contest
        return self.enter(address, wanted, lambda engine, stopped: work(engine, request, run, stopped), share)

    def _party(self, wanted: Wanted) -> SharedRaces:
        """Of all races with this engine."""
        if wanted not in self._parties:
            engine = partial(self.engines.engine, wanted)
            self._parties[wanted] = SharedRaces(engine, self.limits.together, partial(afterwards, others=self.others))
        return self._parties[wanted]

    def enter(self, address: str, wanted: Wanted, work: Study, share: Share | None = None) -> Callable[[], Job]:
        """Work for this engine, which is loaded first if nobody asked for it before; as `admit`. Raises UserError."""
        self._check_room(address)
        others = self.device.waiting() > len(self._mine(address))
        if others and (wait := self.seconds.wait(address)):
            most = f"{self.limits.seconds_a_minute:g} seconds of computing a minute"
            raise Busy(f"{most} is the most for one address while others wait: try again in {wait:.0f} seconds")
        if wait := self.pace.ask(address):
            raise Busy(f"{self.limits.runs_a_minute} runs a minute is the most here: try again in {wait:.0f} seconds")
        prepare = partial(self.engines.engine, wanted)

        def queue_up() -> Job:
            self._check_room(address)  # again: others may have come in between
            spend = partial(self.seconds.use, address)
            job = self.device.submit(lambda stopped: work(prepare(), stopped), prepare, spend, share)
            self._in_line[address] = [*self._mine(address), job]
            return job

        return queue_up

    def _check_room(self, address: str) -> None:
        """Raises UserError."""
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
        """Stop the visitor's run, also one that was asked for so shortly before that it has not come yet."""
        for _ in range(round(LATE_SECONDS / FRAME_SECONDS)):
            if job := self._jobs.get(session):
                return self.device.leave(job)
            await asyncio.sleep(FRAME_SECONDS)

    async def _follow(self, job: Job, line: Callable[..., str] = to_line) -> AsyncIterator[str]:
        """What to append to the text, a frame at a time; often nothing, but only at a yield does Gradio notice a closed tab."""
        stand, told_at, sent_at, began, told, done = None, 0.0, 0.0, False, False, False
        while not done:
            records, done = job.take()
            part = "".join(map(line, records))
            began = began or bool(records)
            loading = self.device.preparing  # by this job or, which its visitor is told too, by the one before it
            now, clock = (self.device.place(job), None if loading is None else round(loading)), time.monotonic()
            due = clock >= sent_at + told_every(now[0])
            if not began and not done and due and (now != stand or clock > told_at + ESTIMATE_SECONDS):
                stand, told_at = now, clock
                place, loading = now
                wait = {"seconds": self.device.wait(place)} if loading is None else {"loading": loading}  # seconds so far
                part += note(type="queue", place=place, waiting=self.device.waiting(), **wait)
            if job.why_stopped and not told:  # the visitor hears it at once, the device stops at its next step
                told = True
                part += note(type="stopped", message=job.why_stopped)
            if done and job.error:
                part += note(type="error", message=job.error)
            if part or began or done or due:
                sent_at = clock
                yield part
            if not done:
                await asyncio.sleep(looked_every(now[0]))

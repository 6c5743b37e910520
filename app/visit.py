"""A visitor's run: from the form to a stream of text that only grows (NDJSON), which the renderer draws.

All of this runs in the server's event loop, so its steps never overlap between two awaits; the device has a thread of its own. The
first line leaves before the device is asked for, because Gradio can close a stream only after its first line. Whatever ends the
stream (the run's end, Stop, a closed tab), the device is released in `finally`.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable

import torch

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.race import race
from eesd_core.trace import to_line

from .device import Device, Job
from .settings import MOST_SECONDS, request_from_form

FRAME_SECONDS = 0.1  # between two updates of the page
LATE_SECONDS = 0.5  # within which a run that was asked for has come


def note(**line) -> str:
    """A line that is not an engine record: `queue`, `stopped` or `error`. Free of "<", as those of `to_line` are."""
    return json.dumps(line).replace("<", "\\u003c") + "\n"


class Visits:
    """Runs of all visitors, by Gradio's session. A visitor has one run at most."""

    def __init__(self, engine: Engine | None, most_seconds: float = MOST_SECONDS):
        self.engine, self.device = engine, Device(most_seconds)
        self._jobs: dict[str, Job] = {}

    @classmethod
    def load(cls, load: Callable[[], Engine]) -> "Visits":
        """With an engine that is loaded in the device's own thread.

        One core is left to the server and to a browser on the same machine: torch's threads wait for each other, so one that shares
        its core halves the speed of all (two cores and Chromium: 37 tokens/s with two threads, 80 with one).
        """
        visits = cls(None)

        def prepare() -> Engine:
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, torch.get_num_threads() - 1))
            return load()

        visits.engine = visits.device.call(prepare)
        return visits

    async def run(self, session: str | None, *form) -> AsyncIterator[str]:
        """Race both lanes for one visitor. Yields the whole text so far each time."""
        run = uuid.uuid4().hex[:8]
        text = note(type="queue", run=run, place=0, waiting=0)
        yield text
        try:
            request = request_from_form(*form)
            self.engine.encode(request)  # too long a prompt is refused before it waits in line
        except UserError as problem:
            yield text + note(type="error", message=str(problem))
            return
        visitor = session or run  # a bare HTTP client may have no session: then nobody else may have its place
        if earlier := self._jobs.get(visitor):
            self.device.leave(earlier)
        job = self._jobs[visitor] = self.device.submit(lambda stopped: race(self.engine, request, run, stopped))
        try:
            async for part in self._follow(job):
                text += part
                yield text
        finally:
            self.device.leave(job)
            if self._jobs.get(visitor) is job:
                del self._jobs[visitor]

    async def stop(self, session: str | None) -> None:
        """Stop the visitor's run, also one that was asked for so shortly before that it has not come yet."""
        for _ in range(round(LATE_SECONDS / FRAME_SECONDS)):
            if job := self._jobs.get(session):
                return self.device.leave(job)
            await asyncio.sleep(FRAME_SECONDS)

    async def _follow(self, job: Job) -> AsyncIterator[str]:
        """What to append to the text, a frame at a time; often nothing, but only at a yield does Gradio notice a closed tab."""
        place, began, told, done = None, False, False, False
        while not done:
            records, done = job.take()
            part = "".join(map(to_line, records))
            began = began or bool(records)
            if not began and not done and (now := self.device.place(job)) != place:
                place = now
                part += note(type="queue", place=place, waiting=self.device.waiting())
            if job.why_stopped and not told:  # the visitor hears it at once, the device stops at its next round
                told = True
                part += note(type="stopped", message=job.why_stopped)
            if done and job.error:
                part += note(type="error", message=job.error)
            yield part
            if not done:
                await asyncio.sleep(FRAME_SECONDS)

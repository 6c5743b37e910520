"""A visitor's run: from the form to a stream of text that only grows (NDJSON), which the renderer draws.

The first line leaves within milliseconds, before the device is asked for: only then can Gradio close the stream. Whatever ends it (the
run's end, Stop, a closed tab), the device is released in `finally`.
"""

import json
import time
import uuid
from collections.abc import Iterator

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.race import race
from eesd_core.trace import to_line

from .device import Device, Job
from .settings import MOST_SECONDS, request_from_form

FRAME_SECONDS = 0.075  # between two updates of the page


def note(**line) -> str:
    """A line that is not an engine record: `queue`, `notice` or `error`."""
    return json.dumps(line) + "\n"


class Visits:
    """Runs of all visitors, by Gradio's session. A visitor has one run at most."""

    def __init__(self, engine: Engine, device: Device):
        self.engine, self.device = engine, device
        self._jobs: dict[str, Job] = {}

    def run(self, session: str, *form) -> Iterator[str]:
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
        self.stop(session)
        job = self._jobs[session] = self.device.submit(lambda stopped: race(self.engine, request, run, stopped))
        try:
            for part in self._follow(job):
                text += part
                yield text
        finally:
            self.device.leave(job)
            if self._jobs.get(session) is job:
                del self._jobs[session]

    def stop(self, session: str) -> None:
        if job := self._jobs.get(session):
            self.device.leave(job)

    def _follow(self, job: Job) -> Iterator[str]:
        """What to append to the text, a frame at a time."""
        place, began, done = None, None, False
        while not done:
            frame = time.monotonic()
            records, done = job.take(FRAME_SECONDS)
            part = "".join(map(to_line, records))
            if records and began is None:
                began = frame
            if began is None and not done and (now := self.device.place(job)) != place:
                place = now
                part += note(type="queue", place=place, waiting=self.device.waiting())
            if began and frame - began > MOST_SECONDS and not job.stop.is_set():
                part += note(type="notice", message=f"stopped after {MOST_SECONDS:g} seconds, the most a run may take here")
                self.device.leave(job)
            if done and job.error:
                part += note(type="error", message=job.error)
            elif done and began is None:
                part += note(type="notice", message="stopped before it began")
            yield part
            time.sleep(max(0.0, FRAME_SECONDS - (time.monotonic() - frame)))

"""One device, one thread that owns it, one line of jobs in front of it.

The engine runs in that thread, not in the visitor's stream: a slow browser cannot hold the device, and a closed tab or Stop frees it
within one decoding step, since every step gives a record and after every record the job is asked whether it is still wanted. No lock is
held while anything is computed or sent.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context

from eesd_core.errors import UserError
from eesd_core.events import Record

Work = Callable[[Callable[[], bool]], Iterator[Record | dict]]  # the argument says whether to stop
FAILED = "the run failed ({}): please try again; the details are in the server's log"
NEWEST = 0.2  # weight of the newest run in the mean duration


class Job:
    """A run in line or on the device. The device appends records, the visitor takes them away."""

    def __init__(self, work: Work, prepare: Callable[[], object] | None = None, spend: Callable[[float], None] | None = None):
        """`prepare` is done first, on the device and outside the limit: loading takes nothing of a visitor's time. `spend` is told the
        seconds that the work itself took."""
        self.work, self.prepare, self.spend = work, prepare, spend
        self.preparing_since: float | None = None  # monotonic seconds, while it is being done
        self.context = copy_context()  # the visitor's request is in it: ZeroGPU reads there whose quota counts
        self.why_stopped = ""  # in words for the visitor, such as "by you"
        self.error: str | None = None
        self.done = False
        self.records: deque[Record | dict] = deque()  # appended to and emptied by two threads: a deque needs no lock for that

    @property
    def preparing(self) -> float | None:
        """For how many seconds so far; None: not now."""
        since = self.preparing_since
        return None if since is None else time.monotonic() - since

    def stop(self, why: str) -> None:
        self.why_stopped = self.why_stopped or why

    def take(self) -> tuple[list[Record | dict], bool]:
        """Records since the last call, and whether these are all."""
        done = self.done  # before the records: none come after it is set
        return [self.records.popleft() for _ in range(len(self.records))], done


class Device:
    def __init__(self, most_seconds: float):
        """`most_seconds`: no run may hold the device longer, whether or not its visitor is still there."""
        self.most_seconds = most_seconds
        self.runs = 0  # that had the device
        self.mean_seconds: float | None = None  # of lately finished ones
        self._began = 0.0
        self._line: list[Job] = []  # the first one runs
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="device", daemon=True).start()

    def submit(self, work: Work, prepare: Callable[[], object] | None = None, spend: Callable[[float], None] | None = None) -> Job:
        job = Job(work, prepare, spend)
        with self._changed:
            self._line.append(job)
            self._changed.notify()
        return job

    def call(self, function: Callable):
        """Run something in the device's thread and wait for its result. Raises UserError.

        The model must be loaded where it runs: torch keeps a team of threads for every calling thread, and two teams wait for each
        other on the same cores (measured: 34 tokens/s against 117).
        """
        results = []
        job = self.submit(lambda stopped: results.append(function()) or ())
        while not job.done:
            time.sleep(0.02)
        if job.error:
            raise UserError(job.error)
        return results[0]

    def place(self, job: Job) -> int:
        """How many jobs are before this one; 0 when it runs or is over."""
        with self._changed:
            return self._line.index(job) if job in self._line else 0

    @property
    def preparing(self) -> float | None:
        """For how many seconds the job that has the device has been preparing; None: it is not."""
        with self._changed:
            return self._line[0].preparing if self._line else None

    def waiting(self) -> int:
        """Jobs in line, the running one included."""
        with self._changed:
            return len(self._line)

    def wait(self, place: int) -> float | None:
        """About how many seconds until a job with so many before it begins; None where nothing is known."""
        if self.mean_seconds is None or not place or self.preparing is not None:
            return None
        left = max(0.0, self.mean_seconds - (time.monotonic() - self._began))
        return round(left + (place - 1) * self.mean_seconds, 1)

    def leave(self, job: Job) -> None:
        """Stop a running job at its next step, or take a waiting one out of the line. Safe to call at any time, and twice.

        What a job prepares cannot be stopped: the device goes on with it, for whoever wants it next, but the visitor need not wait for it.
        """
        job.stop("by you")
        with self._changed:
            if job in self._line[1:]:
                self._line.remove(job)
                job.done = True
            elif job.preparing is not None:  # it sees that it was stopped before it runs
                job.done = True

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line)
                job = self._line[0]
            self._began = time.monotonic()
            job.error = job.context.run(self._run, job)
            took = time.monotonic() - self._began
            if job.spend:
                job.spend(took)
            self.mean_seconds = took if self.mean_seconds is None else self.mean_seconds + NEWEST * (took - self.mean_seconds)
            self.runs += 1
            with self._changed:  # the device is free before the visitor hears that the run is over
                self._line.remove(job)
            job.done = True

    def _run(self, job: Job) -> str | None:
        """Returns what went wrong, in words for the visitor."""

        def stopped() -> bool:
            if time.monotonic() > self._began + self.most_seconds:
                job.stop(f"after {self.most_seconds:g} seconds, the most a run may take here")
            return bool(job.why_stopped)

        try:
            if job.prepare and not stopped():
                job.preparing_since = time.monotonic()
                job.prepare()
                job.preparing_since, self._began = None, time.monotonic()
            if stopped():
                return None
            for record in job.work(stopped):
                job.records.append(record)
                if stopped():  # what is left of the work is dropped here and now
                    break
        except UserError as problem:
            return str(problem)
        except Exception as problem:  # a visitor's run must never take the device down with it
            logging.getLogger(__name__).exception("a run failed")
            return FAILED.format(type(problem).__name__)
        return None

"""One device, one thread that owns it, and one line of jobs waiting for it. Jobs of one party may share it (together.py).

The engine runs in that thread, not in the visitor's stream, so a slow browser cannot hold the device. Every decoding step gives a record,
and after each record the device checks whether the job is still wanted, so Stop or a closed tab frees it within one step. No lock is held
while anything is computed or sent.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import Protocol

from eesd_core.errors import UserError
from eesd_core.events import Record

Work = Callable[[Callable[[], bool]], Iterator[Record | dict]]  # the argument is called to ask whether to stop
FAILED = "the run failed ({}): please try again; the details are in the server's log"
NEWEST = 0.2  # weight of the newest run in the mean duration


class Party(Protocol):
    """Does several jobs at the same time."""

    def run(self, come: Callable[[], "Job | None"], stopped: Callable[["Job"], bool]) -> Iterator[tuple["Job", "Record | End"]]:
        """`come()` returns the next job that may join, or None. Yields (job, record) pairs until no job is left; the last item of every
        job is an End."""


@dataclass(frozen=True, slots=True)
class Share:
    party: Party
    asked: object  # what the job wants from the party


@dataclass(frozen=True, slots=True)
class End:
    problem: Exception | None = None  # why the job failed


class Job:
    """A run in line or on the device. The device appends records; the visitor's stream takes them."""

    def __init__(
        self, work: Work | None, prepare: Callable[[], object] | None = None, spend: Callable[[float], None] | None = None,
        share: Share | None = None,
    ):  # fmt: skip
        """A job without `work` only prepares, and is no run. `prepare` runs first, on the device, and does not count against the time
        limit, so loading costs the visitor nothing. `spend` receives the seconds that the work took, or this job's part of them if others
        shared the device. If the device takes several jobs at a time, a job with a `share` is done by its party, without `work`."""
        self.work, self.prepare, self.spend, self.share = work, prepare, spend, share
        self.used = 0.0  # seconds of device time
        self.preparing_since: float | None = None  # monotonic seconds; set while `prepare` runs
        self.context = copy_context()  # holds the visitor's request: ZeroGPU reads from it whose quota to charge
        self.why_stopped = ""  # text for the visitor, such as "by you"
        self.error: str | None = None
        self.done = False
        self.records: deque[Record | dict] = deque()  # one thread appends, another empties it: a deque needs no lock for that

    @property
    def preparing(self) -> float | None:
        """How many seconds this job has been preparing; None: it is not."""
        since = self.preparing_since
        return None if since is None else time.monotonic() - since

    def stop(self, why: str) -> None:
        self.why_stopped = self.why_stopped or why

    def take(self) -> tuple[list[Record | dict], bool]:
        """Records since the last call, and whether they are the last."""
        done = self.done  # read before the records: none are added after it is set
        return [self.records.popleft() for _ in range(len(self.records))], done


class Device:
    def __init__(self, most_seconds: float, together: int = 1, between: Callable[[], object] = bool):
        """`most_seconds`: the longest a run may hold the device, whether or not its visitor is still there. `together`: how many jobs of
        one party may share it. `between` is called between two steps."""
        self.most_seconds, self.together, self.between = most_seconds, together, between
        self.runs = 0  # finished so far
        self.mean_seconds: float | None = None  # running mean of the device time of finished jobs
        self._since = 0.0  # when a job last began or ended
        self._running: list[Job] = []
        self._line: list[Job] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="device", daemon=True).start()

    def submit(
        self, work: Work | None, prepare: Callable[[], object] | None = None, spend: Callable[[float], None] | None = None,
        share: Share | None = None,
    ) -> Job:  # fmt: skip
        job = Job(work, prepare, spend, share)
        with self._changed:
            self._line.append(job)
            self._changed.notify()
        return job

    def call(self, function: Callable):
        """Run something in the device's thread and wait for its result. Raises UserError.

        The model must be loaded in the thread that runs it: torch keeps a team of threads for every calling thread, and two teams on the
        same cores wait for each other (measured: 34 tokens/s against 117).
        """
        results = []
        job = self.submit(lambda stopped: results.append(function()) or ())
        while not job.done:
            time.sleep(0.02)
        if job.error:
            raise UserError(job.error)
        return results[0]

    def place(self, job: Job) -> int:
        """How many runs are ahead of this one; 0 when it runs or is over."""
        with self._changed:
            ahead = (*self._running, *self._line[: self._line.index(job)]) if job in self._line else ()
            return sum(bool(other.work) for other in ahead)

    @property
    def preparing(self) -> float | None:
        """How many seconds the job on the device has been preparing; None: it is not."""
        with self._changed:
            return self._running[0].preparing if self._running else None

    def waiting(self) -> int:
        """Runs in line, those on the device included."""
        with self._changed:
            return sum(bool(job.work) for job in (*self._running, *self._line))

    def wait(self, place: int) -> float | None:
        """Estimated seconds until a job with `place` jobs ahead of it begins; None if nothing is known."""
        if self.mean_seconds is None or not place or self.preparing is not None:
            return None
        left = max(0.0, self.mean_seconds - (time.monotonic() - self._since))
        return round(left + (place - max(1, len(self._running))) * self.mean_seconds, 1)

    def leave(self, job: Job) -> None:
        """Stop a running job at its next step, or take a waiting one out of the line. Safe to call at any time, also twice.

        `prepare` cannot be stopped: the device finishes it for the next visitor, but this one need not wait.
        """
        job.stop("by you")
        with self._changed:
            if job in self._line:
                self._line.remove(job)
                job.done = True
            elif job.preparing is not None:  # after preparing, the device sees that the job was stopped
                job.done = True

    def _serve(self) -> None:
        while True:
            self._next()

    def _next(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._line)
            first = self._line.pop(0)
            self._running = [first]
        error = first.context.run(self._run, first)
        for job in [*self._running]:  # after a failure these are all jobs of the party
            self._end(job, error)

    def _run(self, first: Job) -> str | None:
        """Do this job and all that join it. Returns what went wrong, as a text for the visitors, or None."""
        self._since = time.monotonic()
        try:
            if first.prepare and not self._stopped(first):
                first.preparing_since = time.monotonic()
                first.prepare()
                first.preparing_since, self._since = None, time.monotonic()
            if self._stopped(first) or not first.work:
                return None
            for job, said in self._done_by_party(first) if first.share and self.together > 1 else self._done_alone(first):
                if isinstance(said, End):
                    self._end(job, said.problem and in_words(said.problem))
                else:
                    job.records.append(said)
                self.between()
        except Exception as problem:  # a visitor's run must never take the device down with it
            return in_words(problem)
        finally:
            first.preparing_since = None
        return None

    def _done_alone(self, job: Job) -> Iterator[tuple[Job, Record | dict]]:
        began = time.monotonic()

        def stopped() -> bool:
            job.used = time.monotonic() - began
            return self._stopped(job)

        try:
            for record in job.work(stopped):
                yield job, record
                if stopped():  # the rest of the work is dropped
                    break
        finally:
            stopped()

    def _done_by_party(self, first: Job) -> Iterator[tuple[Job, Record | End]]:
        """The next job in line may join if it belongs to the same party, so nobody is overtaken."""
        party, fresh, before = first.share.party, [first], time.monotonic()

        def come() -> Job | None:
            if fresh:
                return fresh.pop()
            with self._changed:
                joins = self._line and self._line[0].share and self._line[0].share.party is party
                if not joins or len(self._running) == self.together:
                    return None
                self._running.append(self._line.pop(0))
                return self._running[-1]

        for job, said in party.run(come, self._stopped):
            now = time.monotonic()
            for each in self._running:
                each.used += (now - before) / len(self._running)
            before = now
            yield job, said

    def _stopped(self, job: Job) -> bool:
        if job.used > self.most_seconds:
            job.stop(f"after {self.most_seconds:g} seconds, the most a run may take here")
        return bool(job.why_stopped)

    def _end(self, job: Job, error: str | None) -> None:
        job.error = error
        if job.spend:
            job.spend(job.used)
        if job.work:
            self.mean_seconds = job.used if self.mean_seconds is None else self.mean_seconds + NEWEST * (job.used - self.mean_seconds)
            self.runs += 1
        self._since = time.monotonic()
        with self._changed:  # the device is free before the visitor hears that the run is over
            self._running.remove(job)
        job.done = True


def in_words(problem: Exception) -> str:
    """An error message for the visitor; details for the host go into the log."""
    if isinstance(problem, UserError):
        return str(problem)
    logging.getLogger(__name__).error("a run failed", exc_info=problem)
    return FAILED.format(type(problem).__name__)

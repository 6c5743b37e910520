"""One device, one thread that owns it, one line of jobs in front of it.

The engine runs in that thread, not in the visitor's stream: a slow browser cannot hold the device, and a closed tab frees it at
the next round boundary. No lock is held while anything is computed or sent.
"""

import threading
from collections.abc import Callable, Iterator

from eesd_core.errors import UserError
from eesd_core.events import Record

Work = Callable[[Callable[[], bool]], Iterator[Record]]


class Job:
    """A run in line or on the device. The device appends records, its visitor takes them away."""

    def __init__(self, work: Work):
        self.work = work
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.records: list[Record] = []
        self.error: str | None = None
        self.done = False

    def put(self, records: list[Record], done: bool = False, error: str | None = None) -> None:
        with self.changed:
            self.records += records
            self.done, self.error = done, error
            self.changed.notify_all()

    def take(self, seconds: float) -> tuple[list[Record], bool]:
        """Records since the last call, and whether these are all. Waits `seconds` if there is nothing yet."""
        with self.changed:
            if not self.records and not self.done:
                self.changed.wait(seconds)
            records, self.records = self.records, []
            return records, self.done


class Device:
    def __init__(self):
        self._line: list[Job] = []  # the first one runs
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="device", daemon=True).start()

    def submit(self, work: Work) -> Job:
        job = Job(work)
        with self._changed:
            self._line.append(job)
            self._changed.notify_all()
        return job

    def place(self, job: Job) -> int:
        """How many jobs are before this one; 0 when it runs or is over."""
        with self._changed:
            return self._line.index(job) if job in self._line else 0

    def waiting(self) -> int:
        with self._changed:
            return len(self._line)

    def leave(self, job: Job) -> None:
        """Stop a running job at its next round, or take a waiting one out of the line. Safe to call twice."""
        job.stop.set()
        with self._changed:
            if job in self._line[1:]:
                self._line.remove(job)
                job.put([], done=True)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line)
                job = self._line[0]
            error = self._run(job)
            with self._changed:  # the device is free before the visitor hears that the run is over
                self._line.remove(job)
            job.put([], done=True, error=error)

    @staticmethod
    def _run(job: Job) -> str | None:
        try:
            if not job.stop.is_set():
                for record in job.work(job.stop.is_set):
                    job.put([record])
        except UserError as problem:
            return str(problem)
        except Exception as problem:  # a visitor's run must never take the device down with it
            import traceback

            traceback.print_exc()
            return f"the run failed ({type(problem).__name__}): please try again; the details are in the server's log"
        return None

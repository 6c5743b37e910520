"""Waiting visitors share passes: `python app.py --together N` runs up to N races on the device at the same time.

Each visitor sees only their own race. Device time is shared, so each clock counts the passes of all; the race's first event
(`settings["together"]`) tells the page so. New races join between two rounds, in the order of the line.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from eesd_core.events import RaceFinished, Record
from eesd_core.request import Request

from .device import End, Job

if TYPE_CHECKING:
    from eesd_core.engine import Engine

Afterwards = Callable[["Engine", Request, list[Record], Callable[[], bool]], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job wants from the party: a race of this request, with records under this run id."""

    request: Request
    run: str


class SharedRaces:
    """The party (device.py) of all races with one engine."""

    def __init__(self, engine: Callable[[], "Engine"], most: int, afterwards: Afterwards):
        """`engine` is called in the device's thread. `afterwards` adds records after the verdict of a race that had the device alone."""
        self.engine, self.most, self.afterwards = engine, most, afterwards

    def run(self, come: Callable[[], Job | None], stopped: Callable[[Job], bool]) -> Iterator[tuple[Job, Record | End]]:
        from eesd_core.racing_together import race_together  # imports torch

        engine, guests = self.engine(), Guests(come)
        problems: dict[int, Exception] = {}
        for said in race_together(engine, guests, self.most, lambda row: stopped(guests.jobs[row]), problems.__setitem__):
            if isinstance(said, int):
                yield guests.jobs.pop(said), End(problems.pop(said, None))
                continue
            job = guests.jobs[said.row]
            record = replace(said, run=job.share.asked.run, row=0)
            yield job, record
            if guests.alone is not None:
                guests.alone.append(record)
                if isinstance(record.event, RaceFinished):
                    yield from self._after(engine, job, guests.alone, partial(stopped, job))

    def _after(self, engine: "Engine", job: Job, records: list[Record], stopped: Callable[[], bool]) -> Iterator[tuple[Job, Record]]:
        for record in self.afterwards(engine, job.share.asked.request, records, stopped):
            yield job, record


class Guests:
    """The jobs that joined, by number. Iterating gives their requests, as `race_together` expects."""

    def __init__(self, come: Callable[[], Job | None]):
        self.come, self.begun = come, 0
        self.jobs: dict[int, Job] = {}
        self.alone: list[Record] | None = None  # the records of the running race if nobody has shared it

    def __iter__(self):
        return self

    def __next__(self) -> Request | None:
        job = self.come()
        if job is None:
            return None
        self.alone = None if self.jobs else []
        self.jobs[self.begun] = job
        self.begun += 1
        return job.share.asked.request

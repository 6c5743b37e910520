"""What a visitor's run does on the device."""

import time
from collections.abc import Callable, Iterator

from eesd_core.engine import Engine
from eesd_core.events import RaceFinished, Record
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.simulate.hindsight import hindsight

HINDSIGHT_SECONDS = 0.3  # of hindsight that a run may compute while others wait


def contest(
    engine: Engine, request: Request, run: str, stopped: Callable[[], bool], others: Callable[[], bool] = bool
) -> Iterator[Record]:  # fmt: skip
    """The race and, after its verdict, hindsight: what other draft lengths would have gained."""
    records = []
    for record in race(engine, request, run, stopped):
        records.append(record)
        yield record
    if records and isinstance(records[-1].event, RaceFinished):
        yield from afterwards(engine, request, records, stopped, others)


def afterwards(
    engine: Engine, request: Request, records: list[Record], stopped: Callable[[], bool], others: Callable[[], bool]
) -> Iterator[Record]:  # fmt: skip
    """Hindsight on a finished race: what other draft lengths would have gained. Left out if it takes long and `others` wait."""
    asked = time.monotonic()
    end = asked + HINDSIGHT_SECONDS

    def enough() -> bool:
        nonlocal asked
        before, asked = asked, time.monotonic()
        return stopped() or (asked + (asked - before) > end and others())  # the next piece takes about as long as the last one

    if more := hindsight(engine, request, records, enough):
        yield more

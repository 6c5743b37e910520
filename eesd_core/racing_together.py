"""Races of several visitors in shared passes: the EESD lanes of all races share passes (together.py), and so do the vanilla lanes. Device
time is shared, so a lane's clock counts every pass that it takes part in. The two kinds of lane take turns, as in a single race.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from .clock import Clock
from .engine import Engine
from .events import Record, RunCancelled, RunFinished
from .racing import LANES, verdict
from .request import Request
from .rounds import Lane
from .together import Refused


def race_together(
    engine: Engine, requests: Iterable[Request | None], most: int, cancelled: Callable[[int], bool], refused: Refused
) -> Iterator[Record | int]:  # fmt: skip
    """Up to `most` races at a time. `requests` are taken as soon as there is room. A None among them means that none is waiting now; if no
    race is running either, the iterator ends. The `row` of a record is its request's number. A bare number says that this race is over,
    with or without a verdict. `cancelled` is called once per round for every lane, `refused` for a request that cannot be run."""
    races: dict[int, _Race] = {}
    waiting, begun = iter(requests), 0

    def gone(row: int) -> bool:
        return races[row].refused or cancelled(row)

    def refuse(row: int, problem: Exception) -> None:
        if not races[row].refused:
            races[row].refused = True
            refused(row, problem)

    sides = [_Side(engine, name, most, gone, refuse) for name in ("eesd", "vanilla")]  # a request that cannot be run fails in eesd first
    while True:
        while len(races) < most and (request := next(waiting, None)) is not None:
            races[begun] = _Race(begun)
            for side in sides:
                side.join(begun, request)
            begun += 1
        if not races:
            return
        record = min((side for side in sides if side.rows), key=lambda side: side.turn).step()
        if record:
            race = races[record.row]
            race.lanes[record.lane].add(record)
            if not race.refused:
                yield record
        for row in races.keys() - sides[0].rows - sides[1].rows:
            race = races.pop(row)
            if all(lane.finished for lane in race.lanes.values()) and not race.refused:
                vanilla, eesd = (race.lanes[name] for name in LANES)
                yield Record("run", "race", 0, max(vanilla.clock, eesd.clock), verdict(vanilla, eesd, eesd.started.level), row)
            yield row


@dataclass(slots=True)
class _Race:
    row: int
    refused: bool = False
    lanes: dict[str, Lane] = field(init=False)

    def __post_init__(self):
        self.lanes = {name: Lane(name, self.row) for name in LANES}


class _Side:
    """All lanes of one kind. When none is left their batch ends; the next race begins a new batch."""

    def __init__(self, engine: Engine, name: str, most: int, cancelled: Callable[[int], bool], refused: Refused):
        self.engine, self.name, self.most, self.cancelled, self.refused = engine, name, most, cancelled, refused
        self.clock, self.level = Clock(), 0.0  # `level`: the clock when a race last joined; from then on both kinds get equal time
        self.coming: deque[tuple[int, Request]] = deque()
        self.rows: set[int] = set()  # races whose lane is running or waiting
        self.numbers: dict[int, int] = {}  # row in this batch -> row of the race
        self.taken = 0  # number of requests that this batch has taken
        self.stream: Iterator[Record] | None = None

    def join(self, row: int, request: Request) -> None:
        self.coming.append((row, replace(request, method=self.name)))
        self.rows.add(row)
        self.level = self.clock.seconds

    @property
    def turn(self) -> float:
        return self.clock.seconds - self.level

    def step(self) -> Record | None:
        """The next record, or None when the current batch has ended."""
        if self.stream is None:
            self.numbers, self.taken = {}, 0
            coming, cancelled = iter(self._next, object()), lambda row: self.cancelled(self.numbers[row])
            self.stream = self.engine.run_together(coming, self.most, "run", cancelled, self.clock, refused=self._refuse)
        record = next(self.stream, None)
        if record is None:
            self.stream = None
            return None
        number = self.numbers[record.row]
        if isinstance(record.event, RunFinished | RunCancelled):
            self._leave(record.row)
        return replace(record, row=number)

    def _next(self) -> Request | None:
        if not self.coming:
            return None
        self.numbers[self.taken], request = self.coming.popleft()
        self.taken += 1
        return request

    def _refuse(self, row: int, problem: Exception) -> None:
        number = self.numbers[row]
        self._leave(row)
        self.refused(number, problem)

    def _leave(self, row: int) -> None:
        self.rows.discard(self.numbers.pop(row))

"""How many runs one address may ask for in a minute."""

import time
from collections import deque
from collections.abc import Callable

MINUTE = 60.0
MOST_ADDRESSES = 10_000  # remembered; the longest silent are forgotten first


class Pace:
    def __init__(self, most: int, now: Callable[[], float] = time.monotonic):
        self.most, self.now = most, now
        self._asked: dict[str, deque[float]] = {}

    def ask(self, address: str) -> float:
        """Seconds to wait until this address may ask again; 0: it may, and this time is counted."""
        now = self.now()
        times = self._asked.pop(address, deque())
        while times and times[0] <= now - MINUTE:
            times.popleft()
        wait = times[0] + MINUTE - now if len(times) >= self.most else 0.0
        if not wait:
            times.append(now)
        self._asked[address] = times  # last in the order of the dict: spoke last
        while len(self._asked) > MOST_ADDRESSES:
            del self._asked[next(iter(self._asked))]
        return wait

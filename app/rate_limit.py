"""Limits per address and minute: on runs, and on seconds of device time."""

import time
from collections import deque
from collections.abc import Callable

MINUTE = 60.0
MOST_ADDRESSES = 10_000  # at most; those silent for longest are forgotten first


class Pace:
    """What each address used in the last minute; it may use `most` a minute."""

    def __init__(self, most: float, now: Callable[[], float] = time.monotonic):
        self.most, self.now = most, now
        self._used: dict[str, deque[tuple[float, float]]] = {}  # per address: when, and how much

    def wait(self, address: str, amount: float = 0.0) -> float:
        """Seconds until this address may use `amount` more; 0 means now."""
        now, uses = self.now(), self._recent(address)
        left = sum(used for _, used in uses) + amount - self.most
        for at, used in uses:  # the oldest expire first
            if left <= 0:
                break
            left -= used
            wait = at + MINUTE - now
            if left <= 0:
                return wait
        return 0.0

    def use(self, address: str, amount: float) -> None:
        uses = self._recent(address)
        uses.append((self.now(), amount))
        self._used[address] = uses  # re-inserted: the dict is ordered by last use
        while len(self._used) > MOST_ADDRESSES:
            del self._used[next(iter(self._used))]

    def ask(self, address: str) -> float:
        """Use one and return 0, or return the seconds to wait for it."""
        wait = self.wait(address, 1)
        if not wait:
            self.use(address, 1)
        return wait

    def _recent(self, address: str) -> deque[tuple[float, float]]:
        uses = self._used.pop(address, deque())
        while uses and uses[0][0] <= self.now() - MINUTE:
            uses.popleft()
        if uses:
            self._used[address] = uses
        return uses

"""How many threads a run's passes have: as many as there are cores that nothing else needs.

On a quiet machine of two cores, two threads write a third faster than one. Beside a busy program they write far slower than one: threads
wait for each other some hundred times a pass, and each time the one that shares its core is waited for. Passes that are made of our own
kernels alone have the same bits with any number of threads, so the number may change between two steps of a run. Products of libraries keep
the number that they were checked with, which leaves one core to the server and to a browser on the same machine.
"""

import os
import time

import psutil
import torch

from eesd_core.engine import Engine
from eesd_core.model.cpu.prepare import all_in_panels

PERIOD = 0.25  # seconds between two looks
LITTLE = 0.8  # cores: so much may others use of a thread's core. Chromium that draws a race uses 0.6 to 0.8; a busy program all it can get
CALM = 4  # looks in a row that found room, before a thread more


class Cores:
    """Its methods are called in the device's thread."""

    def __init__(self):
        self.all, self.given = torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ
        self.free = False  # whether the engine at work may have any number of threads
        self.calm = 0
        self.seen: set[int] = set()  # engines
        self.process = psutil.Process()
        self.last = time.monotonic(), self._others()

    def leave_one(self) -> None:
        self._have(max(1, self.all - 1))

    def serve(self, engine: Engine) -> None:
        """Before an engine works."""
        self.free = not self.given and self.all > 1 and _own(engine)
        if not self.free:
            self.leave_one()
        elif id(engine) not in self.seen:  # it was loaded with one thread less
            self.seen.add(id(engine))
            self._have(self.all)
        engine.measured  # noqa: B018  if it has no costs yet, they are measured now, not in somebody's run
        self.look()

    def look(self) -> None:
        """Between two steps."""
        now, (before, others) = time.monotonic(), self.last
        if self.free and now > before + PERIOD:
            self.last = now, self._others()
            free = psutil.cpu_count() - (self.last[1] - others) / (now - before)
            room = min(self.all, max(1, int(free + LITTLE)))
            self.calm = self.calm + 1 if room > torch.get_num_threads() else 0
            if self.calm in (0, CALM):
                self._have(room)

    def _have(self, threads: int) -> None:
        self.calm = 0
        if not self.given and threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    def _others(self) -> float:
        """Seconds of processor time that other programs have had so far, without those that let us go first (nice)."""
        times, own = psutil.cpu_times(), self.process.cpu_times()
        return times.user + times.system + getattr(times, "steal", 0.0) - own.user - own.system


def _own(engine: Engine) -> bool:
    """Whether all of its passes are our own kernels."""
    return bool(getattr(engine.target, "steps", None)) and all_in_panels(engine.target)

"""A lane's clock: the seconds that the engine spent on this lane.

It pauses while text and posteriors are prepared for display, because transformers' `generate()`, the comparison, does neither.
"""

import time


class Clock:
    def __init__(self):
        self.seconds, self.began = 0.0, 0.0

    @property
    def now(self) -> float:
        """Of a running clock."""
        return self.seconds + time.perf_counter() - self.began

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def standing(self) -> "Clock":
        """`with clock.standing():` pauses a running clock."""
        return self

    def __enter__(self) -> None:
        self.stop()

    def __exit__(self, *_) -> None:
        self.start()

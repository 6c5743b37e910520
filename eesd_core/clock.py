"""A lane's clock: the seconds that the engine worked on this lane, and nobody else's.

It stands still while text and pictures of beliefs are made for whoever looks on: transformers' `generate()` makes neither.
"""

import time


class Clock:
    def __init__(self):
        self.seconds, self.began = 0.0, 0.0

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def standing(self) -> "Clock":
        """`with clock.standing():` what happens inside is on nobody's clock."""
        return self

    def __enter__(self) -> None:
        self.stop()

    def __exit__(self, *_) -> None:
        self.start()

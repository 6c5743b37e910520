"""Fetches a known model's file into the cache in the background, while another model is live."""

import logging
import threading
from collections.abc import Callable

from eesd_core.errors import UserError


class Arrival:
    """`bring(progress)` fetches and converts; it reports bytes fetched and bytes in total. Without `bring` the file is already there."""

    def __init__(self, model: str, bring: Callable[[Callable[[int, int], None]], object] | None = None):
        self.model, self._bring = model, bring
        self.ready = bring is None
        self.done = self.total = 0  # bytes
        self.problem: str | None = None

    def begin(self) -> "Arrival":
        if not self.ready:
            threading.Thread(target=self._run, name=f"fetch {self.model}", daemon=True).start()
        return self

    def check(self) -> None:
        """Raises UserError until the file is there."""
        if self.problem:
            raise UserError(f"{self.model} could not be fetched ({self.problem}): choose another model")
        if not self.ready:
            far = f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB" if self.done < self.total else "it is being unpacked"
            raise UserError(f"{self.model} is still on its way ({far}): choose another model, or wait a little")

    def state(self) -> dict:
        if self.problem:
            return {"state": "failed", "problem": self.problem}
        return {"state": "ready"} if self.ready else {"state": "fetching", "done": self.done, "total": self.total}

    def _run(self) -> None:
        try:
            self._bring(self._told)
            self.ready = True
            print(f"{self.model} is there: choose it on the page", flush=True)
        except UserError as problem:
            self.problem = str(problem)
            print(f"{self.model} could not be fetched: {problem}", flush=True)
        except Exception as problem:  # a failed download must not end the server, but must be logged
            logging.getLogger(__name__).exception("fetching failed")
            self.problem = type(problem).__name__

    def _told(self, done: int, total: int) -> None:
        self.done, self.total = done, total

"""A logger that makes a trace of any decode loop with three calls: `begin`, `round`, `end`."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..errors import UserError
from ..events import Event, PrefillDone, Record, RoundTold, RunCancelled
from ..schema import MOST_TOLD, fits
from ..trace import to_line
from .told import finished, started

REASONS = ("length", "eos", "stop", "unknown")


class Log:
    """Writes a trace line by line, so an aborted run is not lost. Use it in a `with` statement. It can log several texts in sequence.

        with Log("run.ndjson", "my loop") as log:
            log.begin(prompt="Once upon a time")
            while not done:
                log.round(drafted=4, accepted=2, ids=[17, 5, 9])
            log.end("eos")

    A round's time runs from the round before, or from `begin` or `prefilled`. Pass `seconds` to use your own clock.
    """

    def __init__(self, path: str | Path, program: str):
        """`program`: the name of the method, anything but eesd and vanilla. Raises UserError for these, and if `path` cannot be written."""
        if program in ("", "eesd", "vanilla"):
            raise UserError(f"a log is of another program: {program!r} is none")
        self.program, self.path, self.row, self.open = program, Path(path), -1, False
        try:
            self.file = self.path.open("w", encoding="ascii")
        except OSError as problem:
            raise UserError(f"the log cannot be written to {path}: {problem.strerror}; choose another path") from None

    def begin(
        self, model: str = "", prompt: str = "", prompt_ids: Sequence[int] = (), settings: dict | None = None, versions: dict | None = None
    ) -> None:
        """Begin the next text. Omitted values count as unknown."""
        self._end_early()
        self.row, self.seq, self.t, self.rounds, self.tokens, self.open = self.row + 1, 0, 0.0, [], 0, True
        self._say(started(self.program, model, prompt, prompt_ids, settings or {}, versions or {}))
        self.at = time.perf_counter()

    def prefilled(self, tokens: int, seconds: float | None = None) -> None:
        """Call it when prefill ends and decoding begins. `seconds`: of prefill. Optional: without it, prefill counts to the first round.
        Raises UserError outside a text, and for impossible numbers."""
        self._check(fits(tokens, "integer") and tokens >= 0, f"a prefill reads a whole number of tokens, not {tokens!r}", seconds)
        taken = time.perf_counter() - self.at
        self._say(PrefillDone(int(tokens), taken if seconds is None else float(seconds)))
        self.at = time.perf_counter()

    def round(
        self, drafted: int, accepted: int, ids: Sequence[int] | None = None, text: str | None = None, seconds: float | None = None
    ) -> None:
        """One draft-verify cycle. `ids` and `text`: all that it wrote, including the target's own token. Raises UserError for impossible
        counts."""
        counts = fits(drafted, "integer") and fits(accepted, "integer") and 0 <= accepted <= drafted <= MOST_TOLD
        problem = f"no round accepts {accepted} of {drafted} drafts (at most {MOST_TOLD}) and writes more than one token beside"
        self._check(counts and (ids is None or len(ids) <= accepted + 1), problem, seconds)
        now = time.perf_counter()
        taken, self.at = now - self.at if seconds is None else float(seconds), now
        self.t += taken
        self.tokens += accepted + 1 if ids is None else len(ids)
        self._say(RoundTold(len(self.rounds), int(drafted), int(accepted), None if ids is None else tuple(map(int, ids)), text, taken))
        self.rounds.append((int(drafted), int(accepted)))

    def end(self, reason: str = "unknown") -> None:
        """End the text. `reason`: length, eos (the model ended it), stop (a stop string) or unknown. Raises UserError for another one."""
        if reason not in REASONS:
            raise UserError(f"a text ends for one of {', '.join(REASONS)}, not {reason!r}")
        if self.open:
            self._say(finished(reason, self.tokens, self.rounds, None))
            self.open = False

    def close(self) -> None:
        self._end_early()
        self.file.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def _end_early(self) -> None:
        if self.open:
            self._say(RunCancelled(self.tokens))
            self.open = False

    def _check(self, good: bool, problem: str, seconds: float | None) -> None:
        """Raises UserError outside a text, with `problem` unless the call is good, and for a time that is none."""
        if not self.open:
            raise UserError("nothing is being written: call begin first")
        if not good:
            raise UserError(problem)
        if seconds is not None and not (fits(seconds, "number") and seconds >= 0):
            raise UserError(f"seconds must be a number from 0 on, not {seconds!r}")

    def _say(self, event: Event) -> None:
        self.file.write(to_line(Record("foreign", "eesd", self.seq, self.t, event, self.row)))
        self.file.flush()
        self.seq += 1

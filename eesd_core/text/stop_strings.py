"""Stop strings: a text ends before the first one that occurs, independent of token and round boundaries."""

from collections.abc import Sequence
from copy import copy

from ..errors import UserError
from .detokenizer import Detokenizer

MOST, LONGEST = 16, 256  # most strings; most characters of each


def check_stops(stops: Sequence[str]) -> tuple[str, ...]:
    """Stop strings as a tuple; a single string is allowed. Raises UserError for too many, empty or too long ones."""
    stops = (stops,) if isinstance(stops, str) else tuple(stops)
    if len(stops) > MOST or any(not isinstance(stop, str) or not 0 < len(stop) <= LONGEST for stop in stops):
        raise UserError(f"stop strings: at most {MOST}, each of 1 to {LONGEST} characters")
    return stops


class StopStrings:
    """Looks for stop strings in a text that arrives in pieces. Text that may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]):
        self.stops, self.held, self.found = check_stops(stops), "", False

    def push(self, text: str) -> str:
        """Returns the text that is certain to be output. Once a stop string is `found`, the text ends before it."""
        if self.found:
            return ""
        text = self.held + text
        ends = [(text.index(stop) + len(stop), -len(stop)) for stop in self.stops if stop in text]
        if ends:  # the one that is completed first, independent of how the text was cut into pieces
            self.found, self.held = True, ""
            return text[: sum(min(ends))]
        longest = max((n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        self.held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def flush(self) -> str:
        """At the end of a run that no string stopped: the text held back."""
        held, self.held = self.held, ""
        return held


class StoppedText:
    """A detokenizer that watches for stop strings. A run ends at the token that completes a stop string. The token belongs to the run, but
    the string is not part of the text. Tokens are examined one by one, so the run ends at the same token however many are committed at
    once. A push whose end may begin a stop string returns no text, as with an unfinished character; a later push returns it."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str]):
        self.detokenizer, self.watch, self.kept = detokenizer, StopStrings(stops), ""

    @property
    def stopped(self) -> bool:
        return self.watch.found

    def fork(self) -> "StoppedText":
        """A copy that can look ahead over drafts without changing this one."""
        ahead = copy(self)
        ahead.detokenizer, ahead.watch = copy(self.detokenizer), copy(self.watch)
        ahead.detokenizer.ids = list(self.detokenizer.ids)
        return ahead

    def push(self, ids: Sequence[int]) -> tuple[int, str]:
        """Returns how many of the ids belong to the run, and the text that they add."""
        if not self.watch.stops:
            return len(ids), self.detokenizer.push(ids)
        count = 0
        while count < len(ids) and not self.stopped:
            self.kept += self.watch.push(self.detokenizer.push([ids[count]]))
            count += 1
        if (self.watch.held or self.detokenizer.waits) and not self.stopped:
            return count, ""
        text, self.kept = self.kept, ""
        return count, text

    def flush(self) -> str:
        """At the end of a run: the text still held back."""
        return "" if self.stopped else self.kept + self.watch.push(self.detokenizer.flush()) + self.watch.flush()

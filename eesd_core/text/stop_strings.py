"""Stop strings: a text ends in front of the first one that comes up, wherever tokens and rounds begin and end."""

from collections.abc import Sequence

from ..errors import UserError
from .detokenizer import Detokenizer

MOST, LONGEST = 16, 256  # strings, and characters of each


def check_stops(stops: Sequence[str]) -> tuple[str, ...]:
    """Raises UserError."""
    if len(stops) > MOST or any(not isinstance(stop, str) or not 0 < len(stop) <= LONGEST for stop in stops):
        raise UserError(f"stop strings: at most {MOST}, each of 1 to {LONGEST} characters")
    return tuple(stops)


class StopStrings:
    """Looks for any of some strings in a text that comes in pieces. Text that may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]):
        self.stops, self.held, self.found = check_stops(stops), "", False

    def push(self, text: str) -> str:
        """What can be given out. Once a stop string is `found`, the text is over: it is cut in front of the string."""
        if self.found:
            return ""
        text = self.held + text
        ends = [(text.index(stop) + len(stop), -len(stop)) for stop in self.stops if stop in text]
        if ends:  # the first one that is complete, however the text was cut
            self.found, self.held = True, ""
            return text[: sum(min(ends))]
        longest = max((n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        self.held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def flush(self) -> str:
        """At the end of a run that no string stopped: what was held back."""
        held, self.held = self.held, ""
        return held


class StoppedText:
    """A detokenizer that watches for stop strings. A string ends the run at the token that completes it: the token belongs to the run, the
    string to no text. Tokens are looked at one by one, so the run ends at the same token however many are committed at once."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str]):
        self.detokenizer, self.watch = detokenizer, StopStrings(stops)

    @property
    def stopped(self) -> bool:
        return self.watch.found

    def push(self, ids: Sequence[int]) -> tuple[int, str]:
        """How many of the ids belong to the run, and the text that they add."""
        if not self.watch.stops:
            return len(ids), self.detokenizer.push(ids)
        text = ""
        for count, id in enumerate(ids, 1):
            text += self.watch.push(self.detokenizer.push([id]))
            if self.stopped:
                return count, text
        return len(ids), text

    def flush(self) -> str:
        """At the end of a run: what is still held back."""
        return "" if self.stopped else self.watch.push(self.detokenizer.flush()) + self.watch.flush()

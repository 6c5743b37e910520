"""Incremental conversion of token ids to text, without breaking characters that span tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .codec import Codec

MOST_IN_VIEW = 24  # most ids that are decoded again with every new one
BEFORE = 8  # ids of the prompt that are decoded with the first new ones
LONGEST = 4  # most bytes, and so most tokens, of a character


class Detokenizer:
    """`push` takes ids as they are committed and returns the text that they add. Bytes of an unfinished character wait for the rest."""

    def __init__(self, codec: "Codec", before: Sequence[int]):
        """`before`: the prompt's ids. The last ones are decoded too, since a token's text may depend on its neighbour."""
        self.codec = codec
        views = [list(before[-count:]) for count in range(BEFORE, BEFORE + LONGEST)]
        # Do not begin inside a character: byte decoders treat a run of bytes as one, so whole characters behind it would be spoiled too.
        self.ids = next((view for view in views if not codec.decode(view).startswith("\ufffd")), views[0])
        self.first, self.read = 0, len(self.ids)  # ids[first:] are decoded; the text of ids[:read] has been returned
        self.before = self._text()

    def push(self, ids: Sequence[int]) -> str:
        self.ids += ids
        now = self._text()
        if now.endswith("\ufffd"):
            return ""
        new, self.before = now[len(self.before) :], now
        if len(self.ids) - self.first > MOST_IN_VIEW:
            self.first = self.read
            self.before = self._text()
        self.read = len(self.ids)
        return new

    @property
    def waits(self) -> bool:
        """Whether the text of the last ids is still held back."""
        return self.read < len(self.ids)

    def flush(self) -> str:
        """At the end of a run: the text still held back, broken characters included."""
        return self._text()[len(self.before) :]

    def _text(self) -> str:
        return self.codec.decode(self.ids[self.first :])

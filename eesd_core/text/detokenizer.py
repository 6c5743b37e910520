"""Token ids to text, piece by piece, without breaking characters that span tokens."""

from collections.abc import Sequence

from .codec import Codec

MOST_IN_VIEW = 24  # ids that are decoded again with every new one
BEFORE = 8  # ids of the prompt that stay in view
LONGEST = 4  # bytes, and so tokens, of a character


class Detokenizer:
    """Feed ids as they are committed; what they add to the text comes back. Unfinished UTF-8 waits for its rest."""

    def __init__(self, codec: Codec, before: Sequence[int]):
        """`before`: the prompt. Its last ids stay in view, since some tokenizers glue a token to its neighbour."""
        self.codec = codec
        views = [list(before[-count:]) for count in range(BEFORE, BEFORE + LONGEST)]
        # A view that begins inside a character would spoil whole characters behind it: decoders of single bytes take a row of them as one.
        self.ids = next((view for view in views if not codec.decode(view).startswith("\ufffd")), views[0])
        self.first, self.read = 0, len(self.ids)  # ids[first:] are in view; text of ids[:read] has been given out
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
        """Whether the last ids have given no text yet."""
        return self.read < len(self.ids)

    def flush(self) -> str:
        """At the end of a run: what is still held back, broken characters included."""
        return self._text()[len(self.before) :]

    def _text(self) -> str:
        return self.codec.decode(self.ids[self.first :])

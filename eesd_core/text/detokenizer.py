"""Token ids to text, piece by piece, without breaking characters that span tokens."""

MOST_IN_VIEW = 24  # ids that are decoded again with every new one


class Detokenizer:
    """Feed ids as they are committed; what they add to the text comes back. Unfinished UTF-8 waits for its rest."""

    def __init__(self, tokenizer, before: list[int]):
        """`before`: the prompt. Its last ids stay in view, since some tokenizers glue a token to its neighbour."""
        self.tokenizer = tokenizer
        self.ids = before[-8:]
        self.first, self.read = 0, len(self.ids)  # ids[first:] are in view; text of ids[:read] has been given out
        self.before = self._text()

    def push(self, ids: list[int]) -> str:
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

    def flush(self) -> str:
        """At the end of a run: what is still held back, broken characters included."""
        return self._text()[len(self.before) :]

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids[self.first :], skip_special_tokens=True)

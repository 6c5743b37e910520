"""Token ids to text, piece by piece, without breaking characters that span tokens."""


class Detokenizer:
    """Feed ids as they are committed; what they add to the text comes back. Unfinished UTF-8 waits for its rest."""

    def __init__(self, tokenizer, before: list[int]):
        """`before`: the prompt. Its last ids stay in view, since some tokenizers glue a token to its neighbour."""
        self.tokenizer = tokenizer
        self.ids = before[-8:]
        self.shown, self.read = 0, len(self.ids)  # text of ids[:read] has been given out

    def push(self, ids: list[int]) -> str:
        self.ids += ids
        before, now = self._decode(self.ids[self.shown : self.read]), self._decode(self.ids[self.shown :])
        if now.endswith("\ufffd"):
            return ""
        self.shown, self.read = self.read, len(self.ids)
        return now[len(before) :]

    def flush(self) -> str:
        """At the end of a run: what is still held back, broken characters included."""
        return self._decode(self.ids[self.shown :])[len(self._decode(self.ids[self.shown : self.read])) :]

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

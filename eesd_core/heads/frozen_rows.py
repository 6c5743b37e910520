"""Base class of all heads: they read all rows of the target's frozen LM head, or those of a shortlist."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..model.target import Target
from .shortlist import Shortlist, Words, text_logits


class ReadsFrozenRows(nn.Module):
    note = ""  # a warning for the user, if something is not as expected
    fingerprint: str | None = None  # of the weights as loaded, because packed weights can no longer be read
    taps: tuple[int, ...] = ()  # depths of the target at which it reads the states of verified rows
    bits: int = 16  # per stored weight
    shortlist: Shortlist | None  # the rows of the frozen head that it reads; None: all of them
    greedy: nn.Module | None  # a twin that drafts when decoding is greedy (exit_layer.py)

    def __init__(self):
        super().__init__()
        self.facts: dict = {}
        self.shortlist = self.greedy = None
        self.layers: Sequence[nn.Module] = ()  # decoder layers of its own
        self.norm: nn.Module = nn.Identity()  # in front of the frozen head

    def at(self, temperature: float) -> "ReadsFrozenRows":
        """What drafts at this temperature."""
        return self

    def read_only(self, shortlist: Shortlist | None) -> None:
        """From now on it reads only these rows of the frozen head; None: all rows."""
        self.shortlist = shortlist

    def own_state(self) -> dict[str, Tensor]:
        """Its own weights, without the frozen rows of the shortlist."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("shortlist.")}

    def words(self) -> Words | None:
        """A new token list for one text, which grows with the text's tokens (Words.see). None: the whole vocabulary."""
        return self.shortlist and Words(self.shortlist)

    def logits(self, target: Target, normed: Tensor, words: Words | None = None) -> Tensor:
        """normed (1, m, D): the LM head's input -> logits (m, V) float32, or over the ids of `words`, or over the shortlist if there is one
        and `words` is None."""
        if words is not None:
            return words.logits(normed)
        return target.rough_head(normed) if self.shortlist is None else self.shortlist(normed)[0]

    def along(self, target: Target, normed: Tensor, ids: Sequence[int], first: int) -> Tensor:
        """Logits that drafting would have computed at places first .. of the text `ids`. normed (1, m, D): the LM head's input -> (m, V),
        with -inf for tokens that were not in the text's list at that place."""
        if self.shortlist is None:
            return target.rough_head(normed)
        logits, listed = text_logits(self.shortlist, normed, ids, first)
        return logits.new_full((len(logits), target.vocab), float("-inf")).index_copy_(-1, listed, logits)

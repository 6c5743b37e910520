"""What everything that drafts with the target's frozen LM head has in common: it reads all rows of that head, or those of a shortlist."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..model.target import Target
from .shortlist import Shortlist, Words, text_logits


class ReadsFrozenRows(nn.Module):
    note = ""  # for whoever looks on, where something is not as one expects
    fingerprint: str | None = None  # of the weights as they were loaded: packed ones cannot be looked at any more
    taps: tuple[int, ...] = ()  # behind how many of the target's layers it reads the states of verified rows
    bits: int = 16  # of a stored weight
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
        """From now on it reads these rows of the frozen head."""
        self.shortlist = shortlist

    def own_state(self) -> dict[str, Tensor]:
        """Its own weights, without the frozen rows of the shortlist."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("shortlist.")}

    def words(self) -> Words | None:
        """The list of one text, to which the tokens of the text are shown as they are written; None: the whole vocabulary."""
        return self.shortlist and Words(self.shortlist)

    def logits(self, target: Target, normed: Tensor, words: Words | None = None) -> Tensor:
        """What the rows of the LM head are multiplied by, (1, m, D) -> (m, V) float32, or over the ids of `words` (of the bare shortlist,
        where there is one and `words` is None)."""
        if words is not None:
            return words.logits(normed)
        return target.head(normed) if self.shortlist is None else self.shortlist(normed)[0]

    def along(self, target: Target, normed: Tensor, ids: Sequence[int], first: int) -> Tensor:
        """What drafting along the text `ids` would have seen at places first .. : (1, m, D) as `logits` takes it -> logits over the
        vocabulary (m, V), -inf for tokens that were not in the list at that place."""
        if self.shortlist is None:
            return target.head(normed)
        logits, listed = text_logits(self.shortlist, normed, ids, first)
        return logits.new_full((len(logits), target.vocab), float("-inf")).index_copy_(-1, listed, logits)

"""A shortlist: the frozen LM head's rows of frequent tokens, and of the tokens in the prompt and the text so far (such as names).

In a small model with a large vocabulary the LM head is most of a draft step (its 49,152 rows are 21 % of SmolLM2-135M's weights). Tokens
outside the list are never drafted, so they can only be corrections or bonus tokens, and the text stays the target's. As in FR-Spec (arXiv
2502.14856); adding the context's tokens is ours.

The distribution over a list is zero elsewhere. Rejection sampling is exact for any draft distribution, so `spread` just writes it out over
the vocabulary. With shared noise a token keeps the noise of its id, so the list's choice equals the full head's whenever that is in the
list. (With min-p the most likely token must be in it too. top-k and top-p may keep listed tokens that the full head would cut.)
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..model.target import Target

ROOM = 256  # initial capacity for a text's context rows


class Shortlist(nn.Module):
    """The rows of S frequent tokens as one matrix (S, D), which is packed together with the other linear layers."""

    def __init__(self, target: Target, ids: Tensor):
        """ids (S,): distinct tokens in any order. Must be made before the target's own head is packed."""
        super().__init__()
        head = target.model.lm_head
        self.ids = ids.to(target.device, torch.long)
        self.listed = frozenset(ids.tolist())
        self.all_rows = (head.weight.detach(), None if head.bias is None else head.bias.detach())  # (V, D), (V,)
        self.softcap = target.softcap
        self.product = nn.Linear(head.in_features, len(ids), head.bias is not None, device="meta")
        frequent = {"weight": self.all_rows[0][self.ids]} | ({} if head.bias is None else {"bias": self.all_rows[1][self.ids]})
        self.product.load_state_dict(frequent, assign=True)
        self.product.requires_grad_(False)

    def __len__(self) -> int:
        return len(self.ids)

    def forward(self, normed: Tensor) -> Tensor:
        """(..., D) -> (..., S) float32."""
        return self.capped(self.product(normed))

    def rows(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """The head's rows of any tokens: weights (n, D), and biases (n,) if the head has them."""
        weight, bias = self.all_rows
        return weight[ids], None if bias is None else bias[ids]

    def capped(self, logits: Tensor) -> Tensor:
        return (self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits).float()


class Words:
    """A text's list: the shortlist, then the tokens of the text that are not in it, each once. It only grows."""

    def __init__(self, shortlist: Shortlist):
        self.shortlist, self.known, self.size = shortlist, set(), len(shortlist)
        weight, bias = shortlist.rows(shortlist.ids[:1].repeat(ROOM))
        if weight.device.type == "cpu":  # few rows; processors without bf16 instructions take many times as long in bf16
            weight = weight.float()
        self._ids, self._weight, self._bias = torch.cat([shortlist.ids, shortlist.ids[:1].repeat(ROOM)]), weight, bias

    @property
    def ids(self) -> Tensor:
        """The listed tokens, in the order of the logits, (S + C,)."""
        return self._ids[: self.size]

    @property
    def context(self) -> Tensor | None:
        """The LM head's rows of the tokens behind the shortlist, (C, D); None: there are none, or they have biases."""
        return self._weight[: len(self.known)] if self.known and self._bias is None else None

    def see(self, ids: Iterable[int]) -> None:
        """Add these tokens of the text, unless they are listed already."""
        new = [id for id in dict.fromkeys(ids) if id not in self.shortlist.listed and id not in self.known]
        if not new:
            return
        self.known.update(new)
        first, end = len(self.known) - len(new), len(self.known)
        while end > len(self._weight):  # double the capacity
            self._weight = torch.cat([self._weight, self._weight])
            self._bias = None if self._bias is None else torch.cat([self._bias, self._bias])
            self._ids = torch.cat([self._ids, self._ids[len(self.shortlist) :]])
        added = torch.tensor(new, device=self._ids.device)
        weight, bias = self.shortlist.rows(added)
        self._ids[self.size : self.size + len(new)], self._weight[first:end] = added, weight
        if bias is not None:
            self._bias[first:end] = bias
        self.size += len(new)

    def logits(self, normed: Tensor, frequent: Tensor | None = None) -> Tensor:
        """(1, m, D) -> (m, S + C) float32. frequent (m, S): the shortlist's logits, if a pass over several texts has computed them."""
        frequent, count = self.shortlist(normed)[0] if frequent is None else frequent, len(self.known)
        if not count:
            return frequent
        bias = None if self._bias is None else self._bias[:count]
        context = self.shortlist.capped(nn.functional.linear(normed[0].to(self._weight.dtype), self._weight[:count], bias))
        return torch.cat([frequent, context], -1)


def text_logits(shortlist: Shortlist, normed: Tensor, ids: Sequence[int], first: int) -> tuple[Tensor, Tensor]:
    """Logits that drafting along a whole text would have computed. normed (1, m, D): the LM head's input at places first .. first + m - 1
    of the text `ids` -> logits (m, S + C) and their tokens (S + C,), one list for all places. A context token is -inf at places before its
    first occurrence."""
    words = Words(shortlist)
    end = first + normed.shape[1]
    words.see(ids[:end])
    context, seen = words.ids[len(shortlist) :].tolist(), {}
    for place, id in enumerate(ids[:end]):
        seen.setdefault(id, place)
    logits = words.logits(normed)
    since = torch.tensor([seen[id] for id in context], dtype=torch.long, device=logits.device)  # (C,)
    places = torch.arange(first, end, device=logits.device)
    logits[:, len(shortlist) :].masked_fill_(since > places[:, None], -torch.inf)
    return logits, words.ids


def spread(ids: Tensor, probs: Tensor, vocab: int) -> Tensor:
    """A distribution over a list, written out over the vocabulary: (..., S) -> (..., V)."""
    return probs.new_zeros(*probs.shape[:-1], vocab).index_copy_(-1, ids, probs)


def most_frequent(counts: Tensor, size: int, also: Iterable[int] = ()) -> Tensor:
    """The `size` most frequent tokens, `also` always included, sorted by id: counts (V,) -> (S,). Of equally frequent ones the lower id."""
    counts = counts.clone().long()
    counts[list(also)] = counts.amax() + 1
    return counts.sort(descending=True, stable=True).indices[:size].sort().values

"""A shortlist: rows of the frozen LM head for frequent tokens, and for the tokens of the prompt and of the text so far (names!).

The LM head of a small model with a large vocabulary is most of a draft step (21 % of SmolLM2-135M, 49,152 rows). Tokens outside the list
are never drafted, so they can only be corrections, and the text is the target's all the same. As in FR-Spec (arXiv 2502.14856); adding
the context's tokens is ours.

A law over a list has no mass elsewhere. Rejection sampling is exact for any law of the drafts, so for this one too: `spread` writes it out
over the vocabulary. With shared noise a token has the noise of its true id: the list's choice is that of the full head wherever this is
in the list (with top-p or min-p, wherever the likeliest token is in it too: they cut relative to what is likely).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..model.target import Target

ROOM = 256  # context rows that a text's list begins with


class Shortlist(nn.Module):
    """The rows of S frequent tokens, one matrix (S, D), which is packed with the other linear layers."""

    def __init__(self, target: Target, ids: Tensor):
        """ids (S,): different tokens, in any order. Made before the target's own head is packed."""
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
        """Of any tokens: weights (n, D), and biases where the head has them."""
        weight, bias = self.all_rows
        return weight[ids], None if bias is None else bias[ids]

    def capped(self, logits: Tensor) -> Tensor:
        return (self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits).float()


class Words:
    """A text's list: the shortlist, then the tokens of the text that are not in it, each once. It only grows."""

    def __init__(self, shortlist: Shortlist):
        self.shortlist, self.known, self.size = shortlist, set(), len(shortlist)
        weight, bias = shortlist.rows(shortlist.ids[:1].repeat(ROOM))
        self._ids, self._weight, self._bias = torch.cat([shortlist.ids, shortlist.ids[:1].repeat(ROOM)]), weight, bias

    @property
    def ids(self) -> Tensor:
        """(S + C,), the tokens that the logits are of."""
        return self._ids[: self.size]

    def see(self, ids: Iterable[int]) -> None:
        """Tokens of the text. Those that are known cost nothing."""
        new = [id for id in dict.fromkeys(ids) if id not in self.shortlist.listed and id not in self.known]
        if not new:
            return
        self.known.update(new)
        first, end = len(self.known) - len(new), len(self.known)
        while end > len(self._weight):  # twice the room
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
        """(1, m, D) -> (m, S + C) float32. `frequent`: those of the shortlist, (m, S), where a pass over several texts has them."""
        frequent, count = self.shortlist(normed)[0] if frequent is None else frequent, len(self.known)
        if not count:
            return frequent
        bias = None if self._bias is None else self._bias[:count]
        context = self.shortlist.capped(nn.functional.linear(normed[0].to(self._weight.dtype), self._weight[:count], bias))
        return torch.cat([frequent, context], -1)


def text_logits(shortlist: Shortlist, normed: Tensor, ids: Sequence[int], first: int) -> tuple[Tensor, Tensor]:
    """What drafting along a whole text would have seen: logits (m, S + C) at places first .. first + m - 1 of the text `ids`, over one list
    (S + C,) for all of them; a token that no place up to its own has shown is -inf there. normed (1, m, D)."""
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
    """A law over a list, written out over the vocabulary: (..., S) -> (..., V). Rejection sampling then takes it as any other."""
    return probs.new_zeros(*probs.shape[:-1], vocab).index_copy_(-1, ids, probs)


def most_frequent(counts: Tensor, size: int, also: Iterable[int] = ()) -> Tensor:
    """The `size` tokens that were written most often (of equal ones the lower id), `also` among them, rising. counts (V,) -> (S,)."""
    counts = counts.clone().long()
    counts[list(also)] = counts.amax() + 1
    return counts.sort(descending=True, stable=True).indices[:size].sort().values

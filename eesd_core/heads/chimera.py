"""The chimera head reads the last three tokens and the last verified token's state. It has no attention (after Chimera, arXiv 2402.15758).

Chimera's trigram encoder is as published: three concatenated embeddings, one linear map, and a residual MLP. The rest is ours. Chimera's
second encoder, a decoder layer over the target's last states, is reduced to the newest of these states, which is computed once per round.
A vector for each place of a round tells how far back that state is. Instead of one LM head per place, all places read the target's frozen
head or a shortlist of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..limits import MAX_DRAFT
from ..model.target import Target
from .copies import copied_norm
from .trained import TrainedHead, check_taps, even, linear, places_of, random_maps, rows_at

TOKENS = 3


class ChimeraHead(TrainedHead):
    kind = "chimera"

    def __init__(
        self, target: Target, weights: dict[str, Tensor] | None = None, taps: Sequence[int] = (), mlp: int = 0, longest: int = 6
    ):  # fmt: skip
        """`taps`: depths of the last verified token's states that it reads (default: behind all layers). `mlp`: width of the residual MLP
        (default: three quarters of the model's). `longest`: places of a round that have their own vector. Raises UserError for depths
        that the target does not have and for a wrong `longest`."""
        width = target.config.hidden_size
        taps = check_taps(target, taps or (target.depth,), self.kind)
        mlp = mlp or max(32, width * 3 // 4 // 32 * 32)
        if not 1 <= longest <= MAX_DRAFT:
            raise UserError(f"a chimera head is trained for rounds of 1 to {MAX_DRAFT} drafts, not {longest}")
        super().__init__(target, taps=taps, mlp=mlp, longest=longest)
        self.taps, self.longest = taps, longest
        self.trigram = linear(target, TOKENS * width, width)
        self.state = linear(target, len(taps) * width, width)
        self.up, self.down = linear(target, width, mlp), linear(target, mlp, width)
        self.place = nn.Parameter(torch.zeros(longest, width, dtype=target.dtype, device=target.device))
        self.norm = copied_norm(target)
        if weights is None:
            weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()} | random_maps(self)
        self.begin(target, weights)

    def context(self, states: Sequence[Tensor]) -> Tensor:
        """Contexts of verified tokens, from their states at every tap: (B, m, D) each -> (B, m, D)."""
        return self.state(torch.cat([even(part) for part in states], -1))

    def hidden(self, embedded: Tensor, context: Tensor, place: Tensor) -> Tensor:
        """embedded (B, m, 3 D): the last three tokens, oldest first; context (B, m, D): of the last verified token; place (B, m): number of
        the place in its round -> the LM head's input, (B, m, D)."""
        mixed = self.trigram(embedded) + context + self.place[place.clamp(max=self.longest - 1)]
        return self.norm(mixed + self.down(nn.functional.silu(self.up(even(mixed)))))

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        embedded = even(target.embed_rows(ids))
        tokens = [nn.functional.pad(embedded, (0, 0, back, 0))[:, : ids.shape[1]] for back in reversed(range(TOKENS))]
        context = self.context([states[tap].to(embedded.dtype) for tap in self.taps])
        before = rows_at(nn.functional.pad(context, (0, 0, 1, 0)), start)  # row 0: nothing verified yet
        return self.hidden(torch.cat(tokens, -1), before, places_of(start) - start)

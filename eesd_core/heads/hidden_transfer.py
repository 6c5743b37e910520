"""Hidden Transfer: linear maps make pseudo states of the next positions for the target's upper layers (Wu et al. 2024, arXiv 2404.12022;
no code is public).

k linear maps turn the last verified token's state after `depth` layers into pseudo states of the k positions that follow. These run through
the target's remaining layers, where a row sees the true keys and values of the text and the pseudo rows before it. The target's norm and
head read the result. Only the maps are trained; gradients pass through the frozen layers.

This is the two-pass form: the text is verified first, then its last row is transferred. Details that the paper's abstract leaves open are
ours: states are scaled to length D^.5 before a map and back to their own length after it; a map is the identity plus W, and W starts at
zero. Two ideas are entirely ours. In this form the first of the positions holds the pending token, which is known, so all rows also read
its embedding (`token`). And since a row does not know what was drafted before it, a small network of `rank` units corrects it by the
previous token, after DSpark's sequential bias (arXiv 2607.05147), which reads only the token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from .beside import Heard, run_beside, three_quarters
from .trained import TrainedHead, even, linear, places_of

MOST_PLACES = 8


class HiddenTransferHead(TrainedHead):
    kind = "hidden-transfer"

    def __init__(
        self, target: Target, weights: dict[str, Tensor] | None = None, depth: int = 0, places: int = 4, rank: int = 64
    ):  # fmt: skip
        """`depth`: number of layers after which states are transferred (default: three quarters of them). `places`: number of maps, which
        is the longest draft. `rank`: units of the correction network; 0: none. Raises UserError for values out of range."""
        depth = depth or three_quarters(target)
        if not 0 < depth < target.depth:
            raise UserError(f"hidden-transfer starts behind 1 to {target.depth - 1} layers of {target.name}, not {depth}")
        if not 1 <= places <= MOST_PLACES or rank < 0:
            raise UserError(f"hidden-transfer has 1 to {MOST_PLACES} places and a rank of at least 0, not {places} and {rank}")
        super().__init__(target, depth=depth, places=places, rank=rank)
        self.depth, self.taps, self.longest = depth, (depth,), places
        width = target.config.hidden_size
        self.maps = nn.ModuleList(linear(target, width, width) for _ in range(places))
        self.token = linear(target, width, width)
        self.before = linear(target, 2 * width, rank) if rank else None
        self.after = linear(target, rank, width) if rank else None
        if weights is None:
            weights = {name: torch.zeros_like(matrix) for name, matrix in self.named_parameters()}
            if rank:
                weights["before.weight"].normal_(std=width**-0.5, generator=torch.Generator(target.device).manual_seed(0))
        self.begin(target, weights)

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        upper, verified = target.layers[self.depth :], states[self.depth].to(target.dtype)
        last = nn.functional.pad(verified, (0, 0, 1, 0)).gather(1, start[..., None].expand(-1, -1, verified.shape[-1]))  # (B, T, D)
        pending = target.embedding(ids.gather(1, start))
        offsets = places_of(start) - start  # (B, T)
        rows = self.pseudo(last, pending, range(self.longest))  # (B, T, k, D)
        rows = rows.gather(2, offsets.clamp(max=self.longest - 1)[..., None, None].expand(-1, -1, 1, rows.shape[-1]))[:, :, 0]
        heard = Heard()
        heard.listen(target, upper, verified)
        normed = target.norm(run_beside(target, upper, rows, heard, start))
        return self.corrected(normed, target.embedding(ids))

    def pseudo(self, last: Tensor, pending: Tensor, places: Sequence[int]) -> Tensor:
        """last: the last verified token's state; pending: the pending token's embedding, (..., D) each -> pseudo states (..., places,
        D)."""
        state, token = even(last), even(pending.to(last.dtype))
        length = last.square().mean(-1, keepdim=True).sqrt()
        shared = state + self.token(token)
        return torch.stack([length * (shared + self.maps[place](state)) for place in places], -2)

    def corrected(self, normed: Tensor, before: Tensor) -> Tensor:
        """Corrects the LM head's input by the previous token. normed, before (the previous token's embedding): (B, m, D) -> (B, m, D)."""
        if self.before is None:
            return normed
        both = [even(part.to(normed.dtype)) for part in (normed, before)]
        return normed + self.after(nn.functional.silu(self.before(torch.cat(both, -1))))

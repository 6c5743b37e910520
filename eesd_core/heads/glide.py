"""GliDe: decoder layers on token embeddings that read the target's cached keys and values (Du et al. 2024, arXiv 2402.02082).

A layer of the paper's has a self-attention over the text, a cross-attention with queries and outputs of its own that reads the keys and
values of one of the target's layers, and an MLP. Ours is smaller: one attention reads both in one softmax, the target's keys and values
of all verified positions and its own of the round's tokens. So it runs on the target's cache as it stands, as the target's own layers
do, needs no cache and no prefill of its own, and begins as a copy of the layer that it reads, with an MLP of half the width. What
self-attention would see of the text, a layer sees that reads an early one of the target's.

A place sees only what was verified before its round began. In the paper's code the first block of a training text sees its own target
states, which no drafter has; here it does not.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from .beside import Heard, run_beside, three_quarters
from .copies import copied_norm, empty_layer, layer_weights, mlp_width
from .trained import TrainedHead, check_taps


class GlideHead(TrainedHead):
    kind = "glide"
    longest = 8

    def __init__(self, target: Target, weights: dict[str, Tensor] | None = None, taps: Sequence[int] = (), mlp: int = 0):
        """`taps`: numbers of the target's layers whose keys and values are read, each by a layer of the head (default: the one at three
        quarters of the depth). `mlp`: width of an MLP (default: half of the target's). Raises UserError for layers that are not there, or
        have none before them."""
        taps = check_taps(target, taps or [three_quarters(target)], self.kind)
        if taps[-1] == target.depth:
            raise UserError(f"a glide head reads layers from 1 to {target.depth - 1} of {target.name}, not {taps[-1]}")
        sources = [target.layers[tap] for tap in taps]
        mlp = mlp_width(target, sources[0], mlp)
        super().__init__(target, taps=taps, mlp=mlp)
        self.taps = taps
        self.layers = nn.ModuleList(empty_layer(target, source, tap, mlp) for tap, source in zip(taps, sources))
        self.norm = copied_norm(target)
        if weights is None:
            weights = {f"norm.{name}": tensor.clone() for name, tensor in self.norm.state_dict().items()}
            for number, source in enumerate(sources):
                weights |= {f"layers.{number}.{name}": tensor for name, tensor in layer_weights(target, source, mlp).items()}
        self.begin(target, weights)

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        heard = Heard()
        for tap in self.taps:
            heard.listen(target, [target.layers[tap]], states[tap])
        return self.norm(run_beside(target, self.layers, target.embed_rows(ids), heard, start))

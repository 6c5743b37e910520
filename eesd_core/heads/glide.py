"""GliDe: decoder layers on token embeddings that read the target's cached keys and values (Du et al. 2024, arXiv 2402.02082).

A layer of the paper has self-attention over the text, cross-attention to the keys and values of one target layer, with its own queries and
outputs, and an MLP. Ours is smaller: a single attention reads both in one softmax, the target's keys and values of all verified positions
and its own of the round's tokens. So it runs on the target's cache like the target's own layers, needs no cache and no prefill of its own,
and starts as a copy of the layer that it reads, with an MLP of half the width. To see the text as self-attention would, a layer can read an
early target layer.

A place sees only what was verified before its round began. In the paper's code the first block of a training text sees the target's states
of the block itself, which a drafter does not have; here it does not.
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
        """`taps`: numbers of the target's layers whose keys and values are read, each by one layer of the head (default: the layer at three
        quarters of the depth). `mlp`: width of the MLPs (default: half of the target's). Raises UserError for numbers outside
        1 .. depth - 1."""
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

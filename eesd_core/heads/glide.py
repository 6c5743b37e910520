"""GliDe: a decoder layer on token embeddings that reads the target's cached keys and values (Du et al. 2024, arXiv 2402.02082).

The paper's layer has a self-attention over the text, a cross-attention with queries and outputs of its own that reads the keys and values
of one of the target's layers, and an MLP. Ours is smaller: one attention reads both in one softmax, the target's keys and values of all
verified positions and its own of the round's tokens. So it runs on the target's cache as it stands, as the target's own layers do, needs no
cache and no prefill of its own, and begins as a copy of the layer that it reads, with an MLP of half the width.

A place sees only what was verified before its round began. In the paper's code the first block of a training text sees its own target
states, which no drafter has; here it does not.
"""

from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from .beside import hear, run_beside, three_quarters
from .copies import copied_norm, empty_layer, half_mlp, layer_weights
from .trained import TrainedHead


class GlideHead(TrainedHead):
    kind = "glide"
    longest = 8

    def __init__(self, target: Target, weights: dict[str, Tensor] | None = None, reads: int = 0, mlp: int = 0):
        """`reads`: number of the target's layer whose keys and values it reads (default: at three quarters of the depth). `mlp`: width of
        its MLP (default: half of the target's). Raises UserError for a layer that is not there or has none before it."""
        reads = reads or three_quarters(target)
        if not 0 < reads < target.depth:
            raise UserError(f"a glide head reads a layer from 1 to {target.depth - 1} of {target.name}, not {reads}")
        source = target.layers[reads]
        mlp = mlp or half_mlp(target, source)
        super().__init__(target, reads=reads, mlp=mlp)
        self.reads, self.taps = reads, (reads,)
        self.layers = nn.ModuleList([empty_layer(target, source, reads, mlp)])
        self.norm = copied_norm(target)
        if weights is None:
            weights = {f"norm.{name}": tensor.clone() for name, tensor in self.norm.state_dict().items()}
            weights |= {f"layers.0.{name}": tensor for name, tensor in layer_weights(target, source, mlp).items()}
        self.begin(target, weights)

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        heard = hear(target, [target.layers[self.reads]], states[self.reads])
        return self.norm(run_beside(target, self.layers, target.embed_rows(ids), heard, start))

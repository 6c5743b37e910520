"""The exit layer: a decoder layer (or two) and a norm on top of the target's first N layers, in front of the target's frozen head.

Sharing the frozen head is ours: the paper trains a separate head. Reading only a shortlist of its rows is ours too (shortlist.py).

Greedy decoding needs the most likely token, sampling needs the whole distribution, and one small layer cannot be best at both. So an exit
layer may have a twin with its own weights that drafts in greedy decoding (`at`; ours).

With taps (ours), the layer also reads deep states of the last verified row, which know more than any early state: a linear map of
[exit state; deep states] is added to the exit state. Each deep state is first scaled to length D^.5.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.quantize import dense_state
from ..model.target import Target
from . import files
from .base import Head
from .copies import copied_norm, empty_layer
from .fingerprint import base_facts, digest, fits
from .shortlist import Shortlist
from .twin import without_twin

MOST_LAYERS = 2


class ExitLayer(Head):
    """It has its own KV cache, with its own layers."""

    def __init__(
        self, target: Target, exit_after: int, facts: dict | None = None, weights: dict[str, Tensor] | None = None, layers: int = 1,
        taps: Sequence[int] = (), start: int | None = None,
    ):  # fmt: skip
        """Without `weights` it starts as a dense copy of the target's layers from number `start` on (default: the last ones) and of its
        final norm, ready for training. Raises UserError for a depth, layers or taps that the target does not have."""
        super().__init__(target, exit_after)
        if not 1 <= layers <= min(MOST_LAYERS, target.depth):
            raise UserError(f"an exit has 1 or {MOST_LAYERS} layers, not {layers}")
        if any(not exit_after < tap <= target.depth for tap in taps) or list(taps) != sorted(set(taps)):
            allowed = f"rising, from {exit_after + 1} to {target.depth}"
            raise UserError(f"taps are depths behind the exit, {allowed}, not {' '.join(map(str, taps))}")
        self.facts, self.taps = facts or {}, tuple(taps)
        first = target.depth - layers if start is None else min(start, target.depth - layers)
        sources = [target.layers[first + i] for i in range(layers)]
        self.layers = nn.ModuleList()
        for number, source in enumerate(sources):
            self.layers.append(empty_layer(target, source, number))
        self.norm = copied_norm(target)
        width = target.config.hidden_size
        self.mix = nn.Linear((1 + len(taps)) * width, width, bias=False, dtype=target.dtype, device=target.device) if taps else None
        if weights is None:
            weights = {f"norm.{name}": tensor.clone() for name, tensor in self.norm.state_dict().items()}
            for i, source in enumerate(sources):
                weights |= {f"layers.{i}.{name}": tensor.to(target.dtype) for name, tensor in dense_state(source).items()}
            if self.mix:
                weights["mix.weight"] = torch.zeros_like(self.mix.weight)
        self.load_state_dict(weights, assign=True)
        self.eval()  # also in training: dropout stays off, so training sees the same computation as drafting

    def at(self, temperature: float) -> "ExitLayer":
        """What drafts at this temperature: in greedy decoding the twin, if there is one."""
        return self if temperature or self.greedy is None else self.greedy

    def mixed(self, states: Tensor, deep: Tensor | None) -> Tensor:
        if self.mix is None:
            return states
        width = states.shape[-1]
        if deep is None:
            deep = states.new_zeros(*states.shape[:-1], width * len(self.taps))
        parts = [nn.functional.rms_norm(part, (width,)) for part in deep.to(states.dtype).split(width, -1)]
        return states + self.mix(torch.cat([states, *parts], -1))

    def read_only(self, shortlist: Shortlist | None) -> None:
        """From now on it and its twin read only these rows of the frozen head."""
        super().read_only(shortlist)
        if self.greedy:
            self.greedy.shortlist = shortlist

    def save(self, folder: Path, target: Target, facts: dict) -> None:
        """`facts`: facts about its training, for the JSON file."""
        header = base_facts(target) | {"exit_after": self.exit_after, "layers": len(self.layers), "taps": self.taps}
        ids = None if self.shortlist is None else self.shortlist.ids
        twin = self.greedy.own_state() if self.greedy else {}
        files.write(folder, header | {"training": facts}, self.bits, self.own_state(), twin, ids)

    def own_state(self) -> dict[str, Tensor]:
        """Its own weights, without the twin's."""
        return without_twin(super().own_state())

    @classmethod
    def load(cls, folder: Path, target: Target) -> "ExitLayer":
        """Raises UserError if the files are missing, broken or made for another model."""
        stored = files.read(folder)
        if not fits(stored.facts, target):
            raise UserError(f"the exit layer in {folder} was trained for another model: train one for {target.name} with `distill`")

        def made(weights: dict[str, Tensor]) -> ExitLayer:
            held = {name: tensor.to(target.dtype) for name, tensor in weights.items()}
            layer = cls(target, stored.exit_after, stored.facts, held, stored.layers, stored.taps)
            layer.bits = stored.bits
            return layer

        try:
            layer = made(stored.weights)
            layer.greedy = made(stored.twin) if stored.twin else None
            if stored.shortlist is not None:
                layer.read_only(Shortlist(target, stored.shortlist))
        except (RuntimeError, KeyError, IndexError) as problem:
            raise UserError(f"the exit layer in {folder} does not fit {target.name}: {str(problem).splitlines()[0]}") from None
        # Hashed under the names of format 1, so that fingerprints in older benchmarks still identify the same weights.
        named = {name.replace("layers.0.", "layer."): t for name, t in layer.state_dict().items() if ".product." not in name}
        layer.fingerprint = digest(named)
        return layer.to(target.device)



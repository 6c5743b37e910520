"""The layer-skipping drafter: the target itself without some of its attention and MLP sub-layers (Draft & Verify, arXiv 2309.08168).

Nothing is trained. A skipped sub-layer adds nothing to the residual stream. Drafts attend to the target's own keys and values, and to
theirs, which are written behind them in the target's cache and forgotten before verification: it runs all layers, so drafting and
verifying share no computation.

Which sub-layers are skipped matters more than anything else; skip_search.py looks for them. Unless told, it is every second attention
and MLP, the first and last layer kept, where SWIFT (arXiv 2410.06916) starts.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from .base import Context
from .stepwise import Choice, StepwiseDrafter, choose


@dataclass(frozen=True, slots=True)
class SkipSet:
    """Numbers of the layers whose attention, and whose MLP, is skipped. Written as `a3.m3.m4`."""

    attention: frozenset[int]
    mlp: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "SkipSet":
        """Raises UserError."""
        parts = [part for part in text.split(".") if part]
        if any(part[0] not in "am" or not part[1:].isdecimal() or len(part) > 4 for part in parts):
            raise UserError(f"a skip set is written like a3.m3.m4 (attention of layer 3, MLPs of layers 3 and 4), not {text[:40]!r}")
        return cls(*(frozenset(int(part[1:]) for part in parts if part[0] == kind) for kind in "am"))

    @classmethod
    def every_second(cls, depth: int) -> "SkipSet":
        odd = frozenset(range(1, depth - 1, 2))
        return cls(odd, odd)

    def check(self, depth: int) -> "SkipSet":
        beyond = sorted(layer for layer in self.attention | self.mlp if layer >= depth)
        if beyond:
            raise UserError(f"the skip set names layer {beyond[0]}, but the model has the layers 0 to {depth - 1}")
        return self

    def __str__(self) -> str:
        return ".".join([f"a{layer}" for layer in sorted(self.attention)] + [f"m{layer}" for layer in sorted(self.mlp)])


class Nothing(nn.Module):
    """Stands where a sub-layer was: adds nothing to the residual stream. An attention returns its weights too."""

    def __init__(self, is_attention: bool):
        super().__init__()
        self.is_attention = is_attention

    def forward(self, hidden_states: Tensor, *_, **__) -> Tensor | tuple[Tensor, None]:
        nothing = torch.zeros_like(hidden_states)
        return (nothing, None) if self.is_attention else nothing


def remaining(target: Target, skips: SkipSet) -> list[nn.Module]:
    """The target's layers without what is skipped. Weights are shared, the target's own modules are left as they are."""
    layers = []
    for number, layer in enumerate(target.layers):
        gone = {target.family.attention: number in skips.attention, "mlp": number in skips.mlp}
        if all(gone.values()):
            continue
        if any(gone.values()):
            if "forward" in vars(layer):  # accelerate's, bound to the whole layer
                raise UserError("layers cannot be skipped in a model that is spread over several devices: use one, or another drafter")
            layer = copy.copy(layer)
            layer._modules = dict(layer._modules)
            for name in (name for name, skipped in gone.items() if skipped):
                layer._modules[name] = Nothing(name != "mlp")
                if norm := _norm_of(layer, name):
                    layer._modules[norm] = nn.Identity()
        layers.append(layer)
    return layers


def _norm_of(layer: nn.Module, sublayer: str) -> str | None:
    """The norm that serves nothing but this sub-layer, so that it can go too."""
    norms = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}  # of Llama and its like
    plain = set(norms.values()) <= layer._modules.keys() and "post_feedforward_layernorm" not in layer._modules
    return norms.get(sublayer) if plain else None


class LayerSkipDrafter(StepwiseDrafter):
    shares_layers, draft_share = 0, 0.5

    def __init__(self, target: Target, skips: SkipSet | None = None):
        skips = skips or SkipSet.every_second(target.depth)
        self.target, self.name = target, f"layer-skip:{skips}"
        self.layers = remaining(target, skips.check(target.depth))

    def begin(self, context: Context, states: Tensor) -> None:
        """Drafting needs the target's cache and nothing else."""

    def next(self, context: Context, ids: list[int]) -> Choice:
        position = context.start + len(ids)
        hidden = self.target.embed([ids[-1] if ids else context.ids[-1]], position)
        logits = self.target.logits(self.target.run(self.layers, hidden, context.cache, position))  # (1, V)
        return choose(context, logits, position + 1)

    def finish(self, context: Context, ids: list[int]) -> None:
        context.cache.truncate(context.start)

    def commit(self, length: int) -> None:
        """The target's cache is the engine's to roll back."""

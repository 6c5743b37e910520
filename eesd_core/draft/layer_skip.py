"""The layer-skipping drafter: the target itself without some of its attention and MLP sub-layers (Draft & Verify, arXiv 2309.08168).

Nothing is trained. A skipped sub-layer adds nothing to the residual stream. Drafts attend to the target's cached keys and values and to
their own, which are appended to the same cache and removed before verification. Verification runs all layers, so drafting and verifying
share no computation.

The choice of sub-layers matters more than anything else; simulate/skip_search.py searches for it. The default is every second attention
and MLP except those of the first and last layer, which is also where SWIFT (arXiv 2410.06916) starts.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from .base import Drafter, Node, Parts, Text, last_id
from .choose import choose
from .skip_set import SkipSet


class Nothing(nn.Module):
    """Replaces a skipped sub-layer and adds nothing to the residual stream. An attention must return (output, weights)."""

    def __init__(self, is_attention: bool):
        super().__init__()
        self.is_attention = is_attention

    def forward(self, hidden_states: Tensor, *_, **__) -> Tensor | tuple[Tensor, None]:
        nothing = torch.zeros_like(hidden_states)
        return (nothing, None) if self.is_attention else nothing


def remaining(target: Target, skips: SkipSet) -> list[nn.Module]:
    """The target's layers without the skipped sub-layers. Weights are shared, and the target's own modules are not changed. Raises
    UserError for a model that is spread over several devices."""
    layers = []
    for number, layer in enumerate(target.layers):
        gone = {target.family.attention: number in skips.attention, "mlp": number in skips.mlp}
        if all(gone.values()):
            continue
        if any(gone.values()):
            if "forward" in vars(layer):  # accelerate's hook, which is bound to the whole layer
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
    """The norm that serves only this sub-layer and can be skipped with it; None if there is none."""
    norms = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}  # names in Llama-like models
    plain = set(norms.values()) <= layer._modules.keys() and "post_feedforward_layernorm" not in layer._modules
    return norms.get(sublayer) if plain else None


class SkippingDrafter(Drafter):
    """Base class of drafters that run only a part of the target, `layers`."""

    cost_guess = 0.5
    layers: list[nn.Module]

    def __init__(self, parts: Parts):
        self.target = parts.target

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        position = text.start + len(nodes)
        hidden = self.target.embed([last_id(text, nodes)], position)
        logits = self.target.logits(self.target.run(self.layers, hidden, text.cache, position))  # (1, V)
        return [choose(text, nodes, logits)]

    def finish(self, text: Text, nodes: Sequence[Node]) -> None:
        text.cache.truncate(text.start)


class LayerSkipDrafter(SkippingDrafter):
    def __init__(self, parts: Parts, skips: str = ""):
        """`skips`: a SkipSet as text; "": every second sub-layer. Raises UserError for a model without these layers."""
        super().__init__(parts)
        chosen = SkipSet.parse(skips) if skips else SkipSet.every_second(self.target.depth)
        self.name, self.layers = f"layer-skip:{chosen}", remaining(self.target, chosen.check(self.target.depth))

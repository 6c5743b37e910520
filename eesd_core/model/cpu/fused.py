"""Llama-type decoder layers with fewer and larger operations, for the CPU: one product for queries, keys and values, one for gate and up,
rotary positions in three operations. A step of a small model is mostly Python and dispatch, not arithmetic.

They compute the same sums as transformers' modules, up to rounding; the self-check tests these layers. A fused layer keeps the names of its
two sub-layers and their norms and takes the same arguments, with any cache, so it works wherever transformers' layer does.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..attention import grouped_attention
from ..cache import KVCache, SharedCache
from ..target import Target

FAMILIES = ("llama", "mistral", "qwen2")  # all have the same layer, apart from biases and windows


class FusedAttention(nn.Module):
    def __init__(self, attention: nn.Module):
        super().__init__()
        self.config, self.layer_idx, self.scaling = attention.config, attention.layer_idx, attention.scaling
        self.width, self.num_key_value_groups, self.is_causal = attention.head_dim, attention.num_key_value_groups, True
        self.heads, self.groups = (p.out_features // self.width for p in (attention.q_proj, attention.k_proj))
        self.qkv_proj = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = attention.o_proj

    def flat(self, norm: nn.Module) -> Callable[..., Tensor]:
        """hidden (B, m, D) -> (B, m, D), residual included."""
        normed, into, out = _flat_norm(norm), self.qkv_proj.forward, self.o_proj.forward
        index, width, heads, groups, scaling = self.layer_idx, self.width, self.heads, self.groups, self.scaling

        def attend(hidden: Tensor, told: dict) -> Tensor:
            """The rotary tables are cos and sin, (1 or B, m, d), optionally followed by those that `_turning` makes of them."""
            batch, rows, _ = hidden.shape
            tables, cache = told["position_embeddings"], told.get("past_key_values")
            turned, values = into(normed(hidden)).view(batch, rows, -1, width).split((heads + groups, groups), 2)  # (B, m, H + G | G, d)
            cos, sin = tables[2:] or _turning(*tables)
            turned = torch.addcmul(turned * cos, turned.roll(width // 2, -1), sin)
            queries, keys = turned.transpose(1, 2).split((heads, groups), 1)  # (B, H | G, m, d)
            values = values.transpose(1, 2)
            if cache is not None:
                keys, values = cache.update(keys, values, index)
            ours = isinstance(cache, (KVCache, SharedCache))
            how = grouped_attention if ours else ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
            mixed, _ = how(self, queries, keys, values, told["attention_mask"], scaling=scaling, dropout=0.0)
            return hidden + out(mixed.reshape(batch, rows, -1))

        return attend


class FusedMLP(nn.Module):
    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.gate_up_proj, self.down_proj, self.act_fn = _joined(mlp.gate_proj, mlp.up_proj), mlp.down_proj, mlp.act_fn

    def flat(self, norm: nn.Module) -> Callable[..., Tensor]:
        """hidden (B, m, D) -> (B, m, D), residual included."""
        normed, into, act, out = _flat_norm(norm), self.gate_up_proj.forward, self.act_fn.forward, self.down_proj.forward

        def feed(hidden: Tensor, _: dict) -> Tensor:
            gate, up = into(normed(hidden)).chunk(2, -1)
            return hidden + out(act(gate) * up)

        return feed


class FusedLayer(nn.Module):
    """Runs its two sub-layers as functions that hold all they need: looking up and calling modules took an eighth of a step."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.kind = layer.kind
        self.self_attn, self.mlp = FusedAttention(layer.self_attn), FusedMLP(layer.mlp)
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm
        self.halves: list[Callable[..., Tensor]] = []
        self.parts: list | None = None  # the sub-layers as step.py runs them

    def forward(self, hidden: Tensor, **told) -> Tensor:
        for half in self.halves or self._flatten():
            hidden = half(hidden, told)
        return hidden

    def _flatten(self) -> list[Callable[..., Tensor]]:
        """Called at the first pass, when linear layers have been packed. Leaves out a sub-layer that drafting skips
        (draft/layer_skip.py)."""
        parts = ((self.self_attn, self.input_layernorm), (self.mlp, self.post_attention_layernorm))
        self.halves = [part.flat(norm) for part, norm in parts if isinstance(part, (FusedAttention, FusedMLP))]
        return self.halves

    def __getstate__(self) -> dict:
        """A copy drops these functions, because it may be given other sub-layers."""
        return self.__dict__ | {"halves": [], "parts": None}


def _flat_norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """RMS norm in half as many torch operations: x / hypot(|x|, (D eps)^.5), rounded to the layer's dtype as in transformers, times the
    product of the weight and D^.5 (exact where D^.5 is a power of two)."""
    root = norm.weight.numel() ** 0.5
    weight, least = norm.weight.detach() * root, torch.tensor(root * norm.variance_epsilon**0.5)
    length, hypot, wide = torch.linalg.vector_norm, torch.hypot, torch.float32

    def normed(x: Tensor) -> Tensor:
        return x.clone().div_(hypot(length(x, dim=-1, keepdim=True, dtype=wide), least)).mul_(weight)

    return normed


def can_fuse(target: Target) -> bool:
    """Whether the target is on one CPU, not quantised, and of a family whose layers have this form."""
    layer = target.layers[0]
    dense = type(getattr(getattr(layer, "self_attn", None), "q_proj", None)) is nn.Linear
    return target.config.model_type in FAMILIES and target.device.type == "cpu" and target.shards == 1 and dense


@torch.no_grad()
def fuse_layers(target: Target, *heads: nn.Module | None) -> None:
    """Fuse, in place and where possible, the target's layers and those of its heads that have the same form. The model can then no longer
    be saved or trained."""
    if not can_fuse(target):
        return
    plain = type(target.layers[0])
    for number, layer in enumerate(target.layers):
        target.layers[number] = FusedLayer(layer)
    target.extend_ropes(_turning)
    for head in with_twins(heads):
        for number, layer in enumerate(head.layers):
            if type(layer) is plain:
                head.layers[number] = FusedLayer(layer)


def with_twins(heads: Iterable[nn.Module | None]) -> set[nn.Module]:
    there = [head for head in heads if head is not None]
    return {*there, *(head.at(0.0) for head in there)}


def _turning(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """(B, m, d) -> (B, m, 1, d) each. The first half of sin is negated, so that a plain roll replaces transformers' rotate_half."""
    half = sin.shape[-1] // 2
    return cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], -1)[:, :, None]


def _joined(*linears: nn.Linear) -> nn.Linear:
    """One linear layer whose outputs are those of all given layers, concatenated."""
    first = linears[0]
    joined = nn.Linear(first.in_features, sum(linear.out_features for linear in linears), first.bias is not None, device="meta")
    state = {"weight": torch.cat([linear.weight for linear in linears])}
    if first.bias is not None:
        state["bias"] = torch.cat([linear.bias for linear in linears])
    joined.load_state_dict(state, assign=True)
    return joined

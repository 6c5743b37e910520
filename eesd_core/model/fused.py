"""Decoder layers of Llama's kind with fewer and larger operations, for the CPU: one product for queries, keys and values, one for gate and
up, rotary positions in three operations. A step of a small model is mostly Python and dispatch, not arithmetic.

The same sums as transformers' modules compute, up to rounding; the self-check judges these layers, not those. A fused layer keeps the
names of its two sub-layers and their norms and takes the same arguments, with any cache, so whatever works with layers works with it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .attention import NAME, grouped_attention
from .split import Target

FAMILIES = ("llama", "mistral", "qwen2")  # the same layer; they differ in biases and windows


class FusedNorm(nn.Module):
    """RMS norm in two calls: transformers rounds to the layer's dtype before it multiplies by the weight, which one call would not."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon
        self.shape = self.weight.shape

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * F.rms_norm(x, self.shape, None, self.eps)


class FusedAttention(nn.Module):
    def __init__(self, attention: nn.Module):
        super().__init__()
        self.config, self.layer_idx, self.scaling = attention.config, attention.layer_idx, attention.scaling
        self.width, self.num_key_value_groups, self.is_causal = attention.head_dim, attention.num_key_value_groups, True
        self.heads, self.groups = (p.out_features // self.width for p in (attention.q_proj, attention.k_proj))
        self.qkv_proj = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = attention.o_proj

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attention_mask: Tensor | None, past_key_values=None, **_
    ) -> tuple[Tensor, None]:
        """hidden (B, m, D) -> (B, m, D). Tables cos, sin (1 or B, m, d), and perhaps, behind them, those that `_turning` makes of them."""
        batch, rows, _ = hidden_states.shape
        heads = self.qkv_proj(hidden_states).view(batch, rows, -1, self.width)  # (B, m, H + 2 G, d)
        turned, values = heads[:, :, : -self.groups], heads[:, :, -self.groups :].transpose(1, 2)
        cos, sin = position_embeddings[2:] or _turning(*position_embeddings)
        turned = torch.addcmul(turned * cos, turned.roll(self.width // 2, -1), sin).transpose(1, 2)  # (B, H + G, m, d)
        queries, keys = turned[:, : self.heads], turned[:, self.heads :]
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        how = self.config._attn_implementation
        attend = grouped_attention if how == NAME else ALL_ATTENTION_FUNCTIONS[how]
        mixed, _ = attend(self, queries, keys, values, attention_mask, scaling=self.scaling, dropout=0.0)
        return self.o_proj(mixed.reshape(batch, rows, -1)), None


class FusedMLP(nn.Module):
    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.gate_up_proj, self.down_proj, self.act_fn = _joined(mlp.gate_proj, mlp.up_proj), mlp.down_proj, mlp.act_fn

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(self.act_fn(gate) * up)


class FusedLayer(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.kind = layer.kind
        self.self_attn, self.mlp = FusedAttention(layer.self_attn), FusedMLP(layer.mlp)
        self.input_layernorm, self.post_attention_layernorm = map(FusedNorm, (layer.input_layernorm, layer.post_attention_layernorm))

    def forward(self, hidden: Tensor, **told) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), **told)[0]
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


def can_fuse(target: Target) -> bool:
    """On one CPU, dense, and of a family whose layers are known to be of this kind."""
    layer = target.layers[0]
    dense = type(getattr(getattr(layer, "self_attn", None), "q_proj", None)) is nn.Linear
    return target.config.model_type in FAMILIES and target.device.type == "cpu" and target.shards == 1 and dense


@torch.no_grad()
def fuse_layers(target: Target, exit_layer: nn.Module | None) -> None:
    """In place, where that is possible. The model can then no longer be saved or trained."""
    if not can_fuse(target):
        return
    for number, layer in enumerate(target.layers):
        target.layers[number] = FusedLayer(layer)
    target.extend_ropes(_turning)
    if hasattr(exit_layer, "layer"):
        exit_layer.layer = FusedLayer(exit_layer.layer)


def _turning(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """(B, m, d) -> (B, m, 1, d) each; sin with the sign that transformers' rotate_half gives to the half that moves up."""
    half = sin.shape[-1] // 2
    return cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], -1)[:, :, None]


def _joined(*linears: nn.Linear) -> nn.Linear:
    """One linear layer whose outputs are those of all, one after the other."""
    first = linears[0]
    joined = nn.Linear(first.in_features, sum(linear.out_features for linear in linears), first.bias is not None, device="meta")
    state = {"weight": torch.cat([linear.weight for linear in linears])}
    if first.bias is not None:
        state["bias"] = torch.cat([linear.bias for linear in linears])
    joined.load_state_dict(state, assign=True)
    return joined

"""Families of decoders: all that differs between them, in one place.

A decoder is embed, layers, norm, head. Families differ in what these modules are called, in how positions enter (rotary tables, learned
embeddings), in what a layer may see (everything, or a sliding window) and in whether logits are capped. transformers' own modules do
the work, so grouped queries, biases, norms on queries and keys, layers without positions (SmolLM3) and scaled embeddings (Gemma) need
no word here.
"""

from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedConfig

from ..errors import UserError

MOST_CONTEXT = 8192  # positions: tables, masks and the self-check cover every position that a run may reach


@dataclass(frozen=True, slots=True)
class Family:
    """What a family calls its parts."""

    body: str = "model"
    embed: str = "embed_tokens"
    layers: str = "layers"
    norm: str = "norm"
    attention: str = "self_attn"
    cache: str = "past_key_values"  # the layer's argument for the cache
    learned: str | None = None  # embedding of positions, added in front of the first layer; None: rotary


LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2")
FAMILIES = {name: Family() for name in LLAMA_LIKE}
FAMILIES["gpt_neox"] = Family("gpt_neox", "embed_in", norm="final_layer_norm", attention="attention", cache="layer_past")
FAMILIES["gpt2"] = Family("transformer", "wte", "h", "ln_f", "attn", learned="wpe")


class Kind(NamedTuple):
    """What a layer is told beside hidden states: layers of one kind share tables. An exit layer is of its origin's kind."""

    rope: str | None  # name of the rotary table, where layers have different ones
    window: int | None  # positions that a token sees, itself included; None: all before it


def family_of(config: PreTrainedConfig, name: str) -> Family:
    """Raises UserError for an architecture that the split does not know, naming it."""
    if config.model_type not in FAMILIES:
        raise UserError(f"{name} is a {config.model_type!r} model, which cannot be split here: supported are {', '.join(FAMILIES)}")
    if getattr(config, "use_bidirectional_attention", False) or getattr(config, "add_cross_attention", False):
        raise UserError(f"{name} is a {config.model_type!r} model that is no plain decoder (it looks ahead, or at another text)")
    return FAMILIES[config.model_type]


def kind_of(config: PreTrainedConfig, layer: int) -> Kind:
    types = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if types and types[layer] != "sliding_attention":
        window = None
    ropes = getattr(config, "rope_parameters", None) or {}
    return Kind(types[layer] if types and types[layer] in ropes else None, window)


def context_of(config: PreTrainedConfig) -> int:
    """Positions that a run may use. `longrope` has other frequencies behind the original context, which keys already cached lack."""
    rope = getattr(config, "rope_parameters", None) or {}
    most = min(config.max_position_embeddings, MOST_CONTEXT)
    if rope.get("rope_type") == "longrope":
        most = min(most, rope.get("original_max_position_embeddings") or config.original_max_position_embeddings)
    return most


def cache_shape(config: PreTrainedConfig) -> tuple[int, int]:
    """Key-value heads and their width."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return heads, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

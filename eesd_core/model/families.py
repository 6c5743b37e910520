"""Families of decoders: all that differs between them, in one place.

A decoder is embed, layers, norm, head. Families differ in what these modules are called, in how positions enter (rotary tables, learned
embeddings) and in whether logits are capped. transformers' own modules do the work, so grouped queries, biases, norms on queries and
keys, layers without positions (SmolLM3) and scaled embeddings (Gemma) need no word here. What a layer may see, and by which rotary table
it turns, is asked of the built model (layer_facts.py): a config.json may hold keys that its architecture does not read.
"""

from dataclasses import dataclass

from transformers import PreTrainedConfig

from ..errors import UserError


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
    caps: bool = False  # logits, by final_logit_softcapping


LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2")
PLAIN = ("llama", "mistral", "qwen2")  # families whose layer is two sub-layers behind a norm each, and nothing more
FAMILIES = {name: Family(caps=name.startswith("gemma")) for name in LLAMA_LIKE}
FAMILIES["gpt_neox"] = Family("gpt_neox", "embed_in", norm="final_layer_norm", attention="attention", cache="layer_past")
FAMILIES["gpt2"] = Family("transformer", "wte", "h", "ln_f", "attn", learned="wpe")


def family_of(config: PreTrainedConfig, name: str) -> Family:
    """Raises UserError for an architecture that the split does not know, naming it."""
    check_type(config.model_type, name)
    if any(getattr(config, key, False) for key in ("use_bidirectional_attention", "add_cross_attention", "is_encoder_decoder")):
        raise UserError(f"{name} is a {config.model_type!r} model that is no plain decoder (it looks ahead, or at another text)")
    return FAMILIES[config.model_type]


def check_type(model_type: object, name: str) -> None:
    """Raises UserError."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UserError(f"{name} is a {str(model_type)[:60]!r} model, which cannot be split here: supported are {', '.join(FAMILIES)}")

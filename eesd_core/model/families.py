"""Decoder families: everything that differs between them, in one place.

A decoder is embedding, layers, norm, head. Families differ in the names of these modules, in how positions enter (rotary tables or learned
embeddings) and in whether logits are capped. transformers' own modules compute, so grouped queries, biases, query and key norms, layers
without positions (SmolLM3) and scaled embeddings (Gemma) need nothing here. Which positions a layer sees, and which rotary table it uses,
is read from the built model (layer_facts.py), because a config.json may hold keys that its architecture ignores.
"""

from dataclasses import dataclass

from transformers import PreTrainedConfig

from ..errors import UserError


@dataclass(frozen=True, slots=True)
class Family:
    """The names that a family gives its modules, and how it computes positions and logits."""

    body: str = "model"
    embed: str = "embed_tokens"
    layers: str = "layers"
    norm: str = "norm"
    attention: str = "self_attn"
    cache: str = "past_key_values"  # the layer's argument for the cache
    learned: str | None = None  # position embedding, added before the first layer; None: rotary
    caps: bool = False  # whether final_logit_softcapping caps the logits


LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2")
PLAIN = ("llama", "mistral", "qwen2")  # families whose layer is attention and MLP, each after one norm, and nothing else
FAMILIES = {name: Family(caps=name.startswith("gemma")) for name in LLAMA_LIKE}
FAMILIES["gpt_neox"] = Family("gpt_neox", "embed_in", norm="final_layer_norm", attention="attention", cache="layer_past")
FAMILIES["gpt2"] = Family("transformer", "wte", "h", "ln_f", "attn", learned="wpe")


def family_of(config: PreTrainedConfig, name: str) -> Family:
    """Raises UserError, naming the model, for an architecture that cannot be split here."""
    check_type(config.model_type, name)
    if any(getattr(config, key, False) for key in ("use_bidirectional_attention", "add_cross_attention", "is_encoder_decoder")):
        raise UserError(f"{name} is a {config.model_type!r} model that is no plain decoder (it looks ahead, or at another text)")
    return FAMILIES[config.model_type]


def check_type(model_type: object, name: str) -> None:
    """Raises UserError for a model type that cannot be split here."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UserError(f"{name} is a {str(model_type)[:60]!r} model, which cannot be split here: supported are {', '.join(FAMILIES)}")

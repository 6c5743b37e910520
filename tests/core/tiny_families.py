"""A tiny random model of every family, with what is peculiar to it switched on: windows, caps, tied heads, layers without positions."""

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SHAPE = {"vocab_size": 257, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
SHAPE |= {"max_position_embeddings": 192, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LOCAL = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
ROPES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4 + [2.0] * 4, "long_factor": [4.0] * 8, "rope_theta": 1e4}
VARIANTS: dict[str, tuple[str, dict]] = {
    "llama": ("llama", {"attention_bias": True}),
    "llama3 rope": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }}),
    "mistral": ("mistral", {"sliding_window": 24, "head_dim": 24}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 2, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "gemma2": ("gemma2", {
        "head_dim": 16, "sliding_window": 24, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "query_pre_attn_scalar": 24,
    }),
    "gemma3": ("gemma3_text", {"head_dim": 16, "sliding_window": 24, "layer_types": LOCAL, "rope_parameters": ROPES}),
    "phi3": ("phi3", {"sliding_window": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
    "phi3 long": ("phi3", {"original_max_position_embeddings": 128, "rope_parameters": LONG}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0, 1, 0], "use_sliding_window": True, "sliding_window": 24}),
    "olmo2": ("olmo2", {}),
    "gpt_neox": ("gpt_neox", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}}),
    "gpt_neox serial": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt2": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
}  # fmt: skip
SHARPER = {"gemma2": 3.0, "gemma3_text": 3.0}  # weights of random models are scaled: flat logits would tell nothing


def tiny(variant: str, seed: int = 4) -> PreTrainedModel:
    """In float32 and with transformers' own eager attention; drafts by a copy of the last layer after two are sometimes right."""
    family, more = VARIANTS[variant]
    torch.manual_seed(seed)
    grouped = {} if family.startswith("gpt") else {"num_key_value_heads": 2}
    config = CONFIG_MAPPING[family](**(SHAPE | grouped | {"tie_word_embeddings": False} | more))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "wpe" not in name:
                parameter.mul_(SHARPER.get(family, 6.0))
            if name.endswith(("o_proj.weight", "down_proj.weight", "c_proj.weight", "dense.weight", "dense_4h_to_h.weight")):
                parameter.mul_(0.2 if any(f".{i}." in name for i in (2, 3)) else 1.0)
    model.generation_config = GenerationConfig(eos_token_id=None, pad_token_id=0)
    return model

"""A tiny Llama as a GGUF file, as llama.cpp's converter writes it: rows of queries and keys in pairs."""

from pathlib import Path

import gguf
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def tiny_llama(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=258, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=tied, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def in_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """As convert_hf_to_gguf.py permutes them."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, kind: str = "F32", tied: bool = True, family: str = "llama", pre: str = "smollm", **facts) -> LlamaForCausalLM:
    """Writes the file, and returns the model that it holds, before its weights were rounded to blocks of this kind. `facts`: further
    numbers of the metadata."""
    model, kind = tiny_llama(tied), gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_name("tiny")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(["<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"])
    writer.add_token_types([3, *[1] * 257])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    for name, value in facts.items():
        writer.add_uint32(name.replace("__", "."), value)
    for name, weight in model.state_dict().items():
        part = name.removesuffix(".weight")
        if part == "lm_head" and tied:
            continue
        if part.endswith(("q_proj", "k_proj")):
            weight = in_pairs(weight, 4 if part.endswith("q_proj") else 2)
        own = f"blk.{part.split('.')[2]}.{NAMES[part.split('.', 3)[3]]}" if part.startswith("model.layers") else NAMES[part]
        of_rows = kind if weight.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(f"{own}.weight", gguf.quantize(weight.numpy(), of_rows), raw_dtype=of_rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model

"""A Llama checkpoint as a GGUF file, by the gguf package's writer: what llama.cpp's own converter does, for the one family that is read
here too (eesd_core/model/gguf.py), and with the tokenizer that the checkpoint has."""

import json
from pathlib import Path

import gguf
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig

from eesd_core.errors import UserError
from eesd_core.model.checkpoint import NO_CODE, WEIGHTS, read_config
from eesd_core.model.gguf import INNER, OUTER
from eesd_core.model.gguf_tokenizer import PRE_TOKENIZERS
from eesd_core.text.codec import Codec

TYPES = {kind.name: kind for kind in (gguf.GGMLQuantizationType(n) for n in (0, 1, 8, 30))}  # F32, F16, Q8_0, BF16


def write_gguf(folder: Path, path: Path, kind: str) -> Path:
    """`kind`: of matrices' weights; norms are float32. Returns `path`. Raises UserError for what is no plain Llama."""
    config = read_config(str(folder), None)
    if not isinstance(config, LlamaConfig) or config.rope_parameters["rope_type"] != "default" or config.attention_bias or config.mlp_bias:
        raise UserError(f"{folder} is no plain Llama model: use llama.cpp's own converter")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer, folder, config.vocab_size)
    for name, tensor in load_file(folder / WEIGHTS).items():
        add_tensor(writer, gguf_name(name), ordered(name, tensor, config), TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`."""
    parts = name.removesuffix(".weight")
    if not parts.startswith("model.layers."):
        return {theirs: ours for ours, theirs in OUTER.items()}[parts] + ".weight"
    _, _, layer, part = parts.split(".", 3)
    return f"blk.{layer}.{ {theirs: ours for ours, theirs in INNER.items()}[part] }.weight"


def ordered(name: str, tensor: Tensor, config: LlamaConfig) -> Tensor:
    """Rotary positions turn pairs of rows: in transformers the two halves of a head, in the file neighbours. (rows, n) -> (rows, n)."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: gguf.GGMLQuantizationType) -> None:
    numbers = tensor.float().contiguous().numpy()
    if tensor.ndim == 1 or kind.name == "F32":
        writer.add_tensor(name, numbers)
    else:
        writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, rows: int) -> None:
    """Byte-level BPE. llama.cpp knows pre-tokenizers by name; where it does not know this one, it is called GPT-2's: prompts are given as
    ids, which no pre-tokenizer touches."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **NO_CODE)
    facts = tokenizer.backend_tokenizer
    own = facts.pre_tokenizer.__getstate__()
    pre = next((name for name, known in PRE_TOKENIZERS.items() if known.__getstate__() == own), "gpt-2")
    special = Codec.load(str(folder)).special_ids
    ids = {id: token for token, id in facts.get_vocab(with_added_tokens=True).items()}
    tokens = [ids.get(id, f"[PAD{id}]") for id in range(rows)]
    kind = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([kind.UNUSED if id not in ids else kind.CONTROL if id in special else kind.NORMAL for id in range(rows)])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(facts.to_str())["model"]["merges"]])
    for name in ("bos", "eos", "pad"):
        if (id := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(id)
    writer.add_add_bos_token(False)

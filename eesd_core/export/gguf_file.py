"""A Llama checkpoint as a GGUF file, by the gguf package's writer: what llama.cpp's own converter does, for the one family that is read
here too (model/gguf.py), with the checkpoint's tokenizer."""

import json
from collections.abc import Collection
from pathlib import Path

import gguf
from safetensors.torch import load_file
from tokenizers.decoders import ByteLevel
from tokenizers.models import BPE
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerBase

from ..errors import UserError
from ..model.checkpoint import NO_CODE, WEIGHTS, read_config
from ..model.gguf import INNER, OUTER
from ..model.gguf_tokenizer import PRE_TOKENIZERS
from ..text.codec import Codec

Kind = gguf.GGMLQuantizationType
TYPES = {kind.name: kind for kind in (Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_1)}


def check_gguf(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raises UserError for what is no plain Llama with a byte-level BPE tokenizer."""
    if not isinstance(config, LlamaConfig) or config.rope_parameters["rope_type"] != "default" or config.attention_bias or config.mlp_bias:
        raise UserError(f"{name} is no plain Llama model: use llama.cpp's own converter")
    facts = getattr(tokenizer, "backend_tokenizer", None)
    if facts is None or not isinstance(facts.model, BPE) or not isinstance(facts.decoder, ByteLevel):
        raise UserError(f"the tokenizer of {name} is no byte-level BPE: use llama.cpp's own converter")


def write_gguf(folder: Path, path: Path, kind: str) -> Path:
    """`kind`: type of the matrices' weights, one of TYPES; norms are float32. Returns `path`. Raises UserError as `check_gguf`."""
    config, tokenizer = read_config(str(folder), None), AutoTokenizer.from_pretrained(folder, **NO_CODE)
    check_gguf(config, tokenizer, str(folder))
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
    add_tokenizer(writer, tokenizer, Codec.load(str(folder)).special_ids, config.vocab_size)
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
    """Rotary positions turn pairs of rows: the two halves of a head in transformers, neighbours in the file. (rows, n) -> (rows, n)."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: Kind) -> None:
    """As llama.cpp does it: with 4-bit weights, embedding and head get 8 bits; rows that are not whole blocks become float16."""
    numbers = tensor.float().contiguous().numpy()
    if kind == Kind.Q4_1 and name in ("token_embd.weight", "output.weight"):
        kind = Kind.Q8_0
    if numbers.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = Kind.F16
    if tensor.ndim == 1 or kind == Kind.F32:
        writer.add_tensor(name, numbers)
    else:
        writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, special: Collection[int], rows: int) -> None:
    """Byte-level BPE. llama.cpp knows pre-tokenizers by name. One without a name is called GPT-2's, which does not matter as long as
    prompts are given as ids: no pre-tokenizer touches these."""
    facts = tokenizer.backend_tokenizer
    own = facts.pre_tokenizer.__getstate__()
    pre = next((name for name, known in PRE_TOKENIZERS.items() if known.__getstate__() == own), "gpt-2")
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

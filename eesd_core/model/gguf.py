"""GGUF files of Llama models as transformers checkpoints, converted once.

The result stays in the cache under the file's checksum: weights in bf16, tokenizer, chat template, and the file's own quantised blocks
under the model's weight names, for products that read them. transformers can read GGUF too, but takes 14 s of processor time at every
start, and treats an unknown pre-tokenizer as GPT-2's.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, dequantize
from gguf import GGUFValueType as Value
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig

from ..errors import UserError
from .files import cache_folder, make, sha256
from .gguf_tokenizer import build_tokenizer, end_ids

VERSION = 1  # of the conversion's output: a new number converts all files anew
BLOCKS = "blocks.safetensors"
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
UNSUPPORTED = {"expert_count": "experts", "rope.scaling.type": "scaled rotary positions"}  # what is more than a plain Llama


def converted(file: Path) -> tuple[Path, str]:
    """The folder of the checkpoint, made if missing, and the file's checksum. Raises UserError for a file that is no model, broken, or not
    supported."""
    _check_magic(file)
    checksum = sha256(file)
    folder = cache_folder() / "gguf" / f"{checksum[:16]}-{VERSION}"
    make(folder, lambda part: _convert(file, part))
    return folder, checksum


def blocks(folder: Path) -> Iterator[tuple[str, str, Tensor]]:
    """The quantised tensors of a converted file, unchanged: the weight's name in the model, the type of its blocks ("Q4_1"), and the
    blocks, uint8 (rows, bytes of a row). A row is a sequence of blocks of 32 weights (K-quants: 256). Rows are in the model's order, which
    for queries and keys is not the file's. A Q4_0 block is a float16 scale d and 16 bytes: their lower halves are weights 0 to 15, their
    upper halves 16 to 31, each d (q - 8). A Q4_1 block is d, a float16 offset m and 16 such bytes: d q + m."""
    with safe_open(folder / BLOCKS, "pt") as stored:
        kinds = json.loads(stored.metadata()["kinds"])
        for name in stored.keys():  # noqa: SIM118 (it is no dictionary)
            yield name, kinds[name], stored.get_tensor(name)


def dense(data: np.ndarray, kind: Kind) -> Tensor:
    """Dequantise blocks (rows, bytes of a row) to float32 (rows, n). Our own code for the usual types: gguf takes five times as long."""
    if kind not in (Kind.Q4_0, Kind.Q4_1, Kind.Q8_0):
        return torch.from_numpy(np.array(dequantize(data, kind), dtype=np.float32))
    size = {Kind.Q4_0: 18, Kind.Q4_1: 20, Kind.Q8_0: 34}[kind]
    block = torch.from_numpy(np.array(data)).reshape(-1, size)  # (blocks, size)
    scale, rest = block[:, :2].view(torch.float16).float(), block[:, 2:]
    if kind == Kind.Q8_0:
        numbers = scale * rest.view(torch.int8)
    else:
        packed = rest[:, -16:]
        numbers = scale * (torch.cat((packed & 15, packed >> 4), 1).float() - (8 if kind == Kind.Q4_0 else 0))
        if kind == Kind.Q4_1:
            numbers += rest[:, :2].view(torch.float16)
    return numbers.reshape(len(data), -1)


class _Reader(GGUFReader):
    """gguf's reader with two changes: reading beyond the end of the file is an error (gguf goes on with less), and vocabularies are read in
    a fraction of a second instead of four seconds."""

    def _get(self, offset, dtype, count=1, override_order=None):
        found = super()._get(offset, dtype, count, override_order)
        if len(found) < count:
            raise ValueError("it ends too early")
        return found

    def _get_field_parts(self, orig_offs, raw_type):
        strings = raw_type == Value.ARRAY and self._get(orig_offs, np.uint32)[0] == Value.STRING
        if not strings or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        whole, offset, parts = memoryview(self.data), orig_offs + 12, []
        for _ in range(int(self._get(orig_offs + 4, np.uint64)[0])):
            begin = offset + 8
            offset = begin + int.from_bytes(whole[offset:begin], sys.byteorder)
            if offset > len(whole):
                raise ValueError("it ends too early")
            parts.append(whole[begin:offset])
        return offset - orig_offs, parts, list(range(len(parts))), [Value.ARRAY, Value.STRING]


def _check_magic(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as problem:
        raise UserError(f"{file} cannot be read: {problem.strerror}") from None
    if magic != b"GGUF":
        raise UserError(f"{file} is no GGUF file: give --model a GGUF file, a folder with a transformers checkpoint, or a Hub id")


def _convert(file: Path, part: Path) -> Path:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # numpy's, about absurd sizes
            reader = _Reader(file)
            facts = {name: field.contents() for name, field in reader.fields.items()}
            config = _config_of(facts, reader, file.name)
            tokenizer = build_tokenizer(facts, file.name)
            weights, kept, kinds = _weights(reader, config)
    except (UserError, OSError):
        raise
    except Exception as problem:  # gguf and numpy raise all kinds of exceptions over a broken file
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"{file} is broken or cut off ({reason}): restore it, or download it again") from None
    config.save_pretrained(part)
    GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=end_ids(facts)).save_pretrained(part)
    tokenizer.save_pretrained(part)
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    save_file(kept, part / BLOCKS, metadata={"kinds": json.dumps(kinds)})
    return part


def _config_of(facts: dict[str, Any], reader: GGUFReader, name: str) -> LlamaConfig:
    """Raises UserError, naming the file, for anything but a plain Llama."""
    family = facts["general.architecture"]
    if family != "llama":
        which = f"{name} is a {str(family)[:40]!r} model"
        raise UserError(f"{which}: of GGUF files only 'llama' models are read; give its transformers checkpoint")
    own = {key.removeprefix("llama."): value for key, value in facts.items() if key.startswith("llama.")}
    shapes = {tensor.name: [int(n) for n in reversed(tensor.shape)] for tensor in reader.tensors}
    vocab, width = shapes["token_embd.weight"]
    depth, heads = int(own["block_count"]), int(own["attention.head_count"])
    head_dim = int(own.get("attention.key_length", width // heads))
    inner = {f"blk.{i}.{part}.weight" for i in range(min(depth, len(shapes))) for part in INNER}
    unlike = [what for key, what in UNSUPPORTED.items() if own.get(key) not in (None, 0, "none")]
    unlike += sorted(shapes.keys() - inner - {f"{part}.weight" for part in OUTER})
    unlike += ["partial rotary positions"] if own.get("rope.dimension_count", head_dim) != head_dim else []
    if unlike:
        raise UserError(f"{name} has {unlike[0]}, which a plain Llama has not, so it is not supported: give its transformers checkpoint")
    if missing := sorted(inner - shapes.keys()):
        raise ValueError(f"it lacks {missing[0]}")
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=vocab, hidden_size=width, intermediate_size=int(own["feed_forward_length"]),
        num_hidden_layers=depth, num_attention_heads=heads, num_key_value_heads=int(own.get("attention.head_count_kv", heads)),
        head_dim=head_dim, max_position_embeddings=int(own["context_length"]), rms_norm_eps=own["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": own.get("rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in shapes, bos_token_id=facts.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=facts.get("tokenizer.ggml.eos_token_id"), dtype=torch.bfloat16,
    )  # fmt: skip
    return config


def _weights(reader: GGUFReader, config: LlamaConfig) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, str]]:
    """Dense weights in bf16, the blocks of quantised ones, and the types of these blocks, all by the model's weight names."""
    weights, kept, kinds = {}, {}, {}
    for tensor in reader.tensors:
        name, data = _name(tensor.name), tensor.data
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = _halves(data, heads)
        weights[name] = dense(data, tensor.tensor_type).bfloat16()
        if data.dtype == np.uint8:
            kept[name], kinds[name] = torch.from_numpy(np.array(data)), tensor.tensor_type.name
    return weights, kept, kinds


def _name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    if name.startswith("blk."):
        _, layer, part, _ = name.split(".")
        return f"model.layers.{layer}.{INNER[part]}.weight"
    return f"{OUTER[name.removesuffix('.weight')]}.weight"


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rotary positions turn pairs of rows: neighbours in the file, the two halves of a head in transformers. (rows, n) -> (rows, n)."""
    count, width = rows.shape
    return rows.reshape(heads, count // heads // 2, 2, width).swapaxes(1, 2).reshape(count, width)

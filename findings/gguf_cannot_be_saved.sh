#!/usr/bin/env bash
# transformers 5.23.0 reads a GGUF file into ordinary weights (float32 here, whatever the file has) but still treats the model as quantised: its
# config says dequantize False, and save_pretrained refuses with "is not serializable". With GgufConfig(dequantize=True) the same weights are
# read and can be saved. So converting a GGUF file to safetensors needs that argument, although it changes no weight. This script fails if that
# changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 torch==2.13.0 gguf==0.19.0 accelerate==1.15.0
cd "$folder"
cat > look.py <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from transformers import AutoModelForCausalLM, GgufConfig

wide, inner, vocab, random = 64, 128, 96, np.random.default_rng(0)
out = GGUFWriter("small.gguf", "llama")
out.add_context_length(128)
out.add_embedding_length(wide)
out.add_block_count(1)
out.add_feed_forward_length(inner)
out.add_head_count(2)
out.add_head_count_kv(2)
out.add_layer_norm_rms_eps(1e-5)
out.add_vocab_size(vocab)
shapes = {"token_embd": (vocab, wide), "blk.0.ffn_gate": (inner, wide), "blk.0.ffn_up": (inner, wide), "blk.0.ffn_down": (wide, inner)}
shapes |= {f"blk.0.attn_{name}": (wide, wide) for name in ("q", "k", "v", "output")}
for name, shape in shapes.items():
    weight = quantize(random.normal(size=shape).astype(np.float32) / 20, GGMLQuantizationType.Q8_0)
    out.add_tensor(f"{name}.weight", weight, raw_dtype=GGMLQuantizationType.Q8_0)
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    out.add_tensor(f"{name}.weight", np.ones(wide, np.float32))
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()


def load(**how):
    return AutoModelForCausalLM.from_pretrained(".", gguf_file="small.gguf", **how)


plain, told = load(), load(quantization_config=GgufConfig(dequantize=True))
same = all(torch.equal(a, b) for a, b in zip(plain.parameters(), told.parameters()))
kind = plain.model.layers[0].mlp.up_proj.weight.dtype
try:
    plain.save_pretrained("saved")
    refusal = None
except ValueError as problem:
    refusal = str(problem)
told.save_pretrained("saved-too")
print(f"transformers {version('transformers')}: weights {kind}, the same with dequantize=True: {same}; save_pretrained: {refusal}")
if not (same and kind == torch.float32 and refusal and "not serializable" in refusal):
    sys.exit("changed: a model from a GGUF file is saved, or its weights are other ones")
print("as described")
PYTHON
"$folder/venv/bin/python" look.py

#!/usr/bin/env bash
# One GGUF file, two tokenizations. `tokenizer.ggml.pre` in a file says how text is split before merges apply. SmolLM2's files say "smollm": every
# digit is split off. llama.cpp knows that; transformers does not, and silently reads the file like GPT-2's. So a prompt with numbers becomes
# different token ids in the two, and in transformers the model sees text of a kind that it was not trained on.
#
# Seen with transformers 5.23.0 and xllamacpp 2026.10.11549 (llama.cpp), on a file made here: "123 45 12" is [256, 51, 32, 52, 53, 32, 256] in
# transformers and [49, 50, 51, 32, 52, 53, 32, 49, 50] in llama.cpp. With "gpt-2" in the file both agree. This script fails if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 torch==2.13.0 gguf==0.19.0 accelerate==1.15.0 xllamacpp==2026.10.11549
cd "$folder"
cat > file.py <<'PYTHON'
"""A Llama of two layers with random weights, and a byte-level vocabulary with two merges."""
import sys

import numpy as np
from gguf import GGUFWriter

path, pre = sys.argv[1:]
printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
others = iter(range(256, 512))
tokens = [chr(byte if byte in printable else next(others)) for byte in range(256)] + ["12", "23", "<|endoftext|>"]
end, wide, inner, random = len(tokens) - 1, 64, 128, np.random.default_rng(0)
out = GGUFWriter(path, "llama")
out.add_context_length(128)
out.add_embedding_length(wide)
out.add_block_count(2)
out.add_feed_forward_length(inner)
out.add_head_count(2)
out.add_head_count_kv(2)
out.add_layer_norm_rms_eps(1e-5)
out.add_rope_freq_base(10000.0)
out.add_rope_dimension_count(wide // 2)
out.add_vocab_size(len(tokens))
out.add_tokenizer_model("gpt2")
out.add_tokenizer_pre(pre)
out.add_token_list(tokens)
out.add_token_types([1] * end + [3])
out.add_token_merges(["1 2", "2 3"])
out.add_bos_token_id(end)
out.add_eos_token_id(end)
shapes = {"attn_q": (wide, wide), "attn_k": (wide, wide), "attn_v": (wide, wide), "attn_output": (wide, wide)}
shapes |= {"ffn_gate": (inner, wide), "ffn_up": (inner, wide), "ffn_down": (wide, inner)}
weights = {"token_embd": (len(tokens), wide)} | {f"blk.{i}.{name}": shape for i in range(2) for name, shape in shapes.items()}
for name, shape in weights.items():
    out.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32) / 20)
for name in ("output_norm", *(f"blk.{i}.{norm}" for i in range(2) for norm in ("attn_norm", "ffn_norm"))):
    out.add_tensor(f"{name}.weight", np.ones(wide, np.float32))
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
PYTHON
cat > compare.py <<'PYTHON'
import json
import subprocess
import sys
import urllib.request
from importlib.metadata import version

import xllamacpp
from transformers import AutoTokenizer

TEXT = "123 45 12"


def by_llama_cpp(path: str) -> list[int]:
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.verbosity = path, 128, -1
    server = xllamacpp.Server(params)
    body, kind = json.dumps({"content": TEXT}).encode(), {"Content-Type": "application/json"}
    return json.load(urllib.request.urlopen(urllib.request.Request(f"{server.listening_address}/tokenize", body, kind)))["tokens"]


found = {}
for pre in ("smollm", "gpt-2"):
    subprocess.run([sys.executable, "file.py", f"{pre}.gguf", pre], check=True)
    ids = AutoTokenizer.from_pretrained(".", gguf_file=f"{pre}.gguf").encode(TEXT)
    found[pre] = ids, by_llama_cpp(f"{pre}.gguf")
    print(f"{pre:>7}: transformers {version('transformers')} {ids}\n         xllamacpp {version('xllamacpp')} {found[pre][1]}")
whole, digits = [256, 51, 32, 52, 53, 32, 256], [49, 50, 51, 32, 52, 53, 32, 49, 50]
if found != {"smollm": (whole, digits), "gpt-2": (whole, whole)}:
    sys.exit("changed: the two no longer part where they did")
print("as described")
PYTHON
"$folder/venv/bin/python" compare.py

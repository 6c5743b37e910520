"""A checkpoint as a GGUF file: this project's reader finds the model in it, and llama.cpp writes what transformers writes."""

import json
import shutil
import urllib.request

import pytest
import torch
from tiny import byte_tokenizer, tiny_model
from tiny_families import tiny
from tokenizers import decoders
from transformers import AutoModelForCausalLM

from eesd_core.errors import UserError
from eesd_core.export.draft_model import export_draft
from eesd_core.export.gguf_file import TYPES, write_gguf
from eesd_core.model.gguf import converted
from eesd_core.model.load import load_target

WRONG = {"F32": 0.005, "Q4_1": 0.08}  # of the largest weight; the reader rounds to bfloat16


@pytest.fixture(scope="module")
def merging(model_folder, tmp_path_factory):
    """The tiny model, whose tokenizer joins two letters: GGUF has no tokenizer of bytes alone."""
    folder = tmp_path_factory.mktemp("merging") / "model"
    shutil.copytree(model_folder, folder)
    facts = json.loads((folder / "tokenizer.json").read_text())
    vocab = facts["model"]["vocab"]
    vocab["On"] = vocab.pop(max(vocab, key=vocab.get))
    facts["model"]["merges"] = [["O", "n"]]
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("kind", TYPES)
def test_gguf_file_is_the_model(merging, tmp_path, monkeypatch, kind):
    """Read back by this project's reader, which smollm2's file from elsewhere is read by too."""
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "cache"))
    folder, _ = converted(write_gguf(merging, tmp_path / "model.gguf", kind))
    theirs, ours = (AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in (folder, merging))
    for name, weight in ours.state_dict().items():
        error = (theirs.state_dict()[name] - weight).abs().max() / weight.abs().max()
        assert error < WRONG.get(kind, 0.01), (name, float(error))
    codec = load_target(folder, "cpu", "float32").codec
    assert codec.encode("Once upon a time, 12!") == load_target(merging, "cpu", "float32").codec.encode("Once upon a time, 12!")


@pytest.mark.parametrize("unlike", ["no plain Llama", "no byte-level BPE"])
def test_other_models_are_left_to_llama_cpps_own_converter(unlike, tmp_path):
    model, tokenizer = tiny_model(1), byte_tokenizer()
    if unlike == "no plain Llama":
        model = tiny("llama")  # its attention has biases
    else:
        tokenizer.backend_tokenizer.decoder = decoders.Metaspace()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=unlike):
        write_gguf(tmp_path / "model", tmp_path / "model.gguf", "F32")
    with pytest.raises(UserError, match=unlike):
        export_draft(str(tmp_path / "model"), "frozen:2", "sampled", tmp_path / "draft", str, "F32")
    assert not (tmp_path / "draft").exists()


def test_llama_cpp_writes_what_transformers_writes(embedded, tmp_path):
    """The storyteller's draft model, greedily, from token ids."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install -r requirements-peers.txt")
    cut = export_draft(None, None, "sampled", tmp_path / "draft", str, "F32")
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(tmp_path / "draft" / cut.gguf), 256, 1, -1
    server = xllamacpp.Server(params)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "draft", dtype=torch.float32)
    for text in ("Once upon a time", "The old man put down his lamp and said"):
        ids = cut.target.codec.encode(text)
        asked = {"prompt": ids, "n_predict": 24, "temperature": 0.0, "top_k": 1, "return_tokens": True, "stream": False}
        with urllib.request.urlopen(f"{server.listening_address}/completion", json.dumps(asked).encode()) as reply:
            theirs = json.load(reply)["tokens"]
        ours = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
        assert theirs == ours

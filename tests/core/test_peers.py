"""tools.peers: what it gives other engines is what was cut out here, and what it counts."""

import json
import shutil

import pytest
import torch
from tiny import byte_tokenizer, tiny_model
from transformers import AutoModelForCausalLM

from eesd_core.errors import UserError
from eesd_core.model.gguf import converted
from eesd_core.model.load import load_target
from tools.peers.__main__ import alone, forks, identical, installed, rate
from tools.peers.gguf_file import TYPES, write_gguf


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
        assert error < (0.01 if kind != "F32" else 0.005), (name, float(error))  # the reader rounds to bfloat16
    codec = load_target(folder, "cpu", "float32").codec
    assert codec.encode("Once upon a time, 12!") == load_target(merging, "cpu", "float32").codec.encode("Once upon a time, 12!")


def test_other_models_are_left_to_llama_cpps_own_converter(tmp_path):
    model = tiny_model(1)
    model.config.attention_bias = True
    model.config.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no plain Llama"):
        write_gguf(tmp_path, tmp_path / "model.gguf", "F32")


def test_the_target_is_given_without_its_exit_layer(model_folder, tmp_path):
    names = {file.name for file in alone(str(model_folder), tmp_path / "target").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names and "exit_layer.safetensors" not in names
    with pytest.raises(UserError, match="on the Hub"):
        alone("somebody/something", tmp_path / "other")


def test_counts():
    assert identical([[1, 2], [3]], [[1, 2], [4]]) == 1
    assert forks([[1, 2], [3, 4], [5]], [[1, 2], [3, 9], [5, 6]]) == [1, 1]
    assert (
        installed(f"torch=={torch.__version__.partition('+')[0]}") and not installed("torch==0.0.1") and not installed("nothing-like-it==1")
    )
    facts = rate({"texts": [[1, 2], [3]], "seconds": 2.0, "drafted": 8, "accepted": 2})
    assert facts["tokens_per_second"] == 1.5 and facts["acceptance_rate"] == 0.25
    assert "acceptance_rate" not in rate({"texts": [[1]], "seconds": 1.0})

"""What a user can get wrong about files gets one clear line."""

import json
import shutil

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.model.exit_layer import ExitLayer
from eesd_core.model.packed import PackedLinear, can_pack


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def refused(folder, **flags) -> str:
    with pytest.raises(UserError) as caught:
        load_engine(str(folder), **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_saved_exit_layer_is_loaded_as_it_was(model_folder):
    engine = load_engine(str(model_folder), dtype="float32")
    again = ExitLayer.load(model_folder, engine.target)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), engine.exit_layer.parameters()))
    assert json.loads((model_folder / "exit_layer.json").read_text())["exit_after"] == engine.exit_layer.exit_after


def test_missing_folder():
    assert "no such folder" in refused("./nowhere")


def test_truncated_weights(copy):
    truncate(copy / "model.safetensors")
    assert "broken" in refused(copy)


def test_missing_weights(copy):
    (copy / "model.safetensors").unlink()
    assert "model.safetensors missing" in refused(copy)


def test_missing_exit_layer(copy):
    (copy / "exit_layer.json").unlink()
    assert "distill" in refused(copy)


def test_truncated_exit_layer(copy):
    truncate(copy / "exit_layer.safetensors")
    assert "broken" in refused(copy)


def test_exit_layer_of_another_model(copy):
    facts = json.loads((copy / "exit_layer.json").read_text())
    (copy / "exit_layer.json").write_text(json.dumps(facts | {"base_fingerprint": "0" * 16}))
    assert "another model" in refused(copy)


def test_unsupported_architecture_is_refused_by_name(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    assert "gpt2" in refused(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(model_folder):
    assert "--device cpu" in refused(model_folder, device="cuda")


def test_packed_linear_is_bit_for_bit_the_plain_one():
    torch.manual_seed(0)
    linear = nn.Linear(64, 96, bias=False, dtype=torch.bfloat16)
    if not can_pack(linear):
        pytest.skip("this processor has no native bf16")
    x = torch.randn(1, 5, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(PackedLinear(linear)(x), linear(x))

"""A LoRA merged at load is the model with W + B A."""

import copy

import pytest
import torch
from safetensors.torch import save_file

from eesd_core.errors import UserError
from eesd_core.model import catalog
from eesd_core.model.cpu.prepare import _blocks
from eesd_core.model.load import load_target
from eesd_core.model.lora import merge_lora

MODULE = "model.layers.1.mlp.up_proj"


def save(path, model, module=MODULE, out=None) -> tuple[torch.Tensor, torch.Tensor]:
    weight = model.get_submodule(MODULE).weight
    a, b = torch.randn(3, weight.shape[1]), torch.randn(out or weight.shape[0], 3)
    save_file({f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}, path)
    return a, b


@torch.no_grad()
def test_one_module_is_changed_and_no_other(engine, tmp_path):
    model = copy.deepcopy(engine.target.model)
    a, b = save(tmp_path / "x.safetensors", model)
    merge_lora(model, tmp_path / "x.safetensors")
    for (name, now), before in zip(model.named_parameters(), engine.target.model.parameters()):
        assert torch.equal(now, before + b @ a if name == f"{MODULE}.weight" else before)


@pytest.mark.parametrize("wrong", [{"module": "model.layers.9.mlp.up_proj"}, {"out": 5}])
def test_one_of_another_model_is_refused(engine, tmp_path, wrong):
    model = copy.deepcopy(engine.target.model)
    save(tmp_path / "x.safetensors", model, **wrong)
    with pytest.raises(UserError, match="does not fit"):
        merge_lora(model, tmp_path / "x.safetensors")


def test_it_is_merged_when_the_model_is_loaded(engine, model_folder, tmp_path, monkeypatch):
    torch.manual_seed(0)
    a, b = save(tmp_path / "x.safetensors", engine.target.model)
    source = catalog.Source("early", str(model_folder), str(model_folder), lora=tmp_path / "x.safetensors")
    monkeypatch.setattr("eesd_core.model.load.locate", lambda model: source)
    loaded, before = load_target("early", "cpu", "float32"), engine.target.model.get_submodule(MODULE).weight
    assert loaded.name == "early" and torch.equal(loaded.model.get_submodule(MODULE).weight, before + b @ a)


def test_4_bit_blocks_of_a_file_stay_where_nothing_was_merged(engine, model_folder, tmp_path, monkeypatch):
    save(tmp_path / "x.safetensors", engine.target.model)
    names = [f"{MODULE}.weight", "model.layers.0.mlp.up_proj.weight"]
    monkeypatch.setattr("eesd_core.model.gguf.blocks", lambda folder: [(name, "Q4_1", None) for name in names])
    target = copy.copy(engine.target)
    target.source = catalog.Source("early", "", "", lora=tmp_path / "x.safetensors", blocks=tmp_path)
    assert list(_blocks(target)) == names[1:]

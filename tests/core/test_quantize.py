"""Quantised targets on the CPU: both kinds run, keep their promise, and refuse what is known to crash. CUDA is not tested here."""

import json
import shutil

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.fingerprint import fingerprint
from eesd_core.loading import load_engine
from eesd_core.model.load import load_target
from eesd_core.model.placement import weight_bytes
from eesd_core.model.quantize import check_quantize, dense_state
from eesd_core.request import Request

pytest.importorskip("bitsandbytes", reason="quantised models need bitsandbytes: pip install -r requirements.txt")
KINDS = ("4bit", "8bit")


def written(engine, method: str) -> list[int]:
    request = Request("Once upon a time", 40, method=method, controller="fixed")
    return [i for r in engine.run(request) if r.event.type == "tokens_committed" for i in r.event.ids]


@pytest.mark.parametrize("quantize", KINDS)
def test_a_quantised_model_drafts_and_verifies(model_folder, quantize):
    engine = load_engine(str(model_folder), device="cpu", quantize=quantize)
    assert engine.target.precision == quantize and engine.exit_layer.norm.weight.dtype == torch.bfloat16
    ours, plain = written(engine, "eesd"), written(engine, "vanilla")
    assert len(ours) == len(plain) == 40
    assert ours == plain or engine.level == "exact-as-observed"  # what was promised is kept


def test_int8_looks_for_outliers_in_no_row(model_folder):
    """With another threshold the logits of a token would depend on drafts behind it."""
    target = load_target(model_folder, "cpu", quantize="8bit")
    assert {m.state.threshold for m in target.model.modules() if type(m).__name__ == "Linear8bitLt"} == {0.0}


@pytest.mark.parametrize("quantize, error", list(zip(KINDS, (0.15, 0.02))))
def test_training_starts_from_the_dense_last_layer(model_folder, quantize, error):
    plain, target = (load_target(model_folder, "cpu", "bfloat16", kind) for kind in ("none", quantize))
    ours = dense_state(target.layers[-1])
    for name, weight in dense_state(plain.layers[-1]).items():
        assert (ours[name].float() - weight.float()).norm() <= error * weight.float().norm(), name
    assert isinstance(ExitLayer(target, 2).layers[0].mlp.up_proj, nn.Linear) and fingerprint(target) is None


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_an_exit_layer_of_a_quantised_model_is_known_by_its_norms(model_folder, tmp_path, quantize):
    target = load_target(model_folder, "cpu", quantize="4bit")
    ExitLayer(target, 2).save(tmp_path, target, {})
    again = load_target(model_folder, "cpu", "bfloat16", quantize)
    assert ExitLayer.load(tmp_path, again).exit_after == 2
    facts = json.loads((tmp_path / "exit_layer.json").read_text())
    (tmp_path / "exit_layer.json").write_text(json.dumps(facts | {"norms_fingerprint": "0" * 16}))
    with pytest.raises(UserError, match="another model"):
        ExitLayer.load(tmp_path, again)


def test_what_is_known_to_crash_is_refused(model_folder, tmp_path):
    widths = {"hidden_size": 128, "intermediate_size": 128, "num_attention_heads": 4}
    check_quantize("4bit", LlamaConfig(**widths), torch.device("cpu"), "a model")
    for odd in ({"hidden_size": 96}, {"intermediate_size": 80}, {"head_dim": 24}):
        with pytest.raises(UserError, match="multiples of 64"):
            check_quantize("4bit", LlamaConfig(**(widths | odd)), torch.device("cpu"), "a model")
    folder = shutil.copytree(model_folder, tmp_path / "model")
    small = {"vocab_size": 257, "num_hidden_layers": 2, "intermediate_size": 80}
    LlamaForCausalLM(LlamaConfig(**(widths | small))).save_pretrained(folder)
    with pytest.raises(UserError, match="--quantize 8bit"):
        load_engine(str(folder), device="cpu", quantize="4bit")


def test_weights_are_counted_before_they_are_loaded(model_folder):
    target = load_target(model_folder, "cpu", "bfloat16")
    assert weight_bytes(target.config) == sum(2 * p.numel() for p in target.model.parameters())
    head = 2 * 2 * 257 * 64  # embeddings and head stay as they are
    assert head < weight_bytes(target.config, "4bit") < weight_bytes(target.config, "8bit") < weight_bytes(target.config)

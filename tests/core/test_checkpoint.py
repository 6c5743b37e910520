"""Checkpoints that are not what they seem: used as they mean it, or refused with the true reason in one line."""

import builtins
import json
import shutil

import pytest
import torch
from greedy_text import ours, theirs
from safetensors.torch import load_file, save_file
from tiny_families import tiny
from transformers import GenerationConfig

from eesd_core.bench import peers
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.model.catalog import locate
from eesd_core.model.load import load_target
from eesd_core.request import Request
from eesd_core.sampling import Sampling

PROMPT = "Once upon a time there was a king who had a daughter"


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model", ignore=shutil.ignore_patterns("exit_layer.*"))


@pytest.fixture
def save(engine, tmp_path):
    """Writes a model and a tokenizer as files."""

    def written(model, name="model", **size):
        model.save_pretrained(tmp_path / name, **size)
        engine.target.tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return written


def edit(folder, name="config.json", **changes):
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))
    return folder


def refused(folder, **flags) -> str:
    with pytest.raises(UserError) as caught:
        load_target(folder, "cpu", "float32", **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file, facts", [
    ("config.json", {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine", "AutoModelForCausalLM": "code.Mine"}}),
    ("tokenizer_config.json", {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["code.Mine", None]}}),
])  # fmt: skip
def test_code_of_a_folder_never_runs_and_nobody_is_asked(copy, tmp_path, monkeypatch, capsys, file, facts):
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("somebody was asked"))
    (copy / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Mine:\n    pass\n")
    assert "mine" in refused(edit(copy, file, **facts)) or "never run" in refused(copy)
    assert not (tmp_path / "ran").exists() and capsys.readouterr().out == ""


def test_code_beside_a_known_architecture_is_left_alone(copy, tmp_path):
    (copy / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert load_target(edit(copy, auto_map={"AutoConfig": "code.Mine", "AutoModelForCausalLM": "code.Mine"}), "cpu", "float32").depth == 4
    assert not (tmp_path / "ran").exists()


def test_block_fp8_weights_are_scaled(save):
    folder = save(tiny("llama"))
    stored = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        stored[name] = weight
        if name.endswith("_proj.weight"):
            scale = weight.abs().amax().reshape(1, 1) / 448
            stored |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{name}_scale_inv": scale}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    how = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic", "fmt": "e4m3"}
    target = load_target(edit(folder, quantization_config=how), "cpu", "float32")
    ids = target.codec.encode(PROMPT)
    assert ours(target, ids, 8) == theirs(folder, ids, 8)
    assert target.precision == "float32" and "quantised already" in refused(folder, quantize="8bit")


@pytest.mark.parametrize("method", ["compressed-tensors", "gptq", "awq", "bitsandbytes", "brandnew"])
def test_other_quantisations_are_refused_by_name(copy, method):
    assert method in refused(edit(copy, quantization_config={"quant_method": method, "bits": 4}))


def test_scales_without_a_word_in_the_config_are_no_weights(copy):
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight_scale"] = torch.ones(1)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.0.mlp.up_proj.weight_scale" in refused(copy)


def test_weights_that_the_config_does_not_announce_are_named(save):
    assert "bias" in refused(edit(save(tiny("llama")), attention_bias=False))
    assert "layers.3" in refused(edit(save(tiny("llama"), "deep"), num_hidden_layers=3))


def test_the_true_reason_is_given(save, copy):
    shards = save(tiny("qwen3"), "shards", max_shard_size="100KB")
    gone = sorted(shards.glob("model-*.safetensors"))[1]
    gone.unlink()
    assert gone.name in refused(shards)
    sizes = refused(edit(copy, vocab_size=300))
    assert ".weight is 257 x 64 in the file" in sizes and "300 x 64" in sizes
    assert "brandnew9" in refused(edit(copy, model_type="brandnew9"))
    (copy / "config.json").write_text("{oops")
    assert "config.json" in refused(copy)


def test_nothing_is_allocated_for_what_only_the_config_announces(copy):
    assert "10000000000 x 64" in refused(edit(copy, vocab_size=10**10))
    assert "layers" in refused(edit(copy, vocab_size=257, num_hidden_layers=10**9))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(copy, value):
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.3.mlp.down_proj.weight"][0, 0] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    engine = load_engine(str(copy), device="cpu", dtype="float32")
    for method in ("eesd", "vanilla"):
        with pytest.raises(UserError, match=r"model\.layers\.3\.mlp\.down_proj\.weight"):
            list(engine.run(Request(PROMPT, 4, method=method)))


def test_logits_that_are_no_numbers_end_a_run_in_one_line(engine):
    """Where the weights are numbers and their products are not."""
    weight = engine.target.norm.weight
    kept = weight.detach().clone()
    try:
        weight.data.fill_(1e38)
        with pytest.raises(UserError, match="no numbers"):
            list(engine.run(Request(PROMPT, 4)))
    finally:
        weight.data.copy_(kept)


@pytest.mark.parametrize("variant, keys", [
    ("qwen3", {}), ("llama", {"sliding_window": 8}), ("llama", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 4}),
    ("olmo2", {"sliding_window": 8}), ("gpt2", {"num_key_value_heads": 1}), ("gpt_neox", {"num_key_value_heads": 1, "head_dim": 8}),
    ("llama", {"final_logit_softcapping": 2.0}),
])  # fmt: skip
def test_keys_mean_what_transformers_makes_of_them(save, variant, keys):
    """In a run with drafts, which verifies the prompt's last token and drafts in one pass."""
    folder = edit(save(tiny(variant)), **keys)
    engine = load_engine(str(folder), device="cpu", dtype="float32")
    request = Request(PROMPT, 12, controller="fixed", settings={"length": 3})
    written = [i for r in engine.run(request) if r.event.type == "tokens_committed" for i in r.event.ids]
    assert written == theirs(folder, engine.encode(request), 12)


def test_models_that_look_ahead_are_refused(save):
    assert "plain decoder" in refused(edit(save(tiny("qwen3")), is_causal=False))


def test_a_model_is_called_as_its_folder_or_its_repository(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(copy)
    assert locate(".").name == "model"
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    assert locate(snapshot).name == "owner/name"


def test_one_layer(save):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 257, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    folder = save(LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=192)))
    engine = load_engine(str(folder), device="cpu", dtype="float32")
    assert [r.event for r in engine.run(Request(PROMPT, 8, drafter="prompt-lookup"))][-1].type == "run_finished"
    for ask in (lambda: list(engine.run(Request(PROMPT, 4))), lambda: load_engine(str(folder), "frozen:1", "cpu", "float32")):
        with pytest.raises(UserError, match=r"one layer.*--drafter prompt-lookup"):
            ask()


def test_generate_writes_by_the_engines_rule_whatever_the_folder_asks_for(save):
    model = tiny("llama")
    model.generation_config = GenerationConfig(repetition_penalty=1.5, no_repeat_ngram_size=3, pad_token_id=0)
    engine = load_engine(str(save(model)), device="cpu", dtype="float32")
    ids = engine.encode(Request(PROMPT))
    expected = ours(engine.target, ids, 16)
    assert engine.target.wishes == {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3}
    for peer in ("hf", "hf-prompt-lookup"):
        assert peers.write(engine.target, peers.arguments_of(peer, None, 2), ids, 16, Sampling()).ids == expected

"""What a user can get wrong about files gets one clear line."""

import json
import shutil
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

from eesd_core.bench.measure import settings_of
from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.hub import push
from eesd_core.loading import load_engine
from eesd_core.model.checkpoint import split_revision
from eesd_core.model.cpu.packed_linear import PACKED_FOR, PackedFloatLinear, PackedLinear, can_pack, pack_linears, treats_rows_alike
from eesd_core.model.load import load_target


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
    layer = ExitLayer.load(model_folder, load_target(model_folder, dtype="float32"))
    stored = load_file(model_folder / "exit_layer.safetensors")
    assert stored.keys() == layer.state_dict().keys()
    assert all(torch.equal(parameter, stored[name].float()) for name, parameter in layer.named_parameters())
    assert json.loads((model_folder / "exit_layer.json").read_text())["exit_after"] == layer.exit_after


def test_float32_weights_are_loaded_as_they_are(engine, tmp_path):
    model = engine.target.model
    model.save_pretrained(tmp_path)
    engine.target.tokenizer.save_pretrained(tmp_path)
    for dtype, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("auto", None)):
        loaded = load_target(tmp_path, "cpu", dtype).model
        assert all(torch.equal(p, whole.to(kind or p.dtype)) for p, whole in zip(loaded.parameters(), model.parameters()))
        assert loaded.dtype == (kind or loaded.dtype)


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
    BloomForCausalLM(BloomConfig(vocab_size=16, hidden_size=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    assert "'bloom'" in refused(tmp_path)


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


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(64, 96), (256, 128), (256, 640)])
def test_packed_float_linear_is_the_plain_one(shape, bias):
    """For every number of rows, in whatever shape they come, whichever number it was packed for."""
    torch.manual_seed(0)
    linear = nn.Linear(*shape, bias=bias)
    if not can_pack(linear):
        pytest.skip("this build of torch has no MKL")
    for rows in PACKED_FOR:
        packed = PackedFloatLinear(linear, rows)
        for size in ((1, 1), (1, 5), (1, 16), (1, 300), (3, 7), (2, 3, 4), (1, 0)):
            x = torch.randn(*size, shape[0])
            torch.testing.assert_close(packed(x), linear(x), rtol=1e-5, atol=1e-5)


def test_float_layers_are_packed_where_that_treats_rows_alike(engine):
    model = deepcopy(engine.target.model)
    widths = {name: module.in_features for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert len(widths) == 4 * 7 + 1
    pack_linears(model)
    for name, width in widths.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, PackedFloatLinear) <= treats_rows_alike(layer, width)


def test_a_model_without_an_exit_layer_drafts_with_its_own_head(copy):
    for name in ("exit_layer.json", "exit_layer.safetensors"):
        (copy / name).unlink()
    engine = load_engine(str(copy), device="cpu", dtype="float32")
    assert engine.exit_layer.exit_after == 1 and "no exit layer was trained" in engine.exit_layer.note
    assert load_engine(str(copy), "frozen:3", "cpu", "float32").exit_layer.exit_after == 3
    assert "exit depth" in refused(copy, exit_layer="frozen:4") and "exit depth" in refused(copy, exit_layer="frozen:x")


@pytest.mark.parametrize("name, expected", [("o/n@v1", ("o/n", "v1")), ("o/n", ("o/n", None)), ("./a@b", ("./a", "b"))])
def test_a_revision_is_pinned_behind_the_name(name, expected):
    assert split_revision(name) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_that_differ_in_one_linear_layer_have_two_names_in_reports(copy, dtype):
    """Once packed, linear layers show no weights: work that was left unfinished must not be gone on with on other ones."""
    base = json.loads((copy / "exit_layer.json").read_text())["base_fingerprint"]
    weights = load_file(copy / "model.safetensors")
    engines = [load_engine(str(copy), "frozen:2", "cpu", dtype)]
    weights["model.layers.1.mlp.up_proj.weight"] *= 2
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    engines.append(load_engine(str(copy), "frozen:2", "cpu", dtype))
    names = [settings_of(engine, "default", ())["model"]["fingerprint"] for engine in engines]
    assert names[0] == base and names[1] not in (base, None)


def test_push_uploads_the_files_and_a_card(model_folder, tmp_path):
    """With a stand-in for the Hub: not run against the Hub itself."""
    folder, calls = tmp_path / "layer", []
    folder.mkdir()
    with pytest.raises(UserError, match="lacks"):
        push(folder, "o/n", False)
    for name in ("exit_layer.json", "exit_layer.safetensors"):
        shutil.copy(model_folder / name, folder)

    class Hub:
        def create_repo(self, repository, private, exist_ok):
            calls.append((repository, private))

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            calls.append(sorted(p.name for p in folder_path.iterdir() if p.name in allow_patterns))
            return "the commit"

    assert push(folder, "o/n", True, Hub()) == "the commit"
    assert calls == [("o/n", True), ["README.md", "exit_layer.json", "exit_layer.safetensors"]]


def test_without_numba_one_line_says_that_steps_are_slower(model_folder, monkeypatch, capsys):
    for module in ("prepare", "packed_linear"):
        monkeypatch.setattr(f"eesd_core.model.cpu.{module}.find_spec", lambda name: None)
    assert main(["generate", "one two", "--model", str(model_folder), "--dtype", "float32", "--max-new-tokens", "2"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "numba" in line]
    assert len(notes) == 1 and notes[0].startswith("note: ") and "pip install numba" in notes[0]
    assert main(["generate", "one two", "--model", str(model_folder), "--quantize", "q8"]) == 2

"""A draft model cut out of a target and its exit layer: read by transformers alone, it says what the exit layer says."""

import errno
import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import EXIT_AFTER, byte_tokenizer, tiny_model
from tiny_families import VARIANTS, tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.export import draft_model
from eesd_core.export.draft_model import FOR_SERVERS, export_draft, judged, write
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.files import read
from eesd_core.heads.frozen import FrozenExit
from eesd_core.loading import load_exit_layer
from eesd_core.model.attention import NAME
from eesd_core.model.catalog import KNOWN
from eesd_core.model.load import load_target
from eesd_core.model.target import Target

TEXT = "Once upon a time there was a king who had a daughter, and she was so beautiful that the sun itself was astonished."
FAMILIES = {name: how for name, how in VARIANTS.items() if name != "gpt2"}  # whose attention is scaled by the layer's number there
FAMILIES |= {"gpt2 unscaled": ("gpt2", {}), "llama tied": ("llama", {"tie_word_embeddings": True})}


def target_of(variant: str) -> Target:
    model = tiny(variant)
    model.set_attn_implementation(NAME)
    return Target(model, byte_tokenizer(), variant)


def shaken(layer: ExitLayer, seed: int = 3) -> ExitLayer:
    """No copy of what it was made from, as after training."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter) if parameter.ndim > 1 else 0.1 * torch.rand_like(parameter))
    return layer


@torch.no_grad()
def rows_of(target: Target, layer, ids: list[int]) -> torch.Tensor:
    """In passes of several sizes, with a cache, as drafting computes it: (T, V)."""
    cache, own, at, parts = target.new_cache(len(ids)), target.new_cache(len(ids), max(1, len(layer.layers))), 0, []
    for rows in (20, 1, 1, 3, len(ids)):
        part = ids[at : at + rows]
        states = target.run_range(0, layer.exit_after, target.embed(part, at), cache, at)
        parts.append(target.head(layer.hidden(target, states, own, at)))
        at += len(part)
    return torch.cat(parts)


@torch.no_grad()
def said(folder, ids: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    return model(torch.tensor([ids])).logits[0]


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() < 1e-5 * ours.std()


CASES = [(variant, 1) for variant in FAMILIES] + [("llama", 0), ("llama tied", 0), ("smollm3", 2), ("gemma3", 2)]


@pytest.mark.parametrize("variant, layers", CASES)
def test_every_family(variant, layers, tmp_path, monkeypatch):
    monkeypatch.setitem(VARIANTS, variant, FAMILIES[variant])
    target = target_of(variant)
    head = shaken(ExitLayer(target, EXIT_AFTER, layers=layers)) if layers else FrozenExit(target, EXIT_AFTER)
    write(tmp_path, target, head, torch.float32)
    ids = target.codec.encode(TEXT)
    same(rows_of(target, head, ids), said(tmp_path, ids))
    assert AutoTokenizer.from_pretrained(tmp_path)(TEXT, add_special_tokens=False)["input_ids"] == ids
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors") or not target.config.tie_word_embeddings


def test_layers_that_depend_on_their_number_are_refused_by_name(tmp_path):
    target = target_of("gpt2")
    head = ExitLayer(target, EXIT_AFTER)
    write(tmp_path, target, head, torch.float32)
    with pytest.raises(UserError, match="'gpt2' model computes depends on its number"):
        judged(tmp_path, target, head, "sampled", print)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A model in bfloat16 whose exit layer has weights of its own for greedy decoding."""
    folder = tmp_path_factory.mktemp("twins")
    model = tiny_model(1).bfloat16()
    model.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\nbase_model: somebody/something\n---\nWords\n")
    target = load_target(folder, "cpu", "float32")
    layer = shaken(ExitLayer(target, EXIT_AFTER))
    layer.greedy = shaken(ExitLayer(target, EXIT_AFTER), seed=4)
    layer.save(folder, target, {})
    return folder


@pytest.mark.parametrize("weights", ["sampled", "greedy"])
def test_weights_of_both_kinds_are_exact(twins, weights, tmp_path):
    out, told = tmp_path / "draft", []
    cut = export_draft(str(twins), None, weights, out, told.append)
    target = load_target(twins, "cpu", "float32")
    layer = load_exit_layer(target, None)
    ids = target.codec.encode(TEXT)
    logits = said(out, ids)
    same(rows_of(target, layer.at(0.0 if weights == "greedy" else 1.0), ids), logits)
    assert not torch.allclose(rows_of(target, layer.at(1.0 if weights == "greedy" else 0.0), ids), logits, atol=0.1)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    card = (out / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "somebody/something" in card and "first 2" in card and str(cut.places) in card
    assert (out / "chat_template.jinja").exists() and {file.stat().st_mode & 0o777 for file in out.iterdir()} == {
        (out / "config.json").stat().st_mode & 0o777
    }
    assert len(told) == 2 and not out.with_name("draft.part").exists()


def test_what_cannot_be_cut_out(model_folder, twins, tmp_path, monkeypatch):
    def refused(text: str, *arguments, out=tmp_path / "draft") -> None:
        with pytest.raises(UserError, match=text):
            export_draft(*arguments, out, str)
        assert not (tmp_path / "draft").exists() and not (tmp_path / "draft.part").exists()

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused("no empty folder", str(model_folder), None, "sampled", out=tmp_path / "full")
    refused("no empty folder", str(model_folder), None, "sampled", out=tmp_path / "full" / "file")
    refused("leave out --weights greedy", str(model_folder), None, "greedy")
    target = load_target(model_folder, "cpu", "bfloat16")
    ExitLayer(target, EXIT_AFTER, taps=(3, 4)).save(tmp_path / "tapped", target, {})
    refused("layers 3 and 4.*frozen:1", str(model_folder), str(tmp_path / "tapped"), "sampled")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(draft_model, "save_file", full)
    refused("the disk is full", str(model_folder), None, "sampled")
    refused("Not a directory", str(model_folder), None, "sampled", out=tmp_path / "full" / "file" / "draft")


def test_an_exit_layer_with_taps_leaves_it_to_one_for_servers_beside_it(tmp_path):
    folder = tmp_path / "model"
    tiny_model(1).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    target = load_target(folder, "cpu", "float32")
    ExitLayer(target, EXIT_AFTER, taps=(3, 4)).save(folder, target, {})
    with pytest.raises(UserError, match="also reads states"):
        export_draft(str(folder), None, "sampled", tmp_path / "refused", str)
    layer = shaken(ExitLayer(target, EXIT_AFTER))
    layer.save(folder / "draft", target, {})
    export_draft(str(folder), None, "sampled", tmp_path / "draft", str)
    ids = target.codec.encode(TEXT)
    same(rows_of(target, load_exit_layer(target, str(folder / "draft")), ids), said(tmp_path / "draft", ids))
    with pytest.raises(UserError, match="also reads states"):  # whoever names the one with taps gets no other
        export_draft(str(folder), str(folder), "sampled", tmp_path / "refused", str)


def test_the_shipped_exit_layer_for_servers():
    """Beside smollm2's own, which reads deep states; smollm2-early has none, since no file of it exists that a server could read."""
    own, shipped = (read(folder) for folder in (KNOWN["smollm2"].heads, KNOWN["smollm2"].heads / FOR_SERVERS))
    assert own.taps and not shipped.taps
    assert shipped.facts["norms_fingerprint"] == own.facts["norms_fingerprint"]
    assert shipped.facts["base_checksum"] == own.facts["base_checksum"] == KNOWN["smollm2"].file.sha256[:16]


def test_command(model_folder, tmp_path, capsys):
    arguments = ["export-draft", "--model", str(model_folder), "--out", str(tmp_path / "draft")]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["layers"] == 3 and facts["largest_difference"] < 1e-5
    assert facts["bytes"] == (tmp_path / "draft" / "model.safetensors").stat().st_size
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1

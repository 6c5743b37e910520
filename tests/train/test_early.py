"""A model that meets its exit layer: the change is what was saved, nothing below it moves, and the price is what the losses say."""

from pathlib import Path

import pytest
import torch
from test_distill_texts import folder, target  # noqa: F401 (fixtures)

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.load import load_target
from eesd_core.model.lora import merge_lora
from eesd_core.train import early as module
from eesd_core.train.early import FILE, EarlyConfig, LowRank, look, losses, train_early, with_new_states
from eesd_core.train.lessons import Lessons, states_of

FIRST = 3  # of four layers, behind an exit after two


@pytest.fixture(scope="module")
def start(target, folder, model_folder, tmp_path_factory) -> Path:  # noqa: F811
    """An exit layer with a shortlist and deep states, little trained."""
    out = tmp_path_factory.mktemp("start")
    flags = ["--shortlist", "40", "--rows", "4", "--steps", "6", "--taps", "3", "4", "--device", "cpu", "--work", str(out / "work")]
    assert main(["distill", "--model", str(model_folder), "--texts", str(folder), "--exit-after", "2", "--out", str(out), *flags]) == 0
    return out


def fresh(model_folder):
    target = load_target(model_folder, "cpu", "float32")  # noqa: F811
    target.model.requires_grad_(False)
    target.see_whole_rows()
    return target


def test_what_is_saved_is_what_was_trained_and_nothing_below_it_moves(model_folder, folder, tmp_path):  # noqa: F811
    one = fresh(model_folder)
    before = {name: weight.clone() for name, weight in one.model.state_dict().items()}
    lora = LowRank(one, FIRST, 4, 1)
    for weight in lora.b:
        weight.data.normal_(std=0.05, generator=torch.Generator().manual_seed(1)).copy_(weight.data.bfloat16())
    for weight in lora.a:
        weight.data.copy_(weight.data.bfloat16())
    ids = torch.arange(1, 25)[None]
    attached = states_of(one, ids, (FIRST, one.depth))
    lora.save(tmp_path / FILE)
    lora.detach()
    plain = states_of(one, ids, (one.depth,))
    merge_lora(one.model, tmp_path / FILE)
    merged = states_of(one, ids, (FIRST, one.depth))
    assert torch.equal(merged[FIRST], attached[FIRST]) and torch.allclose(merged[one.depth], attached[one.depth], atol=1e-4)
    assert not torch.allclose(plain[one.depth], attached[one.depth], atol=1e-2)
    changed = {name for name, weight in one.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"{name}.weight" for name in lora.names} and all(name.startswith("model.layers.3.") for name in changed)


def test_before_training_the_model_is_what_it_was(model_folder, folder, start):  # noqa: F811
    one, lessons = fresh(model_folder), Lessons(folder)
    layer = ExitLayer.load(start, one).float()
    words = layer.shortlist
    layer.read_only(None)
    LowRank(one, FIRST, 4, 1)
    stay, pull, follow = losses(one, layer, lessons, lessons.texts[:6], words, 16, EarlyConfig(FIRST), 0)
    assert abs(stay.item()) < 1e-3 and 0 < pull.item() < 1 and follow.item() > 0  # kept states are in bfloat16
    found = look(one, layer, lessons, lessons.held[:4], words, 16, EarlyConfig(FIRST))
    assert found["nats_from_before"] < 1e-3 and found["likeliest_changed"] < 0.1
    batch = lessons.batch(one, lessons.texts[:2], (2, 3, 4))
    again, computed = with_new_states(one, batch, layer, FIRST).states[4], batch.states[4].abs().sum(-1) > 0
    assert torch.allclose(again[computed], batch.states[4][computed], atol=0.05, rtol=0.02)


def test_it_agrees_more_resumes_and_loads_as_another_model(model_folder, folder, start, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(module, "LOOKS", 15)
    config = EarlyConfig(FIRST, rank=8, pull=3.0, rows=8, steps=30, learning_rate=1e-2, warmup_steps=2)
    facts = train_early(str(model_folder), start, [folder], tmp_path / "work", tmp_path / "out", config, "cpu")
    first, last = facts["curve"]
    assert last["held_out_overlap"] > first["held_out_overlap"] and last["nats_from_before"] > 0
    again = train_early(str(model_folder), start, [folder], tmp_path / "work", tmp_path / "out", config, "cpu")
    assert "resuming at step 30" in capsys.readouterr().out and again["held_out_agreement"] == facts["held_out_agreement"]
    with pytest.raises(UserError, match="other settings"):
        train_early(str(model_folder), start, [folder], tmp_path / "work", tmp_path / "out", EarlyConfig(FIRST, rank=2), "cpu")
    one = fresh(model_folder)
    with pytest.raises(UserError, match="trained for another model"):
        ExitLayer.load(tmp_path / "out" / "early", one)
    merge_lora(one.model, tmp_path / "out" / FILE)
    assert ExitLayer.load(tmp_path / "out" / "early", one).taps == (3, 4)


def test_layers_below_the_exit_cannot_change(model_folder, folder, start, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="--first must be from 3 to 3"):
        train_early(str(model_folder), start, [folder], tmp_path, tmp_path, EarlyConfig(2), "cpu")
    flags = ["--model", str(model_folder), "--exit-layer", str(start), "--texts", str(folder), "--first", "3", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):  # the flag itself is refused
        main(["train-early", *flags, "--rank", "0"])

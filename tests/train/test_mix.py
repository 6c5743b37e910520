"""Mixing two models: the weights in between, an exit layer that fits, and clear refusals."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.files import FACTS, WEIGHTS
from eesd_core.model.load import load_target
from eesd_core.train.mix import MODEL, mix


@pytest.fixture
def two(tmp_path, model_folder):
    """The tiny model, and the same with every weight moved."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        for file in model_folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    for name in (MODEL, WEIGHTS):
        moved = {key: tensor + torch.randn(tensor.shape).to(tensor.dtype) for key, tensor in load_file(first / name).items()}
        save_file(moved, second / name, metadata={"format": "pt"})
    return first, second


def test_weights_in_between_and_an_exit_layer_that_fits(two, tmp_path):
    first, second = two
    mix(first, second, 0.25, tmp_path / "out")
    for name in (MODEL, WEIGHTS):
        ours, theirs, mixed = (load_file(folder / name) for folder in (first, second, tmp_path / "out"))
        for key, tensor in mixed.items():
            torch.testing.assert_close(tensor.float(), 0.75 * ours[key].float() + 0.25 * theirs[key].float(), rtol=1e-2, atol=1e-2)
    layer = ExitLayer.load(tmp_path / "out", load_target(tmp_path / "out", "cpu", "float32"))
    assert layer.facts["training"]["mixed"]["share_of_second"] == 0.25


def test_nothing_of_the_second_is_the_first(two, tmp_path):
    mix(*two, 0.0, tmp_path / "out")
    ours, mixed = load_file(two[0] / MODEL), load_file(tmp_path / "out" / MODEL)
    assert all(torch.equal(ours[key], mixed[key]) for key in ours)


def test_what_cannot_be_mixed_is_refused(two, tmp_path):
    with pytest.raises(UserError, match="between 0 and 1"):
        mix(*two, 1.5, tmp_path / "out")
    (two[0] / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"no exit layer in .*first"):
        mix(*two, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists() and (two[1] / FACTS).exists()

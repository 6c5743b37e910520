"""An exit layer with a twin for greedy decoding: stored in little, used where it belongs, and never in the text."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.files import WEIGHTS
from eesd_core.loading import load_engine
from eesd_core.model.load import load_target
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.simulate.courses import drafts_of
from eesd_core.timed import timed_run

SETTINGS = {"greedy": Sampling(), "sampled": Sampling(0.8, seed=3)}


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    """The tiny model with a twin whose every weight is another."""
    folder = tmp_path_factory.mktemp("twin")
    for file in model_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    target = load_target(folder, "cpu", "float32")
    layer = ExitLayer.load(folder, target)
    layer.greedy = copy.deepcopy(layer)
    for parameter in layer.greedy.parameters():
        parameter.data += parameter.abs().mean() * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
    layer.save(folder, target, {})
    return folder


def drafts(engine, sampling):
    request = Request("Once upon a time", 32, sampling, controller="fixed", settings={"length": 3})
    events = [record.event for record in engine.run(request)]
    return [event.id for event in events if event.type == "draft_token"], [i for e in events if e.type == "tokens_committed" for i in e.ids]


def test_a_saved_twin_comes_back_to_half_a_step_of_its_difference(folder, model_folder):
    target = load_target(folder, "cpu", "float32")
    layer, plain, stored = ExitLayer.load(folder, target), ExitLayer.load(model_folder, target), load_file(folder / WEIGHTS)
    assert all(torch.equal(tensor, layer.state_dict()[name]) for name, tensor in plain.state_dict().items())
    assert layer.at(0.8) is layer and layer.at(0) is layer.greedy and plain.at(0) is plain
    for name, tensor in layer.greedy.state_dict().items():
        numbers, scale = stored[f"greedy.{name}"], stored[f"greedy.{name}.scale"]
        assert numbers.dtype == torch.int8 and numbers.abs().amax() == 127
        torch.testing.assert_close(tensor - layer.state_dict()[name], numbers * scale)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.save(folder, target, {})
    again = ExitLayer.load(folder, target).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in before.items())


def test_the_twin_drafts_greedily_and_nowhere_else(folder, model_folder):
    """On fused and packed layers, as loaded; the text is vanilla's with either."""
    ours, plain = (load_engine(str(place), device="cpu", dtype="float32") for place in (folder, model_folder))
    for name, sampling in SETTINGS.items():
        (proposed, text), (others, expected) = drafts(ours, sampling), drafts(plain, sampling)
        assert text == expected
        assert (proposed == others) == (name == "sampled")


@pytest.mark.parametrize("name", SETTINGS)
def test_timed_runs_and_hindsight_use_it_too(folder, name):
    engine, sampling = load_engine(str(folder), device="cpu", dtype="float32"), SETTINGS[name]
    request = Request("Once upon a time", 32, sampling, controller="fixed", settings={"length": 3})
    rounds = [record.event for record in engine.run(request) if record.event.type == "round_verified"]
    timed, ids = timed_run(engine, request), engine.encode(request)
    assert timed.draft_lengths == [r.drafted for r in rounds] and timed.accepted == sum(r.accepted for r in rounds)
    reach, place = drafts_of(engine, ids + timed.ids, len(ids), sampling).reach, 0
    for verified in rounds:
        assert all(reach[place : place + verified.accepted])
        assert verified.accepted == verified.drafted or not reach[place + verified.accepted]
        place += verified.accepted + 1


def test_half_a_twin_is_refused_in_one_line(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / WEIGHTS)
    del tensors["greedy.norm.weight"]
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="does not fit together"):
        load_engine(str(tmp_path), device="cpu", dtype="float32")

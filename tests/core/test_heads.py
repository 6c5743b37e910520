"""Heads: their files open as they were written, those of the first format too; every kind keeps the written interface."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from eesd_core.errors import UserError
from eesd_core.heads import files
from eesd_core.heads.base import deep_rows
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.files import FACTS, WEIGHTS
from eesd_core.heads.fingerprint import fits
from eesd_core.heads.four_bits import fake_quantize, fits_4_bits
from eesd_core.heads.frozen import FrozenExit
from eesd_core.heads.hub import find_exit_layer
from eesd_core.heads.shortlist import Shortlist, Words
from eesd_core.heads.untrained import UntrainedExit
from eesd_core.model.catalog import Source
from eesd_core.model.load import load_target

LISTED = torch.arange(0, 257, 3)
SHAPES = {"plain": {}, "two layers": {"layers": 2}, "taps": {"taps": (3, 4)}, "all": {"layers": 2, "taps": (4,)}}


@pytest.fixture(scope="module")
def target(model_folder):
    return load_target(model_folder, "cpu", "float32")


def trained(target, twin=False, bits=16, **shape) -> ExitLayer:
    """An exit layer whose every weight is its own, as training leaves it."""
    layer = ExitLayer(target, 2, **shape)
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data += 0.1 * parameter.abs().mean() + 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    layer.bits = bits
    if twin:
        layer.greedy = trained(target, **shape)
    return layer


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_file_opens_as_it_was_written(target, tmp_path, shape, bits):
    layer = trained(target, True, bits, **shape)
    layer.read_only(Shortlist(target, LISTED))
    layer.save(tmp_path, target, {"why": "a test"})
    again = ExitLayer.load(tmp_path, target)
    assert (again.exit_after, again.taps, len(again.layers), again.bits) == (2, layer.taps, len(layer.layers), bits)
    assert again.facts["training"] == {"why": "a test"} and again.fingerprint
    assert torch.equal(again.shortlist.ids, LISTED) and again.at(0.0).shortlist is again.shortlist
    for ours, stored in ((layer, again), (layer.greedy, again.greedy)):
        for (name, weight), found in zip(ours.own_state().items(), stored.own_state().values()):
            rounded = fake_quantize(weight) if bits == 4 and fits_4_bits(weight) else weight.bfloat16().float()
            torch.testing.assert_close(found, rounded, rtol=0.01, atol=0.01 if ours is layer.greedy and bits == 16 else 1e-5, msg=name)
    again.save(tmp_path / "again", target, {})
    once, twice = load_file(tmp_path / WEIGHTS), load_file(tmp_path / "again" / WEIGHTS)
    assert once.keys() == twice.keys()
    if bits == 4:
        assert all(t.dtype == torch.uint8 for name, t in once.items() if name.endswith("proj.weight.q4_1"))
        assert 0.75 * (tmp_path / WEIGHTS).stat().st_size < sum(t.numel() for t in layer.state_dict().values()) * 2


def test_files_of_the_first_format_open(target, model_folder, tmp_path):
    stored = files.read(model_folder)
    first = {name.replace("layers.0.", "layer."): tensor for name, tensor in stored.weights.items()}
    facts = {name: value for name, value in stored.facts.items() if name not in ("layers", "taps", "bits")}
    save_file(first, tmp_path / WEIGHTS)
    (tmp_path / FACTS).write_text(json.dumps(facts | {"format": files.FIRST}))
    old, new = ExitLayer.load(tmp_path, target), ExitLayer.load(model_folder, target)
    assert old.fingerprint == new.fingerprint
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, old.state_dict()[name])


@pytest.mark.parametrize(
    "change", [{"layers": 3}, {"taps": [2]}, {"taps": [9]}, {"exit_after": 0}, {"layers": "x"}, {"format": "eesd-exit-layer/3"}]
)
def test_facts_that_do_not_fit_are_one_line(target, model_folder, tmp_path, change):
    shutil.copy(model_folder / WEIGHTS, tmp_path)
    (tmp_path / FACTS).write_text(json.dumps(json.loads((model_folder / FACTS).read_text()) | change))
    with pytest.raises(UserError) as caught:
        ExitLayer.load(tmp_path, target)
    assert "\n" not in str(caught.value)


def test_a_shortlist_of_another_vocabulary_is_refused(target, tmp_path):
    layer = trained(target)
    layer.save(tmp_path, target, {})
    save_file(load_file(tmp_path / WEIGHTS) | {"shortlist": torch.tensor([1, 400], dtype=torch.int32)}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="does not fit"):
        ExitLayer.load(tmp_path, target)


def test_whose_a_head_is(target, model_folder):
    """By all weights, else by the GGUF file, else by the norms."""
    facts = json.loads((model_folder / FACTS).read_text())
    assert fits(facts, target) and not fits(facts | {"base_fingerprint": "0"}, target)
    blind = facts | {"base_fingerprint": None}
    assert fits(blind, target) and not fits(blind | {"norms_fingerprint": "0"}, target)
    source, target.source = target.source, Source("m", "", "", checksum="abc")
    try:
        assert fits(blind | {"base_checksum": "abc"}, target) and not fits(blind | {"base_checksum": "abc+lora"}, target)
        assert fits(blind | {"norms_fingerprint": "0", "base_checksum": "abc"}, target)
    finally:
        target.source = replace(source)


KINDS = {
    "frozen": lambda target: FrozenExit(target, 2),
    "untrained": lambda target: UntrainedExit(target, 2),
    **{name: lambda target, shape=shape: trained(target, **shape) for name, shape in SHAPES.items()},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("listed", [False, True])
def test_every_kind_keeps_the_interface(target, kind, listed):
    """Token by token with a cache, several at once, whole rows, and along a text: the same logits."""
    head = kind(target)
    head.shortlist = Shortlist(target, LISTED) if listed else None
    generator = torch.Generator().manual_seed(1)
    ids, states = torch.randint(0, 257, (12,), generator=generator).tolist(), torch.randn(1, 12, 64, generator=generator)
    deep = torch.randn(1, 12, 64 * len(head.taps), generator=generator) if head.taps else None
    whole = head.rows(target, states, deep)[0]  # (12, V)
    cache, words, done = head.new_cache(target, 12), head.words(), 0
    for count in (5, 1, 2, 4):
        part = slice(done, done + count)
        if words:
            words.see(ids[part])
        logits = head(target, states[:, part], cache, done, deep if deep is None else deep[:, part], words)
        done += count
        expected = whole[done - 1] if words is None else whole[done - 1, words.ids]
        torch.testing.assert_close(logits[0], expected, rtol=1e-3, atol=1e-3)
        assert set(cache.lengths) == {done}
    normed = head.hidden(target, states, head.new_cache(target, 12), 0, deep)
    along = head.along(target, normed[:, 4:], ids, 4)
    for place in range(4, 12):
        if listed:
            words = Words(head.shortlist)
            words.see(ids[: place + 1])
        seen = words.ids if listed else torch.arange(257)
        torch.testing.assert_close(along[place - 4, seen], whole[place, seen], rtol=1e-3, atol=1e-3)
        assert along[place - 4].isfinite().sum() == len(seen)


def test_deep_rows_are_those_before():
    parts = [torch.arange(5.0).view(1, 5, 1) + 10 * tap for tap in (1, 2)]
    found = deep_rows(parts, torch.tensor([[0, 1, 1, 1, 4]]))
    assert found.tolist() == [[[0, 0], [10, 20], [10, 20], [10, 20], [13, 23]]]


def test_a_folder_is_found_as_it_is(tmp_path):
    assert find_exit_layer(str(tmp_path)) == tmp_path

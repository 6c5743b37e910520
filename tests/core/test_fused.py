"""Fused layers compute what transformers' modules compute, and keep every promise."""

import copy

import pytest
import torch
from tiny_families import tiny

from eesd_core.bench.runners import UntrainedExit
from eesd_core.draft.layer_skip import remaining
from eesd_core.draft.skip_set import SkipSet
from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.loading import load_engine
from eesd_core.model.attention import NAME
from eesd_core.model.cpu.fused import FusedLayer, fuse_layers
from eesd_core.model.cpu.packed_linear import pack_linears
from eesd_core.model.target import Target
from eesd_core.request import Request


def both(variant: str, engine, dtype=torch.float32) -> tuple[Target, Target]:
    model = tiny(variant).to(dtype)
    model.set_attn_implementation(NAME)
    return tuple(Target(m, engine.target.tokenizer, variant) for m in (model, copy.deepcopy(model)))


@torch.no_grad()
@pytest.mark.parametrize("variant", ["llama", "llama3 rope", "mistral", "qwen2"])
@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-4), (torch.bfloat16, 0.25)])
def test_fused_layers_are_the_modules(variant, engine, dtype, near):
    plain, fused = both(variant, engine, dtype)
    fuse_layers(fused, None)
    assert all(isinstance(layer, FusedLayer) for layer in fused.layers)
    outputs = []
    for target in (plain, fused):
        cache, parts, at = target.new_cache(80), [], 0
        for rows in (40, 1, 16, 2, 13):
            ids = list(range(40 + at, 40 + at + rows))
            parts.append(target.logits(target.run_range(0, target.depth, target.embed(ids, at), cache, at)))
            at += rows
        outputs.append(torch.cat(parts))
    scale = outputs[0].abs().max()
    torch.testing.assert_close(outputs[1] / scale, outputs[0] / scale, rtol=0, atol=near)


@torch.no_grad()
def test_copies_with_other_sub_layers_are_their_own(engine):
    """Layers that have run are copied by drafters: one skips sub-layers, another gives the last layer a cache of its own."""
    skips, outputs = SkipSet(frozenset({1, 2}), frozenset({2, 3})), []
    plain, fused = both("llama", engine)
    fuse_layers(fused, None)
    for target in (plain, fused):
        states = target.embed(list(range(40, 60)), 0)
        target.run_range(0, target.depth, states, target.new_cache(20), 0)
        skipped = target.run(remaining(target, skips), states, target.new_cache(20), 0)
        outputs.append((skipped, UntrainedExit(target, 1)(target, states, target.new_cache(20, layers=1), 0)))
    for ours, theirs in zip(*outputs):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_generate_still_works_with_fused_layers(engine):
    """transformers' own loop, cache, mask and padding, as `evaluate` uses them."""
    plain, fused = both("llama", engine)
    fuse_layers(fused, None)
    ids, mask = torch.tensor([[0, 0, 40, 41], [50, 51, 52, 53]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    for how in ("sdpa", NAME):
        texts = []
        for target in (plain, fused):
            target.model.set_attn_implementation(how)
            texts.append(target.model.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False))
        assert torch.equal(*texts)


def test_eesd_with_fused_and_packed_layers_writes_the_same(engine):
    plain, fused = both("llama", engine)
    layers = [ExitLayer(target, 2) for target in (plain, fused)]
    fuse_layers(fused, layers[1])
    for module in (fused.model, layers[1]):
        pack_linears(module)
    texts = []
    for target, layer in zip((plain, fused), layers):
        for method in ("vanilla", "eesd"):
            records = Engine(target, layer, "exact-as-observed").run(Request("Once upon a time", 40, method=method, controller="fixed"))
            texts.append([i for r in records if r.event.type == "tokens_committed" for i in r.event.ids])
    assert texts.count(texts[0]) == 4


def test_an_engine_on_the_cpu_has_fused_layers(model_folder):
    engine = load_engine(str(model_folder), device="cpu", dtype="float32")
    assert all(isinstance(layer, FusedLayer) for layer in (*engine.target.layers, *engine.exit_layer.layers))

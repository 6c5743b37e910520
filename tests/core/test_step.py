"""Steps without small operations compute what torch's layers compute, row by row, for chains and trees."""

import copy

import numpy as np
import pytest
import torch
from tiny_families import tiny
from torch import nn

from eesd_core.draft.layer_skip import SkipSet, remaining
from eesd_core.engine import Engine, Request
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.attention import NAME
from eesd_core.model.cache import RowCache
from eesd_core.model.cpu.fused import fuse_layers
from eesd_core.model.cpu.packed_linear import PackedFloatLinear, PackedLinear, PanelLinear
from eesd_core.model.target import Target

step = pytest.importorskip("eesd_core.model.cpu.step", reason="numba is not installed")


def both(variant: str, engine, dtype=torch.float32) -> tuple[Target, Target]:
    """The fused layers in torch, which are the reference, and with steps."""
    model = tiny(variant).to(dtype)
    model.set_attn_implementation(NAME)
    targets = tuple(Target(m, engine.target.tokenizer, variant) for m in (model, copy.deepcopy(model)))
    for target in targets:
        fuse_layers(target, None)
    step.take_steps(targets[1], None)
    assert targets[1].steps
    return targets


@torch.no_grad()
def logits(target: Target, sizes, cache=None) -> torch.Tensor:
    cache, parts, at = cache or target.new_cache(80), [], 0
    for rows in sizes:
        ids = list(range(40 + at, 40 + at + rows))
        parts.append(target.logits(target.run_range(0, target.depth, target.embed(ids, at), cache, at)))
        at += rows
    return torch.cat(parts)


@pytest.mark.parametrize("variant", ["llama", "llama3 rope", "mistral", "qwen2"])
@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-4), (torch.bfloat16, 0.25)])
def test_steps_are_the_layers(variant, engine, dtype, near):
    reference, ours = (logits(target, (40, 1, 16, 2, 13)) for target in both(variant, engine, dtype))
    scale = reference.abs().max()
    torch.testing.assert_close(ours / scale, reference / scale, rtol=0, atol=near)


def test_torch_layers_can_go_on_with_the_same_cache(engine):
    """For whatever runs a layer by itself, as `update` is what transformers' modules ask for."""
    reference, ours = both("llama", engine)
    cache = ours.new_cache(80)
    assert isinstance(cache, RowCache)
    expected, found = logits(reference, (40, 5)), logits(ours, (40,), cache)
    ours.steps = None
    hidden = ours.run_range(0, ours.depth, ours.embed(list(range(80, 85)), 40), cache, 40)
    torch.testing.assert_close(torch.cat([found, ours.logits(hidden)]), expected, rtol=1e-4, atol=1e-4)


class AloneLinear(nn.Linear):
    """Takes its rows one by one: what is left to depend on their number is ours."""

    def forward(self, x):
        return torch.cat([super(AloneLinear, self).forward(row) for row in x.split(1, -2)], -2)

    door = torch.float32

    def product(self, x):
        return self.forward(x)


def alone(target: Target) -> Target:
    for module in target.model.modules():
        if type(module) is nn.Linear:
            module.__class__ = AloneLinear
    return target


def test_rows_are_alike_bit_for_bit(engine, monkeypatch):
    monkeypatch.setattr(step, "product_of", lambda module: (module.forward, torch.float32))
    target = alone(both("mistral", engine)[1])
    single = logits(target, [1] * 60)
    for sizes in ([60], [2] * 30, [5, 7, 9, 11, 13, 15], [1, 16, 3, 40]):
        assert torch.equal(logits(target, sizes), single)


@torch.no_grad()
def test_a_branch_of_a_tree_is_a_chain(engine, monkeypatch):
    """Every path of a tree, bit for bit, whatever rows stand between."""
    monkeypatch.setattr(step, "product_of", lambda module: (module.forward, torch.float32))
    target = alone(both("llama", engine)[1])
    ids, parents = [50, 51, 52, 53, 54, 55, 56], (-1, 0, 0, 2, 1, 3, 3)
    cache = target.new_cache(40)
    target.run_range(0, target.depth, target.embed(list(range(40, 53)), 0), cache, 0)
    hidden = target.run(target.layers, target.embed(ids, 13), cache, 13, parents)
    for path in ((0, 1, 4), (0, 2, 3, 5), (0, 2, 3, 6)):
        cache.truncate(13)
        chain = target.run_range(0, target.depth, target.embed([ids[i] for i in path], 13), cache, 13)
        assert torch.equal(chain, hidden[:, list(path)])


def test_attention_by_threads_is_attention(monkeypatch):
    from eesd_core.model.cpu import threads
    from eesd_core.model.cpu.attention import attend

    if threads.LIBRARY is None:
        pytest.skip("torch's threads are not libgomp's here")
    random = np.random.default_rng(0)
    keys, values = (random.standard_normal((40, 3, 24), np.float32) for _ in range(2))
    queries, depths = random.standard_normal((7, 9, 24), np.float32), np.arange(7)
    outs = np.zeros((2, 7, 9 * 24), np.float32)
    given = queries, keys, values, 30, depths[None], depths, np.full(7, 20)
    attend(0, 1, 0, *given, outs[0])
    monkeypatch.setattr(threads, "_threads", lambda work, least: 2)
    threads.attend_by_threads(*given, outs[1])
    assert np.array_equal(*outs) and outs.all()


def test_exp_is_exp():
    from numba import njit

    from eesd_core.model.cpu.kernels import exp

    @njit
    def ours(x):
        return np.array([exp(v) for v in x])

    x = np.linspace(-80, 80, 4001).astype(np.float32)
    assert np.allclose(ours(x), np.exp(x.astype(np.float64)), rtol=3e-6)


@pytest.mark.parametrize("kept", [SkipSet(frozenset({1, 2}), frozenset({2, 3})), SkipSet(frozenset(), frozenset({0}))])
@torch.no_grad()
def test_skipped_sub_layers_are_skipped(engine, kept):
    outputs = []
    for target in both("llama", engine):
        states = target.embed(list(range(40, 60)), 0)
        target.run_range(0, target.depth, states, target.new_cache(20), 0)
        outputs.append(target.run(remaining(target, kept), states, target.new_cache(20), 0))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_eesd_writes_what_vanilla_writes(engine):
    model = tiny("llama")
    model.set_attn_implementation(NAME)
    target, texts = Target(model, engine.target.tokenizer, "llama"), []
    layer = ExitLayer(target, 2)
    fuse_layers(target, layer)
    step.take_steps(target, layer)
    assert isinstance(layer.norm, step.StepNorm)
    for method in ("vanilla", "eesd"):
        records = Engine(target, layer, "exact-as-observed").run(Request("Once upon a time", 40, method=method, controller="fixed"))
        texts.append([i for r in records if r.event.type == "tokens_committed" for i in r.event.ids])
    assert texts[0] == texts[1]


@torch.no_grad()
def test_long_sums_in_bf16_are_taken_in_parts():
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no native bf16")
    linear = nn.Linear(1536, 64, dtype=torch.bfloat16)
    x = torch.randn(1, 16, 1536, dtype=torch.bfloat16)
    torch.testing.assert_close(PackedLinear(linear)(x), linear(x), rtol=2e-2, atol=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("way", [PackedLinear, PanelLinear, lambda linear: PackedFloatLinear(linear, 16)])
@pytest.mark.parametrize("size", [(1, 5), (1, 300), (3, 7), (1, 0)])
@pytest.mark.parametrize("bias", [False, True])
def test_float_products_are_the_plain_ones(way, size, bias):
    linear = nn.Linear(96, 64, bias)
    x = torch.randn(*size, 96)
    torch.testing.assert_close(way(linear)(x), linear(x), rtol=1e-5, atol=1e-5)

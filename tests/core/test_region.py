"""A pass in one parallel region computes what its kernels and products compute one after the other, bit for bit."""

import copy
import weakref

import numpy as np
import pytest
import torch
from tiny_families import tiny
from torch import nn

from eesd_core.limits import MAX_ROWS
from eesd_core.model.attention import NAME
from eesd_core.model.cpu.fused import fuse_layers
from eesd_core.model.cpu.packed_linear import PanelLinear
from eesd_core.model.cpu.quantized_linear import Int4Linear, Int8Linear
from eesd_core.model.span import Segment, Span
from eesd_core.model.target import Target

step = pytest.importorskip("eesd_core.model.cpu.step", reason="numba is not installed")
PACKED = {
    "floats": PanelLinear,
    "halves": PanelLinear,
    "q8": lambda linear: Int8Linear(linear.weight),
    "q4": lambda linear: Int4Linear.of(linear.weight),
}
TREE = (-1, 0, -1, 0, 1, 4, -1)


def target_of(kind: str, engine, variant: str = "mistral") -> Target:
    """With products of this kind."""
    model = tiny(variant)
    if kind == "halves":
        model = model.bfloat16().float()
    model.set_attn_implementation(NAME)
    target = Target(model, engine.target.tokenizer, variant)
    fuse_layers(target, None)
    for layer in target.layers:
        for module in list(layer.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear:
                    setattr(module, name, PACKED[kind](child))
    step.take_steps(target, None)
    return target


def passes(target: Target) -> list[list[tuple[Span, int]]]:
    """A prompt, a plain step, a chain, a tree: of one text; and passes that two texts share."""
    one = [(Span(0), 40), (Span(40), 1), (Span(41), 5), (Span(46, TREE), len(TREE)), (Span(46), 1)]
    return [[each] for each in one] + [
        [(Span(47), 1), (Span(0), 20)],
        [(Span(48), 3), (Span(20, TREE), len(TREE))],
        [(Span(51), 1), (Span(27), 1)],
    ]


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("threads", [1, 2, 3])
@torch.no_grad()
def test_a_region_is_the_kernels_one_after_the_other(kind, threads, engine, monkeypatch):
    target = target_of(kind, engine)
    parts = [part for layer in target.layers for part in target.steps._parts_of(layer)]
    assert all(part.row is not None for part in parts)
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    caches = [[target.new_cache(80) for _ in range(2)] for _ in range(2)]  # by the region, one after the other
    generator = torch.Generator().manual_seed(1)
    for spans in passes(target):
        hidden = torch.randn(1, sum(rows for _, rows in spans), target.config.hidden_size, generator=generator)
        found = [
            go(parts, hidden, [step.Pass.of(Segment(cache, *span)) for cache, span in zip(own, spans)])
            for go, own in zip((step.run, step.run_apart), caches)
        ]
        assert torch.equal(*found) and found[0].isfinite().all()
        for ours, theirs in zip(*caches):
            assert ours.lengths == theirs.lengths
            assert all(np.array_equal(a, b) for both in zip(ours._stored, theirs._stored) for a, b in zip(*both))


@torch.no_grad()
def test_a_program_is_used_again_and_dies_with_its_cache(engine, monkeypatch):
    """Chains of the same length at other places, before and after a rollback, and of other layers."""
    target = target_of("halves", engine)
    ours, theirs, random = target.new_cache(60), target.new_cache(60), torch.Generator().manual_seed(2)
    for low, high, start, rows in (
        (0, 4, 0, 20),
        (0, 4, 20, 1),
        (0, 4, 21, 3),
        (0, 2, 24, 1),
        (0, 4, 24, 3),
        (0, 4, 27, 1),
        (2, 4, 20, 3),
        (0, 4, 20, 3),
    ):
        hidden, layers = torch.randn(1, rows, target.config.hidden_size, generator=random), target.layers[low:high]
        parts = [part for layer in layers for part in layer.parts or target.steps._parts_of(layer)]
        found = target.run_range(low, high, hidden, ours, start)
        assert torch.equal(found, step.run_apart(parts, hidden, [step.Pass.of(Segment(theirs, Span(start), rows))]))
        assert ours.lengths == theirs.lengths
    assert len(ours.programs) == 4  # of 1 and 3 rows of all layers, of 1 row of the first and of 3 rows of the last
    kept = weakref.ref(ours)
    del ours
    assert kept() is None, "no cycle: memory is free at once"


def test_windows_of_two_kinds(engine):
    """Layers that see only the latest positions stand between others."""
    target = target_of("halves", engine)
    parts = [part for layer in target.layers for part in target.steps._parts_of(layer)]
    parts[2].kind = copy.copy(parts[2].kind)._replace(window=5)
    caches, hidden = [target.new_cache(40) for _ in range(2)], torch.randn(1, 30, target.config.hidden_size)
    found = [go(parts, hidden, [step.Pass.of(Segment(cache, Span(0), 30))]) for go, cache in zip((step.run, step.run_apart), caches)]
    assert torch.equal(*found)
    parts[2].kind = parts[0].kind
    assert not torch.equal(found[0], step.run(parts, hidden, [step.Pass.of(Segment(target.new_cache(40), Span(0), 30))]))


@pytest.mark.parametrize("variant", ["qwen2", "mistral"])
@torch.no_grad()
def test_layers_with_biases_go_one_after_the_other(variant, engine):
    target = target_of("floats", engine, variant)
    fits = [part.row is not None for layer in target.layers for part in target.steps._parts_of(layer)]
    assert all(fits) == (variant == "mistral")
    assert target.run_range(0, target.depth, target.embed([5, 6, 7], 0), target.new_cache(8), 0).isfinite().all()


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("threads", [1, 2])
@torch.no_grad()
def test_a_verify_pass_is_its_layers_its_norm_and_its_head(kind, threads, engine, monkeypatch):
    """With the states that drafters want to see, of one text and of two, of chains and of trees."""
    target = target_of(kind, engine)
    head = nn.Linear(target.config.hidden_size, 64, bias=False)  # whole panels
    if kind == "halves":
        head.bfloat16().float()
    target.model.lm_head = Int8Linear(head.weight) if kind in ("q8", "q4") else PanelLinear(head)
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    caches = [[target.new_cache(80) for _ in range(2)] for _ in range(2)]
    generator = torch.Generator().manual_seed(3)
    for spans in passes(target)[1:]:
        hidden = torch.randn(1, sum(rows for _, rows in spans), target.config.hidden_size, generator=generator)
        found = []
        for own, fast in zip(caches, (True, False)):
            with monkeypatch.context() as patch:
                if not fast:
                    patch.setattr(step.Steps, "verify", lambda *_: None)
                found.append(target.verify(1, (1, 2, 3), hidden, [Segment(cache, *span) for cache, span in zip(own, spans)]))
        (logits, states), (expected, others) = found
        if hidden.shape[1] <= MAX_ROWS:
            assert target.steps.end
        assert torch.equal(logits, expected) and logits.isfinite().all()
        assert states.keys() == others.keys() == {1, 2, 3, target.depth}
        assert all(torch.equal(states[depth], others[depth]) for depth in states)
        assert all(ours.lengths == theirs.lengths for ours, theirs in zip(*caches))

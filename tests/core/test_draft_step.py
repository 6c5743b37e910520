"""A draft step in one region finds what its parts find when they are called one after the other."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.shortlist import Shortlist
from eesd_core.model.attention import NAME
from eesd_core.model.cpu.prepare import prepare
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.rounds import fold_all
from eesd_core.sampling import Sampling
from tests.tiny import byte_tokenizer, tiny_model

step = pytest.importorskip("eesd_core.model.cpu.draft_step", reason="numba is not installed")
Int8Linear = pytest.importorskip("eesd_core.model.cpu.quantized_linear").Int8Linear
SHAPES = {"plain": {}, "two layers": {"layers": 2}, "taps": {"taps": (3, 4)}}
HOWS = [Sampling(), Sampling(0.9, seed=4, min_p=0.05), Sampling(1.1, seed=2)]


def engine_of(shape: str, precision: str) -> Engine:
    model = tiny_model(1).bfloat16().float()
    model.set_attn_implementation(NAME)
    target = Target(model, byte_tokenizer(), "tiny")
    layer = ExitLayer(target, 2, **SHAPES[shape])
    if layer.taps:
        layer.mix.weight.data.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    layer.read_only(Shortlist(target, torch.arange(60, 140)))
    prepare(target, layer, quantize=precision)
    return Engine(target, layer, "exact-as-observed")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["none", "q8", "q4"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_finds_what_its_parts_find(shape, precision, threads, monkeypatch):
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    engine, near = engine_of(shape, precision), 2e-2  # a row that is rounded the other way once moves logits by as much
    for how in HOWS:
        for drafter in ("early-exit", "early-exit:4"):
            asked = Request("one two, one t", 40, how, controller="fixed", settings={"length": 3}, drafter=drafter)
            runs, drafted, same = [engine.start(asked) for _ in range(2)], 0, 0
            runs[1].drafter._step_of = lambda *_: None
            for run in runs:
                run.prefill()
            while not runs[0].ended:
                for run in runs:
                    run.round()
                made, apart = (run.drafted.nodes for run in runs)
                assert runs[0].text.ids == runs[1].text.ids
                drafted += len(made)
                for one, other in zip(made, apart):
                    if one.id != other.id:
                        break  # the next ones follow other tokens
                    assert (*one.facts, one.probability) == pytest.approx((*other.facts, other.probability), rel=near, abs=near)
                    same += 1
            assert runs[0].drafter.step and drafted > 10 and same > 0.9 * drafted


def test_where_it_cannot_be_the_parts_are_called(engine):
    """Without packed products; with a choice by top-k."""
    for target, how in ((engine, Sampling()), (engine_of("plain", "q8"), Sampling(0.8, top_k=5))):
        run = target.start(Request("one two, one t", 8, how, controller="fixed"))
        run.prefill()
        while not run.ended:
            run.round()
        assert not run.drafter.step


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_texts_that_share_a_step_find_what_their_parts_find(shape, threads, monkeypatch):
    """Texts of different lengths, with and without noise, of which some stop drafting earlier and some have missed positions."""
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    engine, traces = engine_of(shape, "q8"), []
    prompts = ["one two, one t", "a", "three, four and one more", "x y", "no no no"]
    asked = [
        Request(prompt, 24 + 3 * i, HOWS[i % 3], controller="fixed", settings={"length": 1 + i % 3}, drafter="early-exit")
        for i, prompt in enumerate(prompts)
    ]
    for apart in (False, True):
        with monkeypatch.context() as patch:
            if apart:
                patch.setattr("eesd_core.draft.early_exit.EarlyExitDrafter._step_of", lambda *_: None)
            records = list(engine.run_together(asked, 4))
        drafts = {(r.row, r.event.position, r.event.round): r.event for r in records if r.event.type == "draft_token"}
        traces.append((drafts, {lane.row: lane.token_ids for lane in fold_all(records)}))
    (one, texts), (other, others) = traces
    assert texts == others and len(texts) == len(prompts)
    same = [key for key in one if key in other and one[key].id == other[key].id]
    assert len(same) > 0.9 * len(one) > 20
    for key in same:
        ours, theirs = one[key], other[key]
        near = pytest.approx((theirs.probability, theirs.confidence, theirs.entropy), rel=1e-3, abs=1e-3)
        assert (ours.probability, ours.confidence, ours.entropy) == near


def test_a_step_reads_the_list_that_the_layer_has_now():
    engine = engine_of("plain", "q8")
    of_head = SimpleNamespace(model=SimpleNamespace(lm_head=nn.Linear(64, 257, bias=False)), device="cpu", softcap=None)
    other, found = Shortlist(of_head, torch.arange(100, 180)), []
    other.product = Int8Linear(other.product.weight)
    for words in (engine.exit_layer.shortlist, other):
        engine.exit_layer.read_only(words)
        run = engine.start(Request("one two, one t", 8, controller="fixed"))
        found.append(run.drafter._step_of(run.text).step.rows)
    assert found[1] is other.product.panels is not found[0]

"""Steps whose state is on the device write what the engine writes. Graphs themselves need CUDA; here their bookkeeping is tested."""

import pytest
import torch
from tiny_families import VARIANTS, tiny

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.frozen import FrozenExit
from eesd_core.model.attention import NAME
from eesd_core.model.cuda.graph_steps import DeviceSteps, Recorder
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.timed import timed_run

CONTROLLERS = [("fixed", {"length": 0}), ("fixed", {"length": 3}), ("fixed", {"length": 15}), ("beta", {"seed": 3}), ("ucb", {})]


def written(engine, request) -> list[int]:
    return [i for r in engine.run(request) if r.event.type == "tokens_committed" for i in r.event.ids]


@pytest.mark.parametrize("which", ["engine", "agreeing", "disagreeing"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, 0.95, 7)], ids=["greedy", "sampled"])
def test_a_timed_run_writes_what_the_engine_writes(which, sampling, request):
    engine = request.getfixturevalue(which)
    for prompt in ("x", "Once upon a time"):
        plain = Request(prompt, 40, sampling, "vanilla")
        expected = written(engine, plain)
        assert timed_run(engine, plain).ids == expected
        for name, settings in CONTROLLERS:
            timed = timed_run(engine, Request(prompt, 40, sampling, "eesd", name, settings))
            assert timed.ids == expected
            assert timed.accepted + len(timed.draft_lengths) == 40
    assert not timed.note


@pytest.mark.parametrize("length", [3, 5, 8, 15])
def test_the_context_may_be_exactly_full(agreeing, length):
    """A padded verify pass then reaches behind it."""
    request = Request("x" * 150, agreeing.target.context - 150, controller="fixed", settings={"length": length})
    assert timed_run(agreeing, request).ids == written(agreeing, request)


def test_the_exit_layer_sees_what_rounds_without_drafts_write(engine):
    """Else later drafts would attend to places that nobody filled."""
    ids = engine.encode(Request("Once upon a time"))
    steps = DeviceSteps(engine.target, engine.exit_layer, 64, Sampling())
    steps.begin(ids)
    for drafts in (0, 0, 0, 2, 0, 0, 1):
        steps.round(drafts)
    keys = steps.exit_cache.keys[0]  # (1, G, d, positions)
    assert (keys[..., : steps.start - 1].abs().amax((0, 1, 2)) > 0).all()  # the next draft fills the last place


def test_the_same_rounds(engine):
    request = Request("Once upon a time", 40, controller="fixed", settings={"length": 3})
    rounds = [r.event for r in engine.run(request) if r.event.type == "round_verified"]
    timed = timed_run(engine, request)
    assert timed.draft_lengths == [r.drafted for r in rounds] and timed.accepted == sum(r.accepted for r in rounds)


@pytest.mark.parametrize("variant", ["mistral", "gemma3", "smollm3", "gpt_neox", "gpt2"])
def test_every_kind_of_layer(variant, engine):
    assert variant in VARIANTS
    model = tiny(variant)
    model.set_attn_implementation(NAME)
    target = Target(model, engine.target.tokenizer, variant)
    for layer in (ExitLayer(target, 2), FrozenExit(target, 2)):
        own = Engine(target, layer, "exact-as-observed")
        request = Request("Once upon a time there was a king", 40, controller="fixed", settings={"length": 3})
        assert timed_run(own, request).ids == written(own, request)


def test_the_end_of_the_text_ends_a_run(engine):
    ends, request = engine.target.end_ids, Request("Once", 30, controller="fixed", settings={"length": 4})
    text = written(engine, request)
    try:
        engine.target.end_ids = frozenset([text[7]])
        assert timed_run(engine, request).ids == text[: text.index(text[7]) + 1]
    finally:
        engine.target.end_ids = ends


def test_what_needs_the_host_is_refused(engine):
    with pytest.raises(UserError, match="looks at every draft"):
        timed_run(engine, Request("Once", controller="throughput"))
    with pytest.raises(UserError, match="no chain of the exit layer"):
        timed_run(engine, Request("Once", controller="fixed", drafter="early-exit:8"))
    with pytest.raises(UserError, match="rejection sampling"):
        timed_run(engine, Request("Once", sampling=Sampling(1.0, acceptance="rejection")))


def test_one_copy_to_the_host_a_round(engine, monkeypatch):
    """Counted on the engine's tensors: a round of drafts, verification and acceptance reads the device once."""
    steps = DeviceSteps(engine.target, engine.exit_layer, 60, Sampling())
    steps.begin([40, 41, 42])
    copies = []
    for name in ("tolist", "item", "__int__", "__bool__", "__float__", "nonzero"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, _f=original, _n=name: copies.append(_n) or _f(self, *a))
    for drafts in (0, 1, 4, 8):
        copies.clear()
        steps.round(drafts)
        assert copies == ["tolist"]


def test_recording_leaves_no_trace_and_a_refusal_is_said():
    """Each function is recorded once and replayed; buffers that the warm-up changes are put back."""
    counter, calls = torch.zeros(1), []

    class Fake(Recorder):
        def _record(self, function):
            calls.append("record")
            before = [buffer.clone() for buffer in self.buffers]
            function()
            for buffer, old in zip(self.buffers, before):
                buffer.copy_(old)
            return function

    recorder = Fake([counter], True)
    for _ in range(3):
        recorder("step", lambda: counter.add_(1))
    assert counter == 3 and calls == ["record"] and not recorder.note

    class Refusing(Recorder):
        def _record(self, function):
            raise RuntimeError("operation not permitted when stream is capturing")

    recorder = Refusing([counter], True)
    recorder("step", lambda: counter.add_(1))
    assert counter == 4 and "not permitted" in recorder.note and not recorder.graphs

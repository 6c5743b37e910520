"""Drafting over a shortlist, with taps, with two layers: the text is vanilla's, drafts come from the list, and the exit layer reads what
it learned to read."""

from dataclasses import replace

import pytest
import torch

from eesd_core.engine import Engine
from eesd_core.heads.base import deep_rows
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.shortlist import Shortlist
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.simulate import courses
from eesd_core.simulate.courses import drafts_of
from eesd_core.train.lessons import states_of

LISTED = torch.arange(60, 130)
HOWS = {
    "greedy": Sampling(),
    "shared noise": Sampling(0.9, seed=4, min_p=0.05),
    "rejection": Sampling(0.9, seed=4, acceptance="rejection"),
}
SHAPES = {"list": {}, "two layers": {"layers": 2}, "taps": {"taps": (3, 4)}}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def listed(engine, request):
    layer = ExitLayer(engine.target, 2, **request.param)
    if layer.taps:
        layer.mix.weight.data.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    layer.read_only(Shortlist(engine.target, LISTED))
    return Engine(engine.target, layer, engine.level)


def request(sampling, method="eesd"):
    settings = {"settings": {"length": 3}, "controller": "fixed"} if method == "eesd" else {}
    return Request("Once upon a time", 40, sampling, method, **settings)


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS.keys())
def test_drafts_come_from_the_list_and_the_text_is_vanillas(listed, how):
    run = listed.start(request(how))
    run.prefill()
    drafted = set()
    while not run.ended:
        known = {*LISTED.tolist(), *run.text.ids}
        run.round()
        drafted |= {node.id for node in run.drafted.nodes}
        for node in run.drafted.nodes:
            assert node.id in known and (node.law is not None) == how.rejects
            if node.law:
                assert set(node.law.ids.tolist()) == known
                assert node.law.probs.sum().item() == pytest.approx(1, abs=1e-4)
                assert node.law.probs[node.law.ids == node.id].item() == pytest.approx(node.probability, abs=1e-5)
    assert drafted - set(LISTED.tolist()), "no token of the context was drafted"
    if not how.rejects:
        vanilla = listed.start(request(how, "vanilla"))
        vanilla.prefill()
        while not vanilla.ended:
            vanilla.round()
        assert run.text.ids == vanilla.text.ids


def test_a_disturbed_draft_over_a_list_knows_what_it_was_drawn_from(listed):
    disturbed = replace(request(HOWS["rejection"]), drafter="disturbed:0.5")
    run = listed.start(disturbed)
    run.prefill()
    while not run.ended:
        run.round()
        for node in run.drafted.nodes:
            assert node.law.ids is None and node.law.probs.shape == (257,) and node.law.probs.sum().item() == pytest.approx(1, abs=1e-4)


def test_deep_states_are_those_of_verified_rows(listed):
    run = listed.start(request(Sampling()))
    run.prefill()
    while not run.ended:
        run.round()
    drafter, taps = run.drafter, listed.exit_layer.taps
    seen = states_of(listed.target, torch.tensor([run.text.ids]), (*taps, 4))
    count = run.text.start
    assert drafter.verified == count and drafter.deep.shape[-1] == 64 * len(taps)
    if taps:
        expected = deep_rows([seen[tap] for tap in taps], torch.arange(count)[None])
        torch.testing.assert_close(drafter.deep[:, :count], expected, rtol=1e-3, atol=1e-3)
        inside = drafter._deep(count - 2, count + 3, count)  # while `count` is pending nothing behind count - 1 is verified
        assert torch.equal(inside[0, 2:], drafter.deep[0, [count] * 3]) and torch.equal(inside[0, 0], drafter.deep[0, count - 2])


@pytest.mark.parametrize("how", [HOWS["greedy"], HOWS["shared noise"]], ids=["greedy", "shared noise"])
def test_what_would_have_been_drafted_is_what_was(listed, how):
    """By one pass along the text. (With taps drafts depend on where rounds began, which no text tells.)"""
    if listed.exit_layer.taps:
        return
    run = listed.start(request(how))
    run.prefill()
    tested: dict[int, bool] = {}  # place in the text -> accepted
    while not run.ended:
        first = len(run.text.ids)
        run.round()
        verdict = run.judged.verdict
        tested |= {first + i: True for i in range(verdict.accepted)}
        if verdict.rejected:
            tested[first + verdict.accepted] = False
    reach = drafts_of(listed, run.text.ids, run.prompt_length, how).reach
    assert all((reach[place - run.prompt_length] > 0) == right for place, right in tested.items()) and True in tested.values()


@pytest.mark.parametrize("how", [HOWS["greedy"], HOWS["shared noise"]], ids=["greedy", "shared noise"])
def test_in_pieces_and_in_one_go_the_drafts_are_the_same(listed, how, monkeypatch):
    run = listed.start(request(how))
    run.prefill()
    while not run.ended:
        run.round()
    ids, begin = run.text.ids, run.prompt_length
    whole = drafts_of(listed, ids, begin, how)
    monkeypatch.setattr(courses, "PIECE", 7)
    pieces = drafts_of(listed, ids, begin, how)
    assert pieces.reach == whole.reach and len(whole.reach) == len(run.written)
    for name in ("confidence", "entropy", "lead"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), abs=1e-3)
    asked = []
    assert drafts_of(listed, ids, begin, how, lambda: asked.append(1) or len(asked) > 2) is None and len(asked) == 3

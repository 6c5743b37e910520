"""Glide and hidden-transfer, which run on the target's own cache (what all trained heads are tested for is in test_trained_heads.py)."""

import pytest
import torch
from head_rounds import difference, moved
from test_trees import PROMPT, RULES, lane_of
from tiny_families import tiny

from eesd_core.costs import CostTracker, Measured
from eesd_core.draft.cape import TABLE
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.glide import GlideHead
from eesd_core.heads.hidden_transfer import HiddenTransferHead
from eesd_core.limits import MAX_ROWS
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.train.lessons import states_of

KINDS = (GlideHead, HiddenTransferHead)
COSTLY = Measured(1.0, 0.1, 0.1, {1: 1.0, MAX_ROWS: 99.0}, {1: 1.0, MAX_ROWS: 99.0})  # no row pays


@pytest.fixture(scope="module")
def readers(engine) -> Engine:
    heads = {kind.kind: moved(kind(engine.target)) for kind in KINDS}
    return Engine(engine.target, None, engine.level, heads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt_neox"])  # norms in attention, windows in turns and a scaled embedding, no GQA
def test_more_families_draft_as_they_are_trained(engine, kind, family):
    other = Target(tiny(family), engine.target.tokenizer, family)
    assert difference(other, moved(kind(other)), kind.kind) < 2e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_sees_nothing_that_was_not_verified(engine, kind):
    """Neither states of the target from its round's beginning on, nor tokens behind it; but all that came before."""
    target, begins = engine.target, [9, 12, 16]
    head = moved(kind(target))
    ids = torch.randint(1, 257, (1, 20), generator=torch.Generator().manual_seed(5))
    start = torch.tensor([[max([0, *(begin for begin in begins if begin <= place)]) for place in range(20)]])
    states = states_of(target, ids, head.taps)
    plain = head.rows_hidden(target, ids, states, start)
    for at, first in ((9, 12), (13, 16)):  # what a round leaves is seen from the next one on
        other = {depth: part.clone() for depth, part in states.items()}
        for part in other.values():
            part[:, at:first] += 1
        changes = (head.rows_hidden(target, ids, other, start) - plain).abs().amax(-1)[0]
        assert not changes[:first].any() and changes[first:].all()
    other = ids.clone()
    other[:, 14] += 1
    changes = (head.rows_hidden(target, other, states, start) - plain).abs().amax(-1)[0]
    assert not changes[:14].any() and changes[14] > 0 and (kind is HiddenTransferHead or changes[15] > 0)


def test_a_draft_has_as_many_tokens_as_there_are_maps(readers):
    asked = Request(PROMPT, 24, method="eesd", controller="fixed", settings={"length": 9}, drafter="hidden-transfer")
    assert max(len(round.nodes) for round in lane_of(readers, asked).rounds) == 4


@pytest.mark.parametrize("rule", RULES)
def test_candidates_beside_a_glides_spine_are_those_of_capes_table(readers, rule):
    vanilla = lane_of(readers, Request(PROMPT, 24, RULES[rule], "vanilla")).token_ids
    asked = Request(PROMPT, 24, RULES[rule], "eesd", "fixed", {"length": 1}, drafter="glide:16:1")
    lane = lane_of(readers, asked, costs=CostTracker(COSTLY, 0))
    assert lane.token_ids == vanilla
    for round in lane.rounds:
        if round.nodes:
            assert len(round.nodes) == TABLE[int(10 * round.nodes[0].draft.confidence)] and {node.parent for node in round.nodes} == {-1}
    assert lane.rounds[0].nodes


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_do_not_fit_are_said(engine, kind):
    for settings in {GlideHead: ({"taps": [4]}, {"taps": [3, 1]}), HiddenTransferHead: ({"depth": 4}, {"places": 9}, {"places": 0})}[kind]:
        with pytest.raises(UserError):
            kind(engine.target, **settings)

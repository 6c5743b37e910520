"""Recycling: its drafts are what the target's latest pass over a token found likeliest, and its text is vanilla's."""

import json

import pytest
import torch
from test_engine import reference

from eesd_core.draft.base import LOGITS, Parts, Text
from eesd_core.draft.recycling import RecyclingDrafter
from eesd_core.draft.registry import DRAFTERS
from eesd_core.events import DraftToken, RoundVerified
from eesd_core.request import Request
from eesd_core.sampling import Sampler, Sampling
from eesd_core.verify import NOTHING

PROMPT = "one two, one two, one t"
RULES = {"greedy": Sampling(), "shared noise": Sampling(0.9, 0.95, 11), "rejection": Sampling(0.9, 0.95, 11, acceptance="rejection")}


def run(engine, sampling=RULES["greedy"], new_tokens=80, controller="fixed", rows=1, **parts):
    request = Request(PROMPT, new_tokens, sampling, controller=controller, settings={}, drafter=f"recycling:rows={rows}")
    return [r.event for r in engine.run(request, **parts)]


def written(events) -> list[int]:
    return [id for e in events if e.type == "tokens_committed" for id in e.ids]


@pytest.mark.parametrize("rule", ["greedy", "shared noise"])
def test_the_text_is_vanillas_and_some_drafts_are_right(agreeing, rule):
    for controller in ("fixed", "throughput"):
        events = run(agreeing, RULES[rule], controller=controller)
        assert written(events) == reference(agreeing, PROMPT, 80, RULES[rule])
    rounds = [e for e in run(agreeing, RULES[rule]) if isinstance(e, RoundVerified)]
    assert rounds[0].drafted == 0  # nothing was seen yet
    assert sum(r.accepted for r in rounds) > 0


def test_a_draft_is_the_likeliest_successor_of_the_latest_pass(engine):
    """Against a table that is filled from the target's choices, greedy: also those behind a rejected draft count."""
    table, pending, drafts, followed = {}, engine.target.codec.encode(PROMPT)[-1], [], 0
    for event in run(engine):
        if isinstance(event, DraftToken):
            assert event.id == table[drafts[-1] if drafts else pending]
            drafts.append(event.id)
            followed += 1
        elif isinstance(event, RoundVerified):
            table |= dict(zip([pending, *drafts], event.target_ids))
            pending, drafts = event.next_id, []
    assert followed > 20


def test_rejection_sampling_takes_its_drafts_as_definite(agreeing):
    events = run(agreeing, RULES["rejection"])
    assert len(written(events)) == 80 and any(e.drafted for e in events if isinstance(e, RoundVerified))


def test_it_goes_on_with_what_it_has_learned(engine):
    first = RecyclingDrafter(Parts(engine.target, None, 200))
    run(engine, drafter=first)
    second = RecyclingDrafter(Parts(engine.target, None, 200))
    second.restore(json.loads(json.dumps(first.state())))
    assert second.snapshot() == first.snapshot() == {"tokens": len(first.table)} and len(first.table) > 10
    rounds = [e for e in run(engine, drafter=second) if isinstance(e, RoundVerified)]
    assert rounds[0].drafted > 0


def test_it_keeps_as_many_successors_as_wanted(engine):
    drafter = RecyclingDrafter(Parts(engine.target, None, 200), 3)
    run(engine, drafter=drafter, new_tokens=8)
    assert {len(ids) for ids, _ in drafter.table.values()} == {3}
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    drafter.seen = [7]
    drafter.commit(Text([7], None, Sampler(Sampling(0.9), 3, logits.device)), [], NOTHING, {LOGITS: logits})
    assert drafter.table[7][0] == [1, 2, 0] and drafter.table[7][1] == pytest.approx(torch.log_softmax(logits[0], 0)[[1, 2, 0]].tolist())


def test_it_is_in_the_table():
    assert DRAFTERS["recycling"].about and not DRAFTERS["recycling"].needs_exit_layer

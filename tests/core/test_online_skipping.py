"""SWIFT, CLaSp, FFN-SkipLLM: their searches against plain references; and mixed drafting. What is written is vanilla's."""

import json
import math

import pytest
import torch
from test_trees import PROMPT, RULES, free_rows, lane_of
from torch.nn.functional import cosine_similarity

from eesd_core.draft.base import Parts, Room, Text
from eesd_core.draft.clasp import ClaspDrafter
from eesd_core.draft.ffn_skip import FfnSkipDrafter
from eesd_core.draft.layer_skip import remaining
from eesd_core.draft.mixed import MixedDrafter
from eesd_core.draft.skip_set import SkipSet
from eesd_core.draft.swift import SwiftDrafter, as_set
from eesd_core.draft.trained import trained_drafter
from eesd_core.engine import Engine
from eesd_core.heads.feature import FeatureHead
from eesd_core.limits import MAX_DRAFT
from eesd_core.request import Request
from eesd_core.sampling import Sampler, Sampling

DRAFTERS = ["swift:1:8", "clasp:0.5:2", "ffn-skip:0.3", "mixed:8", "mixed", "hedge", "hedge:1"]


@pytest.mark.parametrize("rule", RULES)
def test_the_text_is_vanillas(engine, rule):
    if rule == "own draw":  # but for mixed trees, chains are judged by rejection: no text to compare with
        for drafter in DRAFTERS:
            lane = lane_of(engine, Request(PROMPT, 24, RULES[rule], "eesd", "fixed", {"length": 3}, drafter=drafter))
            assert len(lane.token_ids) == 24
        return
    vanilla = lane_of(engine, Request(PROMPT, 24, RULES[rule], "vanilla")).token_ids
    for drafter in DRAFTERS:
        for controller, settings in (("throughput", {}), ("fixed", {"length": 4})):
            request = Request(PROMPT, 24, RULES[rule], "eesd", controller, settings, drafter=drafter)
            lane = lane_of(engine, request, costs=free_rows(engine, "early-exit" if "mixed" in drafter or "hedge" in drafter else ""))
            assert lane.token_ids == vanilla, drafter


def read(engine, ids) -> Text:
    target = engine.target
    text = Text(list(ids), target.new_cache(len(ids) + 20), Sampler(Sampling(), target.vocab, target.device))
    with torch.no_grad():
        target.run_range(0, target.depth, target.embed(text.ids[:-1], 0), text.cache, 0)
    return text


IDS = [*range(40, 70), 41, 42]


def test_borrowing_leaves_the_cache_as_it_was(engine):
    text = read(engine, IDS)
    before = [part.clone() for part in (*text.cache.keys, *text.cache.values)]
    with torch.no_grad():
        SwiftDrafter(Parts(engine.target, None, 99)).score(text, [("a", 1)], 9)
        ClaspDrafter(Parts(engine.target, None, 99)).search(text)
    assert text.cache.lengths == [len(IDS) - 1] * 4
    assert all(map(torch.equal, before, (*text.cache.keys, *text.cache.values)))


@torch.no_grad()
def test_a_trial_counts_the_tokens_that_the_thinner_model_would_write(engine):
    """Against the thinner model over the window, one token after the other, on the target's cache of what lies before."""
    target, text, count = engine.target, read(engine, IDS), 9
    drafter, low = SwiftDrafter(Parts(target, None, 99)), len(IDS) - 1 - 9
    for skipped in ([("a", 1), ("m", 2)], [("m", 1)], []):
        layers, cache, right = remaining(target, as_set(skipped)), read(engine, IDS).cache, 0
        cache.truncate(low)
        for place in range(low, low + count):
            hidden = target.run(layers, target.embed([IDS[place]], place), cache, place)
            right += int(target.logits(hidden).argmax()) == IDS[place + 1]
        assert drafter.score(text, skipped, count) == right / count


def test_swift_keeps_the_best_set_and_tries_sets_of_one_size(engine):
    drafter = SwiftDrafter(Parts(engine.target, None, 99), 1)
    assert drafter.size == 1 and drafter.pool == [("a", 1), ("a", 2), ("m", 1), ("m", 2)]
    drafter.prompt, text, scores = 3, Text(IDS, None, None), iter([0.5, 0.2, 0.498, 0.4])
    seen = []
    drafter.score = lambda text, skipped, count: seen.append((list(skipped), count)) or next(scores)
    for _ in range(4):
        drafter.commit(text, [], object(), {})
    assert drafter.chosen == seen[2][0]  # 0.498 is above 0.5 as it has faded
    assert drafter.best == pytest.approx(0.99 * 0.498) and all(len(skipped) == 1 and count == 24 for skipped, count in seen)
    other = SwiftDrafter(Parts(engine.target, None, 99), 1)
    other.restore(json.loads(json.dumps(drafter.state())))
    assert other.snapshot() == drafter.snapshot() and other._proposal() == drafter._proposal()


@torch.no_grad()
def test_clasps_choice_is_that_of_the_dynamic_programme(engine):
    """Every state g(i, j) by itself, one token at a time."""
    target, text = engine.target, read(engine, IDS)
    at, most = len(IDS) - 2, 2
    drafter = ClaspDrafter(Parts(target, None, 99), 0.5)
    assert drafter.skipped == most

    def layer(number, state):
        cache = read(engine, IDS).cache
        cache.truncate(at)
        return target.run([target.layers[number]], state[None, None], cache, at)[0, 0]

    true = [target.embed([IDS[at]], at)[0, 0]]
    for number in range(4):
        true.append(layer(number, true[-1]))
    best = {(0, 0): (true[0], [])}
    for i in range(4):
        for j in range(min(i + 1, most) + 1):
            options = []
            if (i, j - 1) in best:
                state, skipped = best[i, j - 1]
                options.append((state, [*skipped, i]))
            if (i, j) in best:
                state, skipped = best[i, j]
                options.append((layer(i, state), skipped))
            best[i + 1, j] = max(options, key=lambda option: cosine_similarity(option[0], true[i + 1], 0).item())
    assert drafter.search(text) == best[4, most][1]
    assert drafter.near == pytest.approx(cosine_similarity(best[4, most][0], true[4], 0).item(), abs=1e-4)


@torch.no_grad()
def test_feed_forward_layers_are_skipped_by_the_cosine(engine):
    """At a bound that nothing reaches the draft is the whole model's; at one that all reach, the layers behind the first of the middle."""
    target, text = engine.target, read(engine, IDS)
    for cosine, skips in ((1.0, SkipSet(frozenset(), frozenset())), (-1.0, SkipSet(frozenset(), frozenset([2])))):
        drafter = FfnSkipDrafter(Parts(target, None, 99), cosine, 3)
        text.cache.truncate(text.start)
        logits = target.logits(drafter._run(target.embed(text.ids[-1:], text.start), text, text.start))
        text.cache.truncate(text.start)
        expected = target.logits(target.run(remaining(target, skips), target.embed(text.ids[-1:], text.start), text.cache, text.start))
        torch.testing.assert_close(logits, expected)
        assert drafter.snapshot()["skipped"] == [float(number in skips.mlp) for number in range(4)]


def test_mixed_copies_where_that_promises_more(agreeing, monkeypatch):
    """Whoever drafted, it learns how right the copy was; and the exit layer goes on from states that copying left."""
    seen = []
    commit = MixedDrafter.commit

    def watched(self, text, nodes, verdict, states):
        commit(self, text, nodes, verdict, states)
        seen.append((self.copying, bool(self.copy), self.trust.hits))

    monkeypatch.setattr(MixedDrafter, "commit", watched)
    request = Request("one two, one two, one t", 100, Sampling(), "eesd", "fixed", {"length": 4}, drafter="mixed:8")
    lane = lane_of(agreeing, request, costs=free_rows(agreeing, "early-exit"))
    assert lane.token_ids == lane_of(agreeing, Request(request.prompt, 100, method="vanilla")).token_ids
    assert {copying for copying, _, _ in seen} == {True, False} and any(there and not copying for copying, there, _ in seen)
    fromexit = [round.accepted for round, (copying, _, _) in zip(lane.rounds, seen) if round.nodes and not copying]
    assert all(count >= len(lane.rounds[0].nodes[:4]) - 1 for count in fromexit[:-1])  # this exit layer is always right


FREE_ROOM = Room(99, (0.0,) * MAX_DRAFT)


def test_a_copy_is_as_long_as_it_has_been_right(engine):
    """After n tokens that agree the next one is right with chance 1 - 1/n; the lead tells it. Where nothing repeats, the head drafts."""
    parts = Parts(engine.target, engine.exit_layer, 200)
    drafter, long = MixedDrafter(parts, rows=1), read(engine, [1, 2, *range(40, 60), 7, *range(40, 60)])
    assert drafter.free(long, FREE_ROOM) and drafter.agreed == 20 and drafter.copy[0] == 7
    nodes = drafter.extend(long, [], 9)
    assert [node.id for node in nodes] == [7, *range(40, 48)] and drafter.extend(long, nodes, 3) == []
    assert [math.tanh(node.facts.lead / 2) for node in nodes] == pytest.approx([1 - 2 / (20 + i) for i in range(9)])
    dear = Room(99, (0.1,) * 3 + (0.9,) * (MAX_DRAFT - 3))
    assert drafter.free(long, dear) and len(drafter.extend(long, [], 9)) == 3  # the fourth is right with a chance of 0.83
    drafter = MixedDrafter(parts, rows=1)
    assert not drafter.free(read(engine, range(40, 60)), FREE_ROOM) and not drafter.copy
    drafter, failed = MixedDrafter(parts, rows=1), read(engine, [*range(40, 60), 7, 8, 9, 50, 51])
    drafter.trust.learn([(0.9, False)] * 6)
    assert not drafter.free(failed, FREE_ROOM) and drafter.agreed == 2 and drafter.copy  # it has been wrong too often


def test_a_copy_takes_no_steps_and_is_priced_so(agreeing):
    """Its time teaches nothing about the head's steps."""
    request = Request("one two, one two, one t", 60, Sampling(), "eesd", "throughput", drafter="mixed")
    run = agreeing.start(request, costs=free_rows(agreeing, "early-exit"))
    learned, priced = [], []
    run.costs.observe = lambda steps, *rest: learned.append((steps, len(run.drafted.nodes)))
    start = run.controller.start_round
    run.controller.start_round = lambda costs: priced.append(costs.draft) or start(costs)
    run.prefill()
    free = []
    while not run.ended:
        run.round()
        free.append(run.free)
    assert {True, False} == set(free)
    for was_free, (steps, nodes), price in zip(free, learned, priced):
        assert steps == (0 if was_free else nodes) and bool(price) != was_free


@pytest.mark.parametrize("rule", ["greedy", "shared noise"])
def test_the_text_is_vanillas_with_a_feature_head_too(engine, rule):
    whole = Engine(engine.target, engine.exit_layer, engine.level, {"feature": FeatureHead(engine.target)})
    sampling = Sampling() if rule == "greedy" else Sampling(0.8, seed=11)
    for prompt in (PROMPT, "Once upon a time"):
        vanilla = lane_of(whole, Request(prompt, 60, sampling, "vanilla")).token_ids
        for drafter in ("mixed:8", "mixed", "hedge", "hedge:1"):
            for controller, settings in (("tapout", {}), ("throughput", {}), ("fixed", {"length": 15})):
                request = Request(prompt, 60, sampling, "eesd", controller, settings, drafter=drafter)
                assert lane_of(whole, request, costs=free_rows(whole, "")).token_ids == vanilla, (drafter, controller)


def test_the_better_head_drafts(engine):
    head = FeatureHead(engine.target)
    parts = Parts(engine.target, engine.exit_layer, 60, {"feature": head})
    before = engine.exit_layer.facts
    try:
        for layer, own, chosen in ((None, None, "Feature"), (0.7, 0.6, "EarlyExit"), (0.5, 0.6, "Feature"), (0.5, None, "Feature")):
            engine.exit_layer.facts, head.facts = ({"training": {"held_out_agreement": share} if share else {}} for share in (layer, own))
            assert type(trained_drafter(parts, 1)).__name__ == f"{chosen}Drafter"
    finally:
        engine.exit_layer.facts = before
    assert type(trained_drafter(parts._replace(heads={}), 1)).__name__ == "EarlyExitDrafter"

"""Drafters of trees: what each one hangs beside the spine is checked against plain definitions, what is written against vanilla."""

import json

import pytest
import torch
from test_trees import PROMPT, RULES, free_rows, lane_of
from tiny_families import tiny

from eesd_core.control import Facts
from eesd_core.draft.base import Node, Parts, Room, Text
from eesd_core.draft.cape import TABLE, CapeDrafter
from eesd_core.draft.gsd import GsdDrafter
from eesd_core.draft.phrase_pool import PhrasePoolDrafter
from eesd_core.draft.pool import Pool
from eesd_core.draft.registry import DRAFTERS
from eesd_core.draft.tree import Trust, judged
from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.attention import NAME
from eesd_core.model.cache import RowCache
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.verify import Verdict, by_matching

TREES = [name for name, row in DRAFTERS.items() if not row.needs_head and any(setting.name == "rows" for setting in row.settings)]
HOW = {"beta": {}, "throughput": {}, "fixed": {"length": 3}}


@pytest.fixture(scope="module")
def stepping(engine) -> Engine:
    """The tiny model on the CPU's own steps, whose cache is written row by row."""
    step = pytest.importorskip("eesd_core.model.cpu.step", reason="numba is not installed")
    from eesd_core.model.cpu.fused import fuse_layers

    model = tiny("llama")
    model.set_attn_implementation(NAME)
    target = Target(model, engine.target.tokenizer, "llama")
    layer = ExitLayer(target, 2)
    fuse_layers(target, layer)
    step.take_steps(target, layer)
    assert isinstance(target.new_cache(8), RowCache)
    return Engine(target, layer, "exact-by-construction")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cache", ["engine", "stepping"])
def test_every_drafter_of_trees_writes_vanillas_text(cache, rule, request):
    """And siblings of several of them are accepted on the way."""
    engine, hits = request.getfixturevalue(cache), dict.fromkeys(TREES, 0)
    vanilla = lane_of(engine, Request(PROMPT, 24, RULES[rule], "vanilla")).token_ids
    for drafter in TREES:
        rows = {"early-exit": "early-exit:8", "mixed": "mixed:8"}.get(drafter, drafter)
        for controller, settings in HOW.items():
            asked = Request(PROMPT, 24, RULES[rule], "eesd", controller, settings, drafter=rows)
            lane = lane_of(engine, asked, costs=free_rows(engine, rows if DRAFTERS[drafter].needs_exit_layer else ""))
            assert lane.token_ids == vanilla, drafter
            hits[drafter] += sum(number != place for round in lane.rounds for place, number in enumerate(round.verdict.path))
            if cache == "stepping" and rule != "own draw":
                assert lane.started.level == "exact-by-construction"
    assert sum(count > 0 for count in hits.values()) > 1, hits


# The pool


def entered(ids: list[int], key: int, length: int) -> dict:
    """The definition, from the whole text at once."""
    found: dict = {}
    for place in range(key, len(ids) - length + 1):
        kept = found.setdefault(tuple(ids[place - key : place]), [])
        phrase = tuple(ids[place : place + length])
        kept[:] = [*(other for other in kept if other != phrase), phrase][-20:]
    return found


@pytest.mark.parametrize(("key", "length"), [(1, 2), (2, 4), (3, 3)])
def test_the_pool_holds_the_phrases_of_the_text_however_it_grew(key, length):
    ids = [int(c) for c in "121231212313121232121"]
    whole, pool = entered(ids, key, length), Pool(key, length)
    for end in (1, 4, 5, 5, 9, 16, len(ids)):
        pool.see(Text(ids[:end], None, None))
    assert pool.phrases == whole and pool.snapshot(str)["phrases"] == sum(map(len, whole.values()))
    other = Pool(key, length)
    other.restore(json.loads(json.dumps(pool.state())))
    assert other.phrases == pool.phrases


def test_a_phrase_has_an_age_and_hits():
    pool, text = Pool(1, 2), Text([1, 2, 3, 1], None, None)
    pool.see(text)
    assert pool.snapshot(str)["pool"] == [{"text": "23", "age": 0, "hits": 0}]
    text.ids += [2, 4, 1]  # after a 1 came one of the phrase's two tokens
    pool.round(text, [], Verdict((), 4, 1, (), ()), 0)  # as if a draft had been accepted: the round wrote 4, 1
    assert pool.snapshot(str)["pool"] == [{"text": "24", "age": 0, "hits": 0}, {"text": "23", "age": 1, "hits": 0}]
    text.ids += [2, 3, 1]
    pool.round(text, [], Verdict((0, 1), 1, 2, (), ()), 0)  # wrote 2, 3, 1: both tokens of one phrase, the first of the other
    told = {entry["text"]: (entry["age"], entry["hits"]) for entry in pool.snapshot(str)["pool"]}
    assert told == {"24": (1, 1), "23": (0, 2)}


def test_what_may_follow_is_ranked_by_phrases_newer_ones_counting_more():
    pool = Pool(1, 2)
    pool.phrases[(7,)] = [(1, 2), (3, 4), (1, 5)]
    assert [id for id, _ in pool.after([9, 7], [])] == [1, 3]
    assert dict(pool.after([7], [])) == pytest.approx({1: 1.49 / 2.19, 3: 0.7 / 2.19})
    assert [id for id, _ in pool.after([7], [1])] == [5, 2]
    assert pool.after([7], [1, 5]) == pool.after([8], []) == ()


def test_what_was_drafted_in_vain_is_kept_with_the_targets_choice_behind_it():
    pool, facts = Pool(1, 2), Facts(0, 1.0, 0.0, 0.0)
    nodes = [Node(5, -1, None, facts), Node(6, 0, None, facts), Node(8, -1, None, facts)]
    verdict = by_matching(nodes, [4, 0, 9, 3])  # all wrong: the leaves are 6 and 8
    pool.last = (2,)
    pool.learn(nodes, verdict)
    assert pool.phrases == {(2,): [(5, 6), (8, 3)], (5,): [(6, 9)]}
    pool.learn(nodes, Verdict((), 4, 0, (0,), (4,)))
    assert len(pool.phrases) == 2  # by rejection nothing is known there


def test_phrases_are_the_draft(engine):
    drafter = PhrasePoolDrafter(Parts(engine.target, None, 99), 3, 1)
    ids = [1, 2, 3, 4, 9, 2, 5, 6, 9, 2]
    text = Text(ids, None, None)
    drafter.begin(text, {})
    nodes: list[Node] = []
    while more := drafter.extend(text, nodes, 9):
        nodes += more
    assert [node.id for node in nodes] == [5, 6, 9]
    siblings = drafter.branch(text, nodes, Room(9, (0.0,) * 5))
    assert [(node.id, node.parent) for node in siblings] == [(3, -1), (4, 3), (9, 4)]


# CaPE, GSD


def spine(*places: list[tuple[int, float]]) -> list[Node]:
    return [Node(best[0][0], i - 1, None, Facts(i, best[0][1], 0.0, 0.0), ranked=tuple(best)) for i, best in enumerate(places)]


def bare(kind):
    drafter = kind.__new__(kind)
    drafter.priced, drafter.trust = 0, Trust()
    return drafter


@pytest.mark.parametrize(("t", "candidates"), [(0.05, 8), (0.29, 8), (0.3, 6), (0.65, 4), (0.8, 2), (1.0, 2)])
def test_capes_table(t, candidates):
    ranked = [(id, t if id == 0 else 0.01) for id in range(8)]
    siblings = bare(CapeDrafter).branch(None, spine(ranked), Room(9, (9.0,) * 15))
    assert len(siblings) == candidates - 1 and {node.parent for node in siblings} == {-1} and TABLE[int(10 * t)] == candidates
    assert len(bare(CapeDrafter).branch(None, spine(ranked), Room(9, (9.0,)))) == 1
    priced = bare(CapeDrafter)
    priced.priced = 1
    assert not priced.branch(None, spine(ranked), Room(9, (9.0,) * 15))


def test_a_sibling_goes_on_as_the_spine_does_behind_it():
    """the big dog runs: "a" goes on with "big dog runs"; "dog" in the first place, which stands further down, with "runs"."""
    the, big, dog, runs, a = range(5)
    nodes = spine([(the, 0.5), (a, 0.3), (dog, 0.2)], [(big, 1.0)], [(dog, 1.0)], [(runs, 1.0)])
    found = bare(GsdDrafter).branch(None, nodes, Room(9, (0.0,) * 9))
    paths = {}
    for number, node in enumerate(found, 4):
        paths[number] = (*paths.get(node.parent, ()), node.id)
    assert set(paths.values()) == {(a,), (a, big), (a, big, dog), (a, big, dog, runs), (dog,), (dog, runs)}
    assert all(node.facts.depth == len(path) - 1 for node, path in zip(found, paths.values()))


def test_trust_follows_what_came_true():
    trust = Trust()
    assert trust(0.5) == 0.5
    trust.learn([(1.0, False)] * 6)
    assert trust(0.8) == pytest.approx(0.8 * 2 / 8)
    trust.learn([(0.1, True)] * 100)
    assert trust(0.8) == 1.0
    nodes = [Node(id, parent, None, Facts(0, 0.5, 0.0, 0.0)) for id, parent in ((1, -1), (2, 0), (3, -1), (4, 2), (5, 3))]
    verdict = by_matching(nodes, [3, 0, 0, 7, 0, 0])
    assert [(node.id, hit) for node, hit in judged(nodes, verdict)] == [(1, False), (3, True), (4, False)]


def test_recycled_branches_are_the_targets_runners_up(engine):
    """Greedy, with rows for nothing: every child of a node is among what the latest pass over its token found likeliest."""
    request = Request(PROMPT, 24, Sampling(), "eesd", "fixed", {"length": 2}, drafter="recycling:3:12")
    lane = lane_of(engine, request, costs=free_rows(engine, ""))
    assert any(len(round.nodes) > 4 for round in lane.rounds)
    with torch.inference_mode():
        for round in lane.rounds:
            children: dict[int, set[int]] = {}
            for node in round.nodes:
                assert node.id not in children.setdefault(node.parent, set())
                children[node.parent].add(node.id)
            assert all(len(ids) <= 3 for ids in children.values())

"""Trees of drafts through the engine: whatever stands beside the spine, the text is vanilla's, and the caches are those of a chain."""

import itertools
import json
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_distribution import CUT, TOKENS, Chain, ChainExit, distance
from test_engine import reference
from test_verify import LAWS, PREFIXES, law_of_plain_sampling, normalised

from eesd_core.cli import main
from eesd_core.control import CONTROLLERS, Facts
from eesd_core.costs import CostTracker, Measured
from eesd_core.draft.base import Drafter, Node, Room, parents_of
from eesd_core.draft.tree import grow
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.limits import MAX_ROWS
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling
from eesd_core.verify import by_matching

PROMPT = "one two, one two, one t"
CUTS = {"top_p": 0.95, "seed": 11}
RULES = {"greedy": Sampling(), "shared noise": Sampling(0.9, **CUTS), "own draw": Sampling(0.9, **CUTS, acceptance="rejection")}
FREE = Measured(1.0, 0.1, 0.1, {1: 1.0, MAX_ROWS: 1.0}, {1: 1.0, MAX_ROWS: 1.0})  # rows cost nothing: a tree is as large as it may be


def free_rows(engine, drafter: str) -> CostTracker:
    return CostTracker(FREE, engine.exit_layer.exit_after if "early-exit" in drafter else 0)


def lane_of(engine, request: Request, **parts):
    return fold(engine.run(request, **parts), request.method)


# The rule


class Token(NamedTuple):
    id: int
    parent: int


SHAPES = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), max_size=4)


@settings(max_examples=20)
@given(st.lists(LAWS, min_size=13, max_size=13), SHAPES)
def test_the_targets_own_draw_at_every_node_has_the_targets_law(table, drawn):
    """Every outcome of every draw of a round is enumerated, then plain sampling goes on to three tokens. Paths are of two nodes at most."""
    law, nodes, prefixes = torch.zeros([3] * 3, dtype=torch.float64), [], [()]
    p = dict(zip(PREFIXES, normalised(table).tolist()))
    for id, parent in drawn:
        parent = min(parent, len(nodes) - 1)
        if len(prefixes[parent + 1]) < 2:
            nodes.append(Token(id, parent))
            prefixes.append((*prefixes[parent + 1], id))
    for choices in itertools.product(range(3), repeat=len(nodes) + 1):
        weight = math.prod(p[prefix][x] for prefix, x in zip(prefixes, choices))
        if weight:
            found = by_matching(nodes, choices)
            written = (*(nodes[i].id for i in found.path), found.next_id)
            for rest in itertools.product(range(3), repeat=3 - len(written)):
                text = (*written, *rest)
                law[text] += weight * math.prod(p[text[:i]][text[i]] for i in range(len(written), 3))
    plain = law_of_plain_sampling(dict(zip(PREFIXES, normalised(table))), 3)
    assert torch.allclose(law, plain, rtol=0, atol=1e-14)


def test_trees_without_shared_noise_have_the_targets_law_and_vanillas_text(engine):
    chain = Engine(Chain(engine.target.tokenizer), ChainExit(), "exact-as-observed")
    written = {}
    for method in ("vanilla", "eesd"):
        request = Request("-", TOKENS // 16, CUT, method, "fixed", {"length": 2} if method == "eesd" else {}, drafter="early-exit:6")
        run = chain.start(request, ids=[0], costs=CostTracker(FREE, 1))
        written[method] = [id for event in chain.events(run, request) if event.type == "tokens_committed" for id in event.ids]
    assert written["eesd"] == written["vanilla"]
    ids, vocab = torch.tensor([0, *written["eesd"]]), chain.target.vocab
    counts = torch.bincount(ids[:-1] * vocab + ids[1:], minlength=vocab**2).view(vocab, vocab)
    assert distance(counts, chain.target.table, CUT) < 1.4


# The engine, with trees made by hand


class ByHand(Drafter):
    """Knows the text. `shape`: (offset from the right token at its depth, parent) of every node; the first `spine` are the spine."""

    name = "by-hand"

    def __init__(self, text: list[int], vocab: int, shape: list[tuple[int, int]], spine: int, rows: int = MAX_ROWS):
        self.truth, self.vocab, self.shape, self.spine, self.rows = text, vocab, shape, spine, rows
        self.rooms: list[Room] = []

    def node(self, text, nodes, number: int) -> Node:
        offset, parent = self.shape[number]
        depth = nodes[parent].facts.depth + 1 if parent >= 0 else 0
        id = (self.truth[len(text.ids) + depth] + offset) % self.vocab
        return Node(id, parent, None, Facts(depth, 1.0, 0.0, 1.0, 0 if number < self.spine else 1))

    def extend(self, text, nodes, room):
        return [self.node(text, nodes, len(nodes))] if len(nodes) < self.spine else []

    def branch(self, text, nodes, room):
        self.rooms.append(room)
        nodes, spine = list(nodes), len(nodes)
        for number in range(self.spine, len(self.shape)):
            if len(nodes) - spine < len(room.prices) and spine == self.spine:
                nodes.append(self.node(text, nodes, number))
        return nodes[spine:]


def by_hand(engine, shape, spine: int, new_tokens: int = 24, **parts):
    prompt = engine.target.codec.encode(PROMPT)
    truth = prompt + reference(engine, PROMPT, new_tokens + MAX_ROWS, Sampling())
    drafter = ByHand(truth, engine.target.vocab, shape, spine, **parts)
    request = Request(PROMPT, new_tokens, controller="fixed", settings={"length": spine})
    run = engine.start(request, drafter=drafter, costs=CostTracker(FREE, 0))
    run.prefill()
    return run, truth[len(prompt) :]


def with_sibling(depth: int) -> list[tuple[int, int]]:
    """A spine of three that is wrong at `depth`, with siblings beside it: wrong ones, and the right one as the last row."""
    spine = [(int(at == depth), at - 1) for at in range(3)]
    return [*spine, (2, depth - 1), (3, depth - 1), (0, depth - 1)]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_sibling_is_accepted_at_every_depth_and_at_the_last_row(engine, depth):
    run, truth = by_hand(engine, with_sibling(depth), 3)
    assert run.round() == truth[: depth + 2]
    verdict = run.judged.verdict
    assert verdict.path == (*range(depth), 5) and verdict.next_row == 6 and not verdict.rejected
    while not run.ended:
        run.round()
    assert run.written == truth[:24]


def test_two_equal_tokens_under_different_parents(engine):
    """Wrong and right differ by what stands before them: the same token is rejected under one parent and accepted under another."""
    run, truth = by_hand(engine, [(1, -1), (0, 0), (0, -1), (0, 2)], 2)
    assert run.round() == truth[:3] and run.judged.verdict.path == (2, 3)
    assert run.drafted.nodes[1].id == run.drafted.nodes[3].id


@pytest.mark.parametrize("shape", [with_sibling(1), [(1, -1), (0, -1), (0, 1), (0, 2)], [(0, -1), (0, 0), (1, 1), (0, 1), (0, 3)]], ids=str)
def test_the_cache_behind_an_accepted_sibling_is_a_fresh_prefill(engine, shape):
    run, _ = by_hand(engine, shape, 3 if len(shape) > 5 else sum(parent == number - 1 for number, (_, parent) in enumerate(shape[:3])))
    for _ in range(3):
        run.round()
        assert any(number != place for place, number in enumerate(run.judged.verdict.path))
        target, cache = engine.target, run.text.cache
        fresh, length = target.new_cache(len(run.text.ids)), run.text.start
        with torch.no_grad():
            target.run_range(0, target.depth, target.embed(run.text.ids[:-1], 0), fresh, 0)
        assert cache.lengths == fresh.lengths == [length] * target.depth
        for ours, theirs in zip(cache.keys, fresh.keys):
            torch.testing.assert_close(ours[..., :length], theirs[..., :length], rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(cache.values, fresh.values):
            torch.testing.assert_close(ours[:, :, :length], theirs[:, :, :length], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("where", [1, 2])
def test_the_text_ends_inside_a_branch(engine, where):
    """Spine wrong at once, a branch of three right ones: the end is its first or second token, and what stands behind it is dropped."""
    _, truth = by_hand(engine, [], 0)
    old, engine.target.end_ids = engine.target.end_ids, frozenset([truth[where - 1]])
    try:
        run, _ = by_hand(engine, [(1, -1), (0, -1), (0, 1), (0, 2)], 1)
        run.drafter.truth = engine.target.codec.encode(PROMPT) + truth
        assert truth[where - 1] not in truth[: where - 1]
        assert run.round() == truth[:where] and run.ended == "eos" and run.judged.ends
        assert run.judged.verdict.path == tuple(range(1, where + 1)) and not run.judged.verdict.rejected
    finally:
        engine.target.end_ids = old


def test_a_stop_string_inside_a_branch_ends_the_text(engine):
    _, truth = by_hand(engine, [], 0)
    run, _ = by_hand(engine, [(1, -1), (0, -1), (0, 1), (0, 2)], 1)
    run.stop = (engine.target.codec.decode(truth[:2]),)
    run.watch = run._watch()
    assert run.round() == truth[:2] and run.ended == "stop"


@pytest.mark.parametrize("rows", range(1, MAX_ROWS + 1))
def test_a_budget_of_rows_is_kept(engine, rows):
    shape = [(1, -1), (1, 0), *[(offset, -1) for offset in range(2, 16)], (0, -1)]
    run, truth = by_hand(engine, shape, 2, new_tokens=6, rows=rows)
    run.round()
    assert len(run.drafted.nodes) + 1 == max(3, rows)
    assert all(len(room.prices) == max(0, rows - 3) for room in run.drafter.rooms)
    while not run.ended:
        run.round()
    assert run.written == truth[:6]


def test_no_path_is_longer_than_what_may_still_be_written(engine):
    run, truth = by_hand(engine, with_sibling(1), 3, new_tokens=9)
    depths = []
    while not run.ended:
        left = run.left
        run.round()
        depths.append((left, run.drafter.rooms[-1].depth if run.drafted.nodes else 0))
    assert run.written == truth[:9] and all(depth in (0, left - 1) for left, depth in depths)


def test_processes_that_run_one_model_agree_on_prices(engine, monkeypatch):
    """Their clocks differ, and with other prices they would draft other trees."""
    run, _ = by_hand(engine, with_sibling(1), 3)
    monkeypatch.setattr("eesd_core.run.first_ones", lambda prices: [9.0] * len(prices))
    assert run._room(3).prices == (0.0,) * 12
    monkeypatch.setattr(engine.target, "shards", 2)
    assert run._room(3).prices == (9.0,) * 12


def test_the_controller_learns_from_the_spine_alone(engine):
    """A hit on a sibling is a miss of the spine."""
    seen = []
    run, _ = by_hand(engine, with_sibling(1), 3)
    run.controller.observe = seen.append
    run.round()
    assert seen[0].drafted == 3 and seen[0].accepted == 1 and [right for _, right in seen[0].tested] == [True, False]


def test_accepted_nodes_behind_the_spine_are_not_the_controllers(engine):
    """Else its posterior would lose more rejections than it has, and nothing could be drawn from it."""
    seen = []
    run, _ = by_hand(engine, [(0, -1), (0, 0), (0, 1)], 1)
    run.controller.observe = seen.append
    run.round()
    assert run.judged.verdict.accepted == 3 and seen[0].drafted == seen[0].accepted == len(seen[0].tested) == 1


# Growing


def spine_of(*ranked: list[tuple[int, float]]) -> list[Node]:
    return [Node(best[0][0], i - 1, None, Facts(i, 0.5, 0.0, 0.0), ranked=tuple(best)) for i, best in enumerate(ranked)]


def grown(spine, prices, depth=9, **follow):
    return [(node.id, node.parent, node.facts.sibling) for node in grow(spine, Room(depth, tuple(prices)), **follow)]


def test_siblings_come_by_what_they_are_worth_and_stop_at_their_price():
    """Worth: the chances along the path. 0.3, 0.6 x 0.45 = 0.27, 0.1, 0.6 x 0.05 = 0.03."""
    spine = spine_of([(1, 0.6), (2, 0.3), (3, 0.1)], [(4, 0.5), (5, 0.45), (6, 0.05)])
    assert grown(spine, [0.0] * 9) == [(2, -1, 1), (5, 0, 1), (3, -1, 2), (6, 0, 2)]
    assert grown(spine, [0.2, 0.28, 0.0]) == [(2, -1, 1)]
    assert grown(spine, [0.31]) == grown(spine, []) == []
    assert grown(spine, [0.0] * 9, depth=1) == [(2, -1, 1), (3, -1, 2)]


def test_what_follows_a_node_is_weighed_with_its_path():
    spine = spine_of([(1, 0.6), (2, 0.4)], [(4, 1.0)])
    after = {2: [(7, 0.9), (8, 0.1)], 7: [(9, 0.5)], 4: [(5, 0.5)]}
    found = grown(spine, [0.1] * 9, follow=lambda nodes, number: after.get(nodes[number].id, ()))
    assert found == [(2, -1, 1), (7, 2, 1), (5, 1, 1), (9, 3, 1)]


def test_parents_of_rows():
    nodes = [Token(5, -1), Token(6, 0)]
    assert parents_of(nodes) == () == parents_of([])
    assert parents_of([*nodes, Token(7, 0), Token(8, -1)]) == (-1, 0, 1, 1, 0)


# Early exit with siblings


@pytest.mark.parametrize("rule", RULES)
def test_every_controller_writes_vanillas_text_with_siblings(engine, rule):
    """Where the target draws with noise of its own too: no draft moves its draws."""
    vanilla = lane_of(engine, Request(PROMPT, 32, RULES[rule], "vanilla")).token_ids
    for name in CONTROLLERS:
        request = Request(PROMPT, 32, RULES[rule], "eesd", name, {"length": 3} if name == "fixed" else {}, drafter="early-exit:8")
        lane = lane_of(engine, request, costs=free_rows(engine, "early-exit"))
        assert lane.token_ids == vanilla
        assert lane.started.level == ("same-distribution" if rule == "own draw" else "exact-as-observed")
        assert sum(round.accepted + (round.next is not None) for round in lane.rounds) == 32
        if name == "fixed":
            assert any(number != place for round in lane.rounds for place, number in enumerate(round.verdict.path))


def test_a_sibling_is_what_the_exit_layer_finds_next_best(engine):
    """And the exit layer goes on behind an accepted sibling as if it had drafted it: its drafts are those of a fresh drafter."""
    request = Request(PROMPT, 40, controller="fixed", settings={"length": 3}, drafter="early-exit:8")
    run, compared = engine.start(request, costs=free_rows(engine, "early-exit")), 0
    run.prefill()
    while run.left > 8:
        run.round()
        if any(number != place for place, number in enumerate(run.judged.verdict.path)):
            fresh = engine.start(request, ids=list(run.text.ids))
            fresh.prefill()
            with torch.inference_mode():
                ours, theirs = (dict(r.drafter.extend(r.text, [], 3)[0].ranked) for r in (run, fresh))
            assert ours == pytest.approx(theirs, abs=1e-4)
            run.text.cache.truncate(run.text.start)
            run.drafter.cache.truncate(run.text.start)
            compared += 1
    assert compared > 1


def test_rows_are_a_setting_of_the_drafter():
    assert str(Request("x", drafter="early-exit:8").drafter) == "early-exit:8"
    with pytest.raises(UserError, match="rows"):
        Request("x", drafter="early-exit:17")


def test_the_command_line_takes_rows(model_folder, capsys):
    where = ["--model", str(model_folder), "--max-new-tokens", "8", "--controller", "fixed:2", "--json"]
    assert main(["race", "x y x y", "--rows", "6", *where]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["identical"] and report["level"].startswith("exact") and report["eesd"]["drafted"] > 0
    for wrong in (["--rows", "17"], ["--rows", "4", "--drafter", "prompt-lookup"]):
        assert main(["race", "x", *wrong, *where]) == 2
        assert capsys.readouterr().err.startswith("error: ")

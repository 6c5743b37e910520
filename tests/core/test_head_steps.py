"""Steps of heads in one region find what their parts find when they are called one after the other."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import torch
from head_rounds import moved
from tiny import byte_tokenizer, tiny_model

from eesd_core.draft.in_region import SharedDrafter
from eesd_core.engine import Engine
from eesd_core.heads.frozen import FrozenExit
from eesd_core.heads.kinds import kind_of
from eesd_core.heads.shortlist import Shortlist
from eesd_core.limits import MAX_ROWS
from eesd_core.model.attention import NAME
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.run import Run
from eesd_core.sampling import Sampling
from eesd_core.together import first_step

pytest.importorskip("eesd_core.model.cpu.feature_step", reason="numba is not installed")
HOWS = [Sampling(), Sampling(0.8, seed=4, min_p=0.05), Sampling(1.1, seed=2)]
PROMPT = "one two, one two, one t"
# Settings of the heads, how near results are, and the share that is equal to 1e-4. Norms differ in their last bits, and so a few numbers
# in 8 bits by one, which moves the lead of some drafts by up to 0.03; the block's correction by the token before is itself in 8 bits.
HEADS = {
    "feature": ({"longest": 3}, 0.04, 0.7),
    "chimera": ({"longest": 2}, 0.04, 0.7),
    "block": ({"longest": 3, "rank": 48}, 0.05, 0),
    "glide": ({"taps": [1, 3]}, 0.01, 0.9),
}


def engine_of(kind: str, precision: str, listed: bool = True, **settings) -> Engine:
    from eesd_core.model.cpu.prepare import prepare

    model = tiny_model(1).bfloat16().float()
    model.set_attn_implementation(NAME)
    target = Target(model, byte_tokenizer(), "tiny")
    head = moved(kind_of(kind)(target, **settings))
    if listed:
        head.read_only(Shortlist(target, torch.arange(60, 124)))
    prepare(target, head, quantize=precision)
    return Engine(target, None, "exact-as-observed", {kind: head})


def pair(engine: Engine, drafter: str, how: Sampling, tokens: int = 40) -> list[Run]:
    """Two runs of the same request; the second calls the parts."""
    asked = Request(PROMPT, tokens, how, controller="fixed", settings={"length": 3}, drafter=drafter)
    runs = [engine.start(asked) for _ in range(2)]
    runs[1].drafter._step_of = lambda *_: None
    for run in runs:
        run.prefill()
    return runs


def compared(runs: list[Run], truth: list[int], near: float, most: float) -> None:
    """Goes on to the end. Two of five rounds draft nothing. truth: vanilla's whole text; every third round drafts its next token
    first. Both runs verify the first one's drafts, so that they stay in step where two tokens are almost equally good."""
    drafted = same = equal = accepted = number = 0
    while not runs[0].ended:
        number += 1
        for run in runs:
            run.plan()
            run.budget = 0 if number % 5 < 2 else run.budget
            for _ in run.draft():
                pass
        made, apart = (run.drafted.nodes for run in runs)
        drafted += len(made)
        for one, other in zip(made, apart):
            if one.id != other.id:
                break  # the next ones follow other tokens
            ours, theirs = (*one.facts, one.probability), (*other.facts, other.probability)
            assert ours == pytest.approx(theirs, rel=near, abs=near)
            equal += ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
            same += 1
        if number % 3 == 0 and made:
            made[0] = made[0]._replace(id=truth[len(runs[0].text.ids)])
        apart[:] = made
        for run in runs:
            run.verify()
            run.commit()
        assert runs[0].text.ids == runs[1].text.ids
        accepted += runs[0].judged.verdict.accepted
    assert runs[0].text.ids == truth
    assert runs[0].drafter.step and not runs[1].drafter.step
    assert drafted > 10 and same > 0.9 * drafted and accepted
    assert equal > most * same
    drafters = [run.drafter for run in runs]
    drafters[0]._settle()
    first, second = (drafter.memory[0, : drafter.verified + 1] for drafter in drafters)
    assert first.shape == second.shape
    torch.testing.assert_close(first, second, rtol=0, atol=0.05)  # of values of about 1, behind 8 bits


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("precision", ["none", "q8", "q4"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_finds_what_its_parts_find(kind, precision, threads, monkeypatch):
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    settings, near, most = HEADS[kind]
    engine = engine_of(kind, precision, **settings)
    for how in HOWS:
        truth = engine.start(Request(PROMPT, 40, how, method="vanilla"))
        truth.prefill()
        while not truth.ended:
            truth.round()
        for drafter in (kind, f"{kind}:4"):
            compared(pair(engine, drafter, how), truth.text.ids, near, most)


ODD = {"feature": [(False, {}), (True, {"gated": 1})], "chimera": [(False, {}), (True, {"mlp": 40})], "block": [(True, {"rank": 9})]}


@pytest.mark.parametrize("kind, listed, settings", [(kind, *odd) for kind in ODD for odd in ODD[kind]])
def test_where_it_cannot_be_the_parts_are_called(kind, listed, settings):
    """A list or a map that does not fill its panels; a gated head."""
    run = engine_of(kind, "q8", listed, **settings).start(Request(PROMPT, 8, controller="fixed", drafter=kind))
    run.prefill()
    while not run.ended:
        run.round()
    assert not run.drafter.step and run.drafter.verified == run.text.start


@pytest.mark.parametrize("kind", HEADS)
def test_a_text_that_is_cut_back_begins_again(kind):
    engine, texts = engine_of(kind, "q8", **HEADS[kind][0]), []
    run = engine.start(Request(PROMPT, 24, HOWS[1], controller="fixed", settings={"length": 2}, drafter=kind))
    run.prefill()
    for _ in range(2):
        while not run.ended:
            run.round()
        run.drafter._settle()
        remembered = run.drafter.verified if run.drafter.taps else 0
        texts.append((run.text.ids, run.drafter.memory[0, : remembered + 1].clone()))
        run.rewind(HOWS[1])
    assert texts[0][0] == texts[1][0]
    assert torch.equal(texts[0][1], texts[1][1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("drafter", ["feature", "feature:4"])
def test_a_feature_head_reads_on_in_one_region(threads, drafter, monkeypatch):
    monkeypatch.setattr("eesd_core.model.cpu.threads._threads", lambda work, least: threads)
    engine, read, same = engine_of("feature", "q8", longest=3), 0, 0
    for how in HOWS:
        runs = pair(engine, drafter, how)
        for number in count():
            for run in runs:
                run.plan()
                run.budget = 0 if number % 3 else run.budget
                list(run.draft())
                run.verify()
                run.commit()
            if runs[0].ended:
                break
            if number % 4 < 2 and runs[0].drafter.cache.lengths[0] < runs[0].text.start:
                with torch.inference_mode():
                    (first, ours), (place, theirs) = (run.drafter.read_on(run.text) for run in runs)
                assert first == place and first + len(ours) == first + len(theirs) == len(runs[0].text.ids)
                read, same = read + len(ours), same + sum(map(int.__eq__, ours, theirs))
        keys, others = (run.drafter.cache.keys[0][:, :, : run.text.start] for run in runs)
        torch.testing.assert_close(keys, others, rtol=0, atol=0.05)
    assert read > 20 and same > 0.9 * read


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("rounds", [MAX_ROWS // 2, MAX_ROWS + 4])
def test_rows_wait_over_rounds_without_drafts(kind, rounds):
    """More in all than a region can read, or more of each text than may wait."""
    settings, near, _ = HEADS[kind]
    engine = engine_of(kind, "q8", **settings)
    pairs = [pair(engine, kind, how, 2 * rounds) for how in HOWS]
    for run in (run for both in pairs for run in both):
        for drafts in [0] * rounds + [3]:
            run.plan()
            run.budget = drafts
            if not drafts:
                list(run.draft())
                run.verify()
                run.commit()
    ours = [run for run, _ in pairs]
    if kind != "glide":
        assert all(sum(len(fresh.rows) for fresh in run.drafter.waiting) == rounds % MAX_ROWS for run in ours)
    if isinstance(ours[0].drafter, SharedDrafter):
        with torch.inference_mode():
            ours[0].drafter.step_together([first_step(run) for run in ours])
        assert all(run.drafter.ready for run in ours)
    for run, parts in pairs:
        drafted = [[(node.id, *node.facts) for node, _ in each.draft()] for each in (run, parts)]
        assert len(drafted[0]) == len(drafted[1]) == 3
        for one, other in zip(*drafted):
            assert one == pytest.approx(other, rel=near, abs=near)


@pytest.mark.parametrize("drafter", ["hedge", "hedge:1", "mixed:8", "mixed"])
def test_drafters_that_copy_too_do_what_they_do_with_its_parts(drafter):
    """The head reads on behind rounds that copied or drafted nothing; then the text is cut back."""
    engine = engine_of("feature", "q8", **HEADS["feature"][0])
    engine.exit_layer, copied, drafted = FrozenExit(engine.target, 2), 0, 0
    for how in HOWS:
        asked = Request(PROMPT, 40, how, controller="fixed", settings={"length": 4}, drafter=drafter)
        runs = [engine.start(asked) for _ in range(2)]
        runs[1].drafter.head._step_of = lambda *_: None
        for run in runs:
            run.costs.observe = lambda *_: None  # a copy ends where a row is not worth its price, so clocks would tell them apart
            run.costs.verify, run.costs.tokens, run.costs.seconds = tuple(1 + 0.01 * row for row in range(MAX_ROWS)), 1, 1.0
            run.prefill()
        for _ in range(2):
            for number in count():
                for run in runs:
                    run.plan()
                    run.budget = 0 if number % 3 == 1 else run.budget
                    list(run.draft())
                    run.verify()
                    run.commit()
                assert runs[0].drafted.ids == runs[1].drafted.ids and runs[0].free == runs[1].free
                assert runs[0].drafter.snapshot() == runs[1].drafter.snapshot()
                copied, drafted = copied + runs[0].free, drafted + (not runs[0].free and bool(runs[0].drafted.nodes))
                if runs[0].ended:
                    break
            assert runs[0].text.ids == runs[1].text.ids and runs[0].drafter.head.step
            if "hedge" in drafter:
                assert {len(ids) for ids, _ in runs[0].drafter.others["recycling"].table.values()} == {8}
            for run in runs:
                run.rewind(how)
    assert copied > 5 and drafted > 5


def drafts_of(records) -> dict[tuple[int, int, int], tuple]:
    """By row of the request, round and position."""
    events = [(record.row, record.event) for record in records if record.event.type == "draft_token"]
    return {(row, event.round, event.position): (event.id, event.probability, event.entropy) for row, event in events}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("padded", [False, True])
def test_texts_that_share_a_step_draft_what_they_draft_alone(kind, padded):
    engine = engine_of(kind, "q8", **HEADS[kind][0])
    prompts = ["one two, one t", "a", "three, four and one more"]
    asked = [
        Request(prompt, 16 + 4 * i, how, controller="fixed", settings={"length": 1 + i}, drafter=kind)
        for i, (prompt, how) in enumerate(zip(prompts, HOWS))
    ]
    together = drafts_of(engine.run_together(asked, 3, padded=padded))
    alone = {(i, *at): drafted for i, request in enumerate(asked) for (_, *at), drafted in drafts_of(engine.run(request)).items()}
    assert together == alone and len(alone) > 20


@pytest.mark.parametrize("kind", HEADS)
def test_a_run_may_go_from_thread_to_thread(kind):
    engine, found = engine_of(kind, "q8", **HEADS[kind][0]), []
    for threads in (1, 2):
        run = engine.start(Request(PROMPT, 24, HOWS[1], controller="fixed", settings={"length": 3}, drafter=kind))
        pools = [ThreadPoolExecutor(1) for _ in range(threads)]
        pools[0].submit(run.prefill).result()
        drafted, turns = [], count()
        while not run.ended:
            run.plan()
            drafting = run.draft()
            while pools[next(turns) % threads].submit(next, drafting, None).result():
                pass
            drafted.append([(node.id, node.probability) for node in run.drafted.nodes])
            run.verify()
            run.commit()
        found.append(drafted)
        for pool in pools:
            pool.shutdown()
    assert found[0] == found[1]

"""Texts that share passes write what each writes alone, whoever else is there, comes or goes."""

import json
from collections import defaultdict
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_step import both
from tiny_families import VARIANTS, tiny

from eesd_core import together as batch_module
from eesd_core.bench.batch_suite import batch_suite
from eesd_core.bench.prompts import Prompt
from eesd_core.cli import main
from eesd_core.clock import Clock
from eesd_core.costs import SharedCosts
from eesd_core.draft.early_exit import EarlyExitDrafter
from eesd_core.draft.feature import FeatureDrafter
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.forms import race_forms
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.limits import MAX_ROWS
from eesd_core.loading import load_engine
from eesd_core.model.attention import NAME
from eesd_core.model.span import Segment, Span, packed
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.rounds import Lane, fold, fold_all
from eesd_core.sampling import Sampling
from eesd_core.schema import Check
from eesd_core.together import first_step
from eesd_core.trace import to_line

GREEDY, DRAWN = Sampling(), Sampling(0.8, seed=3)
PROMPTS = [
    "Once upon a time there was a cat", "The little dog", "Tom and Anna went to the park. They", "x",
    "One day, a big bear", "Lily had", "It was dark and", "Mom said",
]  # fmt: skip
METHODS = [("vanilla", {}), ("fixed", {"length": 3}), ("beta", {}), ("throughput", {})]


def requests(method: str, settings: dict, sampling: Sampling, new_tokens: int, **more) -> list[Request]:
    """Of different lengths, so that texts end one after the other."""
    how = {"method": "vanilla"} if method == "vanilla" else {"controller": method, "settings": settings}
    return [Request(prompt, new_tokens + number, sampling, **how, **more) for number, prompt in enumerate(PROMPTS)]


def alone(engine: Engine, request: Request) -> list[int]:
    return fold(engine.run(request), request.method).token_ids


def lanes(records) -> dict[int, Lane]:
    return {lane.row: lane for lane in fold_all(records)}


def together(engine: Engine, asked: list[Request], batch: int, **how) -> list[list[int]]:
    found = lanes(engine.run_together(asked, batch, **how))
    assert all(lane.finished for lane in found.values())
    return [found[row].token_ids for row in range(len(asked))]


@pytest.fixture(scope="module")
def storyteller(embedded) -> Engine:
    return load_engine()


@pytest.fixture(scope="module")
def grouped(engine) -> Engine:
    """Our attention in torch, over several caches in one pass."""
    model = tiny("llama")
    model.set_attn_implementation(NAME)
    target = Target(model, engine.target.tokenizer, "llama")
    return Engine(target, ExitLayer(target, 2), "exact-as-observed")


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("method, how", METHODS, ids=[name for name, _ in METHODS])
def test_texts_of_the_storyteller(storyteller, method, how, sampling):
    asked = requests(method, how, sampling, 6)
    expected = [alone(storyteller, request) for request in asked]
    for batch in (1, 2, 4, 8):
        texts = batch + (batch < 8)  # one has to wait
        assert together(storyteller, asked[:texts], batch) == expected[:texts]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("method, how", [("fixed", {"length": 3}), ("beta", {}), ("throughput", {})])
def test_texts_that_share_the_feature_heads_steps(storyteller, method, how, sampling, padded):
    """Long enough that rounds differ; all texts draft together, and three have to wait."""
    asked = requests(method, how, sampling, 24, drafter="feature")
    expected = [alone(storyteller, request) for request in asked]
    for batch in (2, 5):
        assert together(storyteller, asked, batch, padded=padded) == expected


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_of_the_feature_head_has_the_texts_that_go_on(storyteller, monkeypatch, padded):
    """Three steps: two texts of three draft in the first, one in the others; none follows. Without padding nothing else has rows."""
    pytest.importorskip("numba")
    told, learn, asked_of, step = [], SharedCosts.learn, [], FeatureDrafter.step_together
    monkeypatch.setattr(SharedCosts, "learn", lambda self, *what: told.append((self.texts, what)) or learn(self, *what))
    monkeypatch.setattr(FeatureDrafter, "step_together", staticmethod(lambda steps: asked_of.append(len(steps)) or step(steps)))
    asked = [Request("Once", 50, controller="fixed", settings={"length": n}, drafter="feature") for n in (3, 1, 0)]
    list(islice(storyteller.run_together(asked, 3, padded=padded), 60))
    assert len(told) > 1
    for texts, (steps, rows, verified, rest) in told:
        assert texts == 3 and [drafted for drafted, _ in steps] == [2, 1, 1] and rows == (12 if padded else 4 + 2 + 1)
        assert verified > 0 and rest > 0
    assert asked_of[:6] == ([3] * 6 if padded else [2, 1, 1] * 2)


def test_the_feature_head_reads_on_after_rounds_without_drafts(storyteller):
    """More than fit in a step, and in a step of two texts, whose drafts are then as alone."""
    runs = [[storyteller.start(request) for request in requests("fixed", {"length": 2}, GREEDY, 60, drafter="feature")[:2]] for _ in "ab"]
    for run in (*runs[0], *runs[1]):
        run.prefill()
        for _ in range(MAX_ROWS + 4 if run.prompt_length > 5 else 9):
            run.plan()
            run.budget = 0
            assert not list(run.draft())
            run.verify()
            run.commit()
        run.plan()
    first, second = runs
    for run in first:
        assert run.text.start - run.drafter.cache.lengths[0] >= 9
        assert list(run.draft())
    drafts = [run.draft() for run in second]
    with torch.inference_mode():
        second[0].drafter.step_together([first_step(run) for run in second])
    assert all(run.drafter.ready for run in second) == bool(second[0].target.steps)
    for drafting in drafts:
        list(drafting)
    assert [[node.id for node in run.drafted.nodes] for run in first] == [[node.id for node in run.drafted.nodes] for run in second]


@pytest.mark.parametrize("which, sampling", [("engine", DRAWN), ("grouped", GREEDY), ("agreeing", GREEDY), ("disagreeing", DRAWN)])
def test_texts_of_tiny_models(which, sampling, request):
    """Each with another method; three have to wait."""
    engine = request.getfixturevalue(which)
    asked = [requests(*METHODS[number % len(METHODS)], sampling, 8)[number] for number in range(len(PROMPTS))]
    assert together(engine, asked, 5) == [alone(engine, one) for one in asked]


@pytest.mark.parametrize("drafter", ["early-exit:6", "prompt-lookup", "layer-skip", "recycling", "disturbed:0.5", "mixed:8"])
def test_drafters_that_draft_alone(engine, drafter):
    asked = [*requests("beta", {}, GREEDY, 9, drafter=drafter)[:2], *requests("fixed", {"length": 4}, GREEDY, 9)[2:4]]
    assert together(engine, asked, 3) == [alone(engine, request) for request in asked]


def test_texts_of_all_kinds_share_passes(engine):
    """Methods, rules and ends, mixed: rejection sampling too, as long as its drafts are the same."""
    kinds = [
        requests("vanilla", {}, GREEDY, 14)[0], requests("beta", {}, DRAWN, 14)[1],
        requests("fixed", {"length": 15}, Sampling(0.7, seed=1, acceptance="rejection"), 30)[2],
        requests("fixed", {"length": 0}, GREEDY, 9)[3], requests("fixed", {"length": 5}, GREEDY, 1)[0],
    ]  # fmt: skip
    text = fold(engine.run(kinds[1]), "eesd").text
    kinds.append(Request(PROMPTS[1], 15, DRAWN, stop=(text[3:6],)))
    assert together(engine, kinds, 6) == [alone(engine, request) for request in kinds]


@pytest.fixture
def passes(monkeypatch) -> list[tuple[int | str | None, list[int]]]:
    """Of every shared pass: number of its first layer in the target (None: the exit layer's), and rows of each text. A verify pass is
    "verify", or "whole" from the first layer on."""
    seen, run, verify, verifying = [], Target.run_together, batch_module.verify_together, []

    def counted(self, layers, hidden, segments):
        if not verifying:
            number = next((number for number, layer in enumerate(self.layers) if layer is layers[0]), None)
            seen.append((number, [segment.rows for segment in segments]))
        return run(self, layers, hidden, segments)

    def verified(runs):
        seen.append(("verify" if runs[0].low else "whole", [run.rows().shape[1] for run in runs]))
        verifying.append(runs)
        verify(runs)
        verifying.clear()

    monkeypatch.setattr(Target, "run_together", counted)
    monkeypatch.setattr(batch_module, "verify_together", verified)
    return seen


@pytest.mark.parametrize("which", ["engine", "grouped"])
def test_padding_changes_no_text(which, request):
    engine = request.getfixturevalue(which)
    asked = [requests(*METHODS[number % len(METHODS)], DRAWN, 8)[number] for number in range(6)]
    assert together(engine, asked, 4, padded=True) == [alone(engine, one) for one in asked]


def test_padding_is_computed(engine, passes):
    """Drafts of 3 and 1, the second text shorter: both have as many rows as the one with most, to the end."""
    asked = [Request("x", n, controller="fixed", settings={"length": k}) for n, k in ((9, 3), (2, 1))]
    expected = [alone(engine, one) for one in asked]
    assert together(engine, asked, 2, padded=True) == expected
    assert all(rows == [1, 1] for layer, rows in passes if layer == 0)
    verified = [rows for layer, rows in passes if layer == "verify"]
    assert verified[0] == [4, 4] and all(first == second for first, second in verified)
    passes.clear()
    assert together(engine, asked, 2) == expected
    assert next(rows for layer, rows in passes if layer == "verify") == [4, 2] and len(passes[-1][1]) == 1


class Visitors:
    """Requests that come between rounds: `gaps[i]` times nobody waits, then request i does."""

    def __init__(self, asked: list[Request], gaps: list[int]):
        self.calls = iter([call for request, gap in zip(asked, gaps) for call in ([None] * gap + [request])])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.calls)


# A visit: prompt, length, rounds before it comes, rounds after which it leaves, drafts, greedy or not.
VISIT = st.tuples(st.integers(0, 7), st.integers(1, 20), st.integers(0, 3), st.integers(0, 9), st.integers(0, 5), st.booleans())
VISITS = st.lists(VISIT, min_size=1, max_size=6), st.integers(1, 5), st.booleans()  # and how many at a time, padded or not


@given(*VISITS)
@example([(0, 8, 0, 9, 3, False), (1, 12, 0, 2, 3, True), (2, 12, 3, 9, 15, False), (4, 9, 0, 0, 2, True)], 2, True)
@settings(max_examples=20)
def test_joins_ends_and_stops_change_no_other_text(engine, visits, batch, padded):
    visited(engine, visits, batch, padded, "early-exit")


@given(*VISITS)
@settings(max_examples=10, deadline=None)
def test_joins_ends_and_stops_with_the_feature_head(storyteller, visits, batch, padded):
    visited(storyteller, visits, batch, padded, "feature")


def visited(engine: Engine, visits: list[tuple], batch: int, padded: bool, drafter: str) -> None:
    asked, gaps, leave = [], [0], []
    for prompt, new_tokens, gap, rounds, drafts, greedy in visits:
        sampling = GREEDY if greedy else DRAWN
        asked.append(Request(PROMPTS[prompt], new_tokens, sampling, controller="fixed", settings={"length": drafts}, drafter=drafter))
        gaps.append(gap)
        leave.append(rounds)
    rounds_of: dict[int, int] = defaultdict(int)

    def cancelled(row: int) -> bool:
        rounds_of[row] += 1
        return rounds_of[row] > leave[row]

    records = list(engine.run_together(Visitors(asked, gaps), batch, cancelled=cancelled, padded=padded))
    check, found = Check(), lanes(records)
    for record in records:
        check.see(json.loads(to_line(record)))
    for row, lane in found.items():  # where nobody was left before the next one came, that was the end
        expected = alone(engine, asked[row])
        assert lane.token_ids == (expected if lane.finished else expected[: len(lane.token_ids)])
        assert lane.finished or len(lane.rounds) == leave[row]
    assert list(found) == list(range(len(found)))


@pytest.mark.parametrize("padded", [False, True])
def test_a_request_that_cannot_be_run_fails_alone(engine, monkeypatch, padded):
    """One too long for the model, one whose prefill fails, among three that can be run; as they come, and with somebody to tell."""
    asked = requests("beta", {}, GREEDY, 8)[:3]
    expected = [alone(engine, request) for request in asked]
    asked[1:1] = [Request("x", 100_000), Request("It breaks", 5)]
    begin = EarlyExitDrafter.begin

    def breaks(self, text, seen):
        if text.ids == engine.encode(asked[2]):
            raise RuntimeError("out of memory")
        begin(self, text, seen)

    monkeypatch.setattr(EarlyExitDrafter, "begin", breaks)
    refused = {}
    found = lanes(engine.run_together(asked, 2, padded=padded, refused=refused.__setitem__))
    assert [type(refused[row]) for row in (1, 2)] == [UserError, RuntimeError] and len(refused) == 2
    assert [found[row].token_ids for row in (0, 3, 4)] == expected and len(found) == 3
    stream, records = engine.run_together(asked, 2, padded=padded), []
    with pytest.raises(UserError, match="context"):  # in the end
        for record in stream:
            records.append(record)
    assert [lanes(records)[row].token_ids for row in (0, 3, 4)] == expected


@pytest.mark.parametrize("padded", [False, True])
def test_a_trace_says_which_passes_a_text_was_in(engine, passes, padded):
    """The passes of three texts, two at a time, from what their traces say: as they were."""
    asked = [Request("x", n, controller="fixed", settings={"length": k}) for n, k in ((6, 2), (9, 1), (4, 3))]
    clock = Clock()
    found = lanes(engine.run_together(asked, 2, clock=clock, padded=padded))
    sizes = defaultdict(list)
    for lane in found.values():
        place = lane.started.settings["together"]
        assert (place["texts"], place["padded"]) == (2, padded) and 0 <= place["since"] + lane.clock <= clock.seconds
        for number, round in enumerate(lane.rounds, place["first_pass"]):
            sizes[number].append(1 + round.drafted)
    verified = [rows for layer, rows in passes if layer in ("verify", "whole")]
    expected = [[max(rows)] * 2 for rows in sizes.values()] if padded else list(sizes.values())
    assert list(map(sorted, verified)) == list(map(sorted, expected))
    assert found[2].started.settings["together"]["first_pass"] > 0 == found[1].started.settings["together"]["first_pass"]


@pytest.mark.parametrize("sampling", [DRAWN, Sampling(0.8, seed=3, acceptance="rejection")])
def test_three_forms_write_the_same_texts(engine, sampling):
    asked = requests("fixed", {"length": 2}, sampling, 6)[:3]
    said = list(race_forms(engine, asked))
    rows = said.pop()["rows"]
    for row, form in zip(rows, ("ems", "padded", "vanilla"), strict=True):
        plain = [replace(request, method="vanilla") if form == "vanilla" else request for request in asked]
        texts = [lane.token_ids for lane in fold_all(said) if lane.name == form]
        assert texts == [alone(engine, request) for request in plain]
        assert row["form"] == form and row["tokens"] == sum(map(len, texts))
        assert row["tokens_per_second"] == row["tokens"] / row["seconds"]
        assert row["identical"] is (None if sampling.rejects else True)
    assert not any(isinstance(one, dict) for one in race_forms(engine, asked, lambda: True))


def test_a_text_that_has_ended_has_no_rows(engine, passes):
    asked = [Request("x", n, controller="fixed", settings={"length": 0}) for n in (2, 4)]
    together(engine, asked, 2)
    assert passes == [("whole", [1, 1])] * 2 + [("whole", [1])] * 2  # nor first layers of their own, since none drafts


def test_no_pass_has_more_rows_than_were_tried(engine, passes):
    asked = requests("fixed", {"length": 6}, GREEDY, 7)
    assert together(engine, asked, 8) == [alone(engine, request) for request in asked]
    assert max(sum(rows) for _, rows in passes) <= MAX_ROWS < 8 * 7


@given(st.lists(st.integers(1, MAX_ROWS), max_size=16))
def test_packing(sizes):
    passes = packed(sizes)
    assert sorted(number for one in passes for number in one) == list(range(len(sizes)))
    rows = [sum(sizes[number] for number in one) for one in passes]
    assert all(0 < count <= MAX_ROWS for count in rows)
    assert all(a + b > MAX_ROWS for a, b in pairwise(rows))


def test_each_text_has_its_own_clock(engine):
    clock = Clock()
    records = list(engine.run_together(requests("beta", {}, GREEDY, 8), 3, clock=clock))
    for lane in lanes(records).values():
        assert lane.started and lane.prefill.seconds > 0 and 0 < lane.clock <= clock.seconds
        shares = sum(round.verdict.draft_seconds + round.verdict.verify_seconds for round in lane.rounds)
        assert shares < lane.clock
    first = [record for record in records if record.row == 0]
    assert [record.seq for record in first] == list(range(len(first)))


def test_bad_numbers_of_texts(engine):
    for batch in (0, 17, 2.0, True):
        with pytest.raises(UserError, match="from 1 to 16"):
            engine.run_together([], batch)
    assert list(engine.run_together([], 1)) == []


@pytest.fixture
def call(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(list(arguments))
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "few.jsonl"
    lines = [{"prompt": "Once"}, {"prompt": "a\x1b[31mb", "id": "red", "chat": True}, {"prompt": "x y z", "id": "last"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize("form", ["ems", "padded"])
def test_the_command(call, model_folder, prompts, tmp_path, form):
    trace, table = tmp_path / "texts.ndjson", tmp_path / "texts.csv"
    asked = ["--model", str(model_folder), "--max-new-tokens", "9", "--temperature", "0.8", "--seed", "4", "--json"]
    status, out, _ = call("together", "--prompts", str(prompts), "--batch", "2", "--form", form, "--trace", str(trace), *asked)
    report = json.loads(out.splitlines()[-1])
    assert status == 0 and [text["id"] for text in report["texts"]] == ["few-0", "red", "last"] and "\x1b" not in out
    assert report["batch"] == 2 and report["form"] == form and report["tokens_per_second"] > 0
    alone = json.loads(call("generate", "x y z", *asked)[1].splitlines()[-1])
    assert {name: report["texts"][2][name] for name in ("token_ids", "text")} == {name: alone[name] for name in ("token_ids", "text")}
    assert call("export", str(trace), "--format", "csv", "--out", str(table))[0] == 0
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    written = [[int(id) for row in rows if row[1] == str(text) for id in row[-1].split()] for text in (1, 2, 3)]
    assert written == [text["token_ids"] for text in report["texts"]]
    assert call("export", str(trace), "--format", "perfetto", "--out", str(table))[0] == 0
    names = [event["args"]["name"] for event in json.loads(table.read_text())["traceEvents"] if event["name"] == "process_name"]
    assert len(names) == 3
    assert "the first of 3 texts" in call("replay", str(trace), "--speed", "0")[1]


def test_mistakes_are_one_clear_line(call, model_folder, prompts, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text("{")
    for arguments in (
        ["--batch", "0"], ["--batch", "17"], ["--batch", "two"], ["--form", "wide"], ["--limit", "0"], ["--max-new-tokens", "0"],
        ["--prompts", str(tmp_path / "nowhere")], ["--prompts", str(tmp_path / "empty.jsonl")],
        ["--prompts", str(tmp_path / "broken.jsonl")], ["--trace", "/nowhere/x.ndjson"], ["--max-new-tokens", "190"],
        ["--controller", "magic"], ["--method", "hf"],
    ):  # fmt: skip
        status, _, err = call("together", "--prompts", str(prompts), "--model", str(model_folder), *arguments)
        assert status == 2 and err.count("\n") == 1 and err.startswith("error: "), arguments


def test_the_suite(engine, capsys):
    asked = [Prompt(str(number), "", text) for number, text in enumerate(PROMPTS[:2])]
    report = batch_suite(engine, asked, ["fixed:2"], GREEDY, 3, 2)
    places = [(row["batch"], row["form"]) for row in report["rows"]]
    assert places == [(batch, form) for batch in (1, 2, 4, 8) for form in ("ems", "padded", "vanilla")]
    assert all(row["identical"] == row["texts"] == 4 and row["tokens"] == 6 for row in report["rows"])
    assert capsys.readouterr().out.count("\n") == 14
    for methods, sampling in ((["beta", "ucb"], GREEDY), (["vanilla"], GREEDY), (None, Sampling(1.0, acceptance="rejection"))):
        with pytest.raises(UserError):
            batch_suite(engine, asked, methods, sampling, 5, 2)


IDS, PARENTS = [50, 51, 52, 53, 54, 55, 56, 57], (-1, 0, 1, 2, 0, 4, 1, -1)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_shared_pass_is_a_pass_for_each(engine, variant):
    """Chains and a tree on caches of different lengths, in every family: torch's layers, and ours where there are some."""
    model = tiny(variant)
    model.set_attn_implementation(NAME)
    targets = [Target(model, engine.target.tokenizer, variant)]
    targets += both(variant, engine) if variant in ("llama", "mistral", "qwen2") else []
    for target in targets:
        spans = [(Span(30), IDS[:3]), (Span(41, PARENTS), IDS), (Span(64), IDS[4:5]), (Span(9), IDS[5:])]
        passes, shared = [], []
        for span, ids in spans:
            own = []
            for _ in range(2):
                cache = target.new_cache(100)
                cache.prompt = 20
                target.run_range(0, target.depth, target.embed(list(range(40, 40 + span.start)), 0), cache, 0)
                own.append(cache)
            passes.append(target.run_range(0, target.depth, target.embed(ids, *span), own[0], *span))
            shared.append(Segment(own[1], span, len(ids)))
        hidden = torch.cat([target.embed(ids, *span) for span, ids in spans], 1)
        found = target.run_together(list(target.layers), hidden, shared)
        scale = found.abs().max()
        torch.testing.assert_close(found / scale, torch.cat(passes, 1) / scale, rtol=0, atol=1e-5)
        assert [segment.cache.lengths[-1] for segment in shared] == [33, 49, 65, 12]

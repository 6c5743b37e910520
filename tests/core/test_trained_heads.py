"""Trained heads: whole rows, as in training, are what drafting computes step by step; the text is vanilla's whatever they draft; files open
as they were written, and what does not fit is one line."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from head_rounds import difference, moved
from test_engine import reference
from test_trees import FREE, lane_of
from tiny import tiny_model
from tiny_families import tiny

from eesd_core.bench.methods import parse_method
from eesd_core.bench.runners import Runner
from eesd_core.cli import main
from eesd_core.costs import CostTracker
from eesd_core.draft.base import Parts
from eesd_core.draft.registry import DRAFTERS, make_drafter, parse_drafter
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.files import HEAD_FACTS, HEAD_WEIGHTS
from eesd_core.heads.four_bits import fake_quantize, fits_4_bits
from eesd_core.heads.kinds import KINDS, kind_of, load_heads
from eesd_core.heads.shortlist import Shortlist
from eesd_core.heads.trained import cut_rounds, own_keys, verified_keys
from eesd_core.loading import load_engine
from eesd_core.model.attention import NAME
from eesd_core.model.load import load_target
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.sampling import Sampling, processed_log_probs
from eesd_core.train.lessons import states_of

HEADS = {
    "feature": {},
    "feature gated": {"gated": 1},
    "chimera": {},
    "block": {},
    "glide": {},
    "glide early": {"taps": [1, 3]},
    "hidden-transfer": {},
    "hidden-transfer plain": {"depth": 1, "places": 6, "rank": 0},
}  # with the settings beside the usual ones
RULES = {"greedy": Sampling(), "shared noise": Sampling(0.8, 0.95, 11), "rejection": Sampling(0.9, 0.95, 11, acceptance="rejection")}
PROMPT = "one two, one two, one t"


def made(target, which, seed=0):
    return moved(kind_of(which.split()[0])(target, **HEADS[which]), seed)


def drafter_of(which: str) -> str:
    return next(row.name for row in DRAFTERS.values() if row.needs_head == which.split()[0])


@pytest.fixture(scope="module")
def target(model_folder):
    return load_target(model_folder, "cpu", "float32")


@pytest.fixture(scope="module", params=HEADS)
def which(request):
    return request.param


def test_drafting_step_by_step_is_what_was_trained(target, which):
    assert difference(target, made(target, which), drafter_of(which)) < 2e-5


@pytest.mark.parametrize("family", ["mistral", "gpt2"])  # a window, and learned positions
def test_other_families_are_trained_as_they_draft(engine, family):
    other = Target(tiny(family), engine.target.tokenizer, family)
    for which in HEADS:
        assert difference(other, made(other, which), drafter_of(which)) < 2e-4, which


def test_an_mlp_is_as_wide_as_asked_where_it_can_be(engine, target):
    assert kind_of("glide")(target, mlp=32).layers[0].mlp.up_proj.weight.shape[0] == 32
    with pytest.raises(UserError, match="are not made narrower"):
        kind_of("glide")(Target(tiny("gpt2"), engine.target.tokenizer, "gpt2"), mlp=32)


@pytest.mark.parametrize("quantize", ["none", "q8"])
def test_drafting_on_the_cpus_own_steps_is_what_was_trained(engine, which, quantize):
    """Fused layers, packed or quantised linear layers, kernels between them."""
    pytest.importorskip("numba")
    from eesd_core.model.cpu.prepare import prepare

    targets = []
    for _ in range(2):
        model = tiny_model(1)
        model.set_attn_implementation(NAME)
        targets.append(Target(model, engine.target.tokenizer, "tiny"))
    heads = [made(target, which) for target in targets]
    prepare(targets[0], heads[0], quantize=quantize)
    assert targets[0].steps and not any(type(module) is torch.nn.Linear for module in heads[0].modules())
    found = difference(targets[0], heads[0], drafter_of(which), (targets[1], heads[1]))
    assert found < 0.5  # of values of about 1: heads are in 8 bits


@pytest.mark.parametrize("rule", RULES)
def test_whatever_they_draft_the_text_is_vanillas(engine, which, rule):
    """By rejection sampling there is no such text; there every token must be accounted for."""
    whole = Engine(engine.target, None, engine.level, {which.split()[0]: made(engine.target, which)})
    expected = reference(engine, PROMPT, 40, RULES[rule])
    for name, settings in {"fixed": {"length": 4}, "beta": {}, "throughput": {}}.items():
        asked = Request(PROMPT, 40, RULES[rule], "eesd", name, settings, drafter=drafter_of(which))
        found = [record.event for record in whole.run(asked)]
        ids = [id for event in found if event.type == "tokens_committed" for id in event.ids]
        assert len(ids) == 40 and (rule == "rejection" or ids == expected)
        assert sum(event.accepted + 1 for event in found if event.type == "round_verified") == 40
        assert name == "throughput" or any(event.type == "draft_token" for event in found)  # by measured times it may draft nothing


@pytest.mark.parametrize("which", [kind for kind in KINDS if any(s.name == "rows" for s in DRAFTERS[drafter_of(kind)].settings)])
def test_siblings_are_verified_beside_the_spine(engine, which):
    whole = Engine(engine.target, None, engine.level, {which: made(engine.target, which)})
    asked = Request(PROMPT, 40, Sampling(), "eesd", "fixed", {"length": 2}, drafter=f"{drafter_of(which)}:8")
    lane = lane_of(whole, asked, costs=CostTracker(FREE, 0))
    assert lane.token_ids == reference(engine, PROMPT, 40, Sampling())
    assert any(node.parent != number - 1 for round in lane.rounds for number, node in enumerate(round.nodes))


def test_by_rejection_the_law_is_the_targets(engine, which):
    """Of a token in whose place a draft stood, over many draws."""
    target = engine.target
    sampling = Sampling(0.7, seed=3, top_k=4, acceptance="rejection")
    whole = Engine(target, None, engine.level, {which.split()[0]: made(target, which)})
    run = whole.start(Request(PROMPT, 2, sampling, "eesd", "fixed", {"length": 1}, drafter=drafter_of(which)))
    run.prefill()
    counts, draws = torch.zeros(257), 250
    for seed in range(draws):
        run.rewind(replace(sampling, seed=seed))
        run.round()
        assert run.drafted.nodes[0].law is not None
        counts[run.written[0]] += 1
    law = processed_log_probs(target.model(torch.tensor([run.text.ids[: run.prompt_length]])).logits[0, -1:], sampling)[0].exp().detach()
    expected = (2 * draws * law * (1 - law) / math.pi).sqrt().sum()  # mean absolute deviation of binomial counts
    assert (counts - draws * law).abs().sum() / expected < 2.5


@pytest.mark.parametrize("bits", [16, 4])
def test_a_file_opens_as_it_was_written(target, which, tmp_path, bits):
    head = made(target, which)
    head.bits = bits
    head.read_only(Shortlist(target, torch.arange(0, 257, 3)))
    head.save(tmp_path / head.kind, target, {"why": "a test"})
    again = load_heads(tmp_path, target)[head.kind]
    assert again.settings == head.settings and again.bits == bits and again.facts["training"] == {"why": "a test"} and again.fingerprint
    assert torch.equal(again.shortlist.ids, head.shortlist.ids) and 0 < again.cost < 1
    for (name, weight), found in zip(head.own_state().items(), again.own_state().values()):
        rounded = fake_quantize(weight) if bits == 4 and fits_4_bits(weight) else weight.bfloat16().float()
        torch.testing.assert_close(found, rounded, rtol=0.01, atol=1e-5, msg=name)
    for parameter, found in zip(head.parameters(), again.parameters()):
        parameter.data = found.data
    ids, start = torch.arange(12)[None], torch.tensor([[0, 1, 2, 3, 3, 3, 6, 6, 8, 8, 8, 8]])
    states = states_of(target, ids, head.taps)
    assert torch.equal(*(one.rows_hidden(target, ids, states, start) for one in (head, again)))
    shared = Shortlist(target, torch.arange(0, 257, 3))
    assert kind_of(head.kind).load(tmp_path / head.kind, target, shared).shortlist is shared


@pytest.fixture
def written(target, tmp_path):
    """A folder with a head that fits."""
    made(target, "feature").save(tmp_path / "feature", target, {})
    return tmp_path


CHANGES = {
    "another model": ({"base_fingerprint": "0"}, "another model"), "another kind": ({"kind": "x"}, "kind"),
    "a format to come": ({"format": "eesd-head/9"}, "format"), "settings": ({"settings": {"longest": 99}}, "1 to 15"),
    "unknown settings": ({"settings": {"x": 1}}, "does not fit"), "taps": ({"settings": {"taps": [9]}}, "depths"),
    "no settings": ({"settings": None}, "broken"), "bits": ({"bits": "x"}, "broken"), "sizes": ({"settings": {"mlp": 64}}, "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_one_line(target, written, change):
    changed, words = CHANGES[change]
    path = written / "feature" / HEAD_FACTS
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(UserError, match=words) as caught:
        load_heads(written, target)
    assert "\n" not in str(caught.value)


def test_broken_files_are_one_line(target, written, model_folder, capsys):
    weights = written / "feature" / HEAD_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(UserError, match="broken"):
        load_heads(written, target)
    assert main(["generate", "Once", "--model", str(model_folder), "--heads", str(written), "--drafter", "feature"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    weights.unlink()
    with pytest.raises(UserError, match="are needed"):
        load_heads(written, target)
    with pytest.raises(UserError, match="holds no trained heads"):
        load_engine(str(model_folder), heads=written / "none")


def test_a_head_beside_a_model_is_loaded_and_one_elsewhere_takes_its_place(target, written, model_folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model_folder, copy)
    assert not load_engine(str(copy), device="cpu").heads
    shutil.copytree(written / "feature", copy / "feature")
    first = load_engine(str(copy), device="cpu")
    assert list(first.heads) == ["feature"] and not load_engine(str(copy), device="cpu", kinds={"block"}).heads
    made(target, "feature", 5).save(tmp_path / "others" / "feature", target, {})
    second = load_engine(str(copy), device="cpu", heads=tmp_path / "others")
    assert first.heads["feature"].fingerprint != second.heads["feature"].fingerprint
    asked = Request("Once upon a time", 8, drafter="feature", controller="fixed")
    assert lane_of(first, asked).token_ids == lane_of(second, asked).token_ids


def test_a_head_that_is_not_there_is_said(engine, which):
    with pytest.raises(UserError, match=f"distill --head {which.split()[0]}"):
        make_drafter(parse_drafter(drafter_of(which)), Parts(engine.target, None, 99))
    with pytest.raises(UserError, match="unknown kind"):
        kind_of("nothing")


def test_benchmarks_measure_heads_that_are_there(target, engine, written):
    whole = Engine(engine.target, None, engine.level, load_heads(written, target))
    assert 0 < Runner(whole, parse_method("feature+fixed:3")).draft_layers < target.depth
    with pytest.raises(UserError, match="no feature head"):
        Runner(engine, parse_method("feature"))


def test_what_a_place_sees_follows_from_the_rounds():
    start = torch.tensor([[0, 1, 1, 1, 4]])
    assert verified_keys(start)[0].int().tolist() == [[0] * 5, *[[1, 0, 0, 0, 0]] * 3, [1, 1, 1, 1, 0]]
    assert own_keys(start)[0].int().tolist() == [
        [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1],
    ]  # fmt: skip
    assert cut_rounds(torch.tensor([[0, 1, 1, 1, 1, 1, 6]]), 2).tolist() == [[0, 1, 1, 3, 3, 5, 6]]


@pytest.mark.parametrize(("drafter", "kind"), [("early-exit", ""), ("mixed", "feature"), ("chimera", "chimera")])
def test_a_command_loads_the_heads_that_its_drafter_may_use(drafter, kind, monkeypatch, capsys):
    """Each takes memory."""
    asked = []
    monkeypatch.setattr("eesd_core.loading.load_engine", lambda *told, kinds, **named: asked.append(kinds))
    with pytest.raises(AttributeError):  # there is no engine
        main(["generate", "Once", "--drafter", drafter])
    assert asked == [{kind} - {""}]

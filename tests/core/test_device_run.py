"""Runs whose rounds stay on the device, here on the CPU: they write what every run writes and report what every run reports.

A CPU has no CUDA graphs. A recorder stands in for them that does what recording does: it warms up, puts the buffers back, and replays the
function. What graphs themselves do is checked on a GPU, by `python -m tools.gpu_check`.
"""

import copy
import json

import pytest
import torch
from tiny_families import tiny

from app.contest import contest
from eesd_core import backends
from eesd_core.backends import BLIND, backend, why_host
from eesd_core.cli import main
from eesd_core.control import make_controller
from eesd_core.engine import Engine
from eesd_core.events import WhatIf
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.metrics import Metrics
from eesd_core.model.cuda.graph_steps import Recorder
from eesd_core.model.target import Target
from eesd_core.racing import race, race_methods
from eesd_core.request import Request
from eesd_core.rounds import Lane, Round, fold
from eesd_core.sampling import Sampling
from eesd_core.trace import parse_trace, to_line

SAMPLINGS = {"greedy": Sampling(), "noise": Sampling(0.8, 0.95, 7), "cuts": Sampling(0.9, seed=3, top_k=5, min_p=0.1)}
CONTROLLERS = [("fixed", {"length": 0}), ("fixed", {"length": 3}), ("fixed", {"length": 15}), ("beta", {"seed": 3}), ("heuristic", {})]
PROMPT = "Once upon a time"
THREE = {"controller": "fixed", "settings": {"length": 3}}


@pytest.fixture
def gpu(monkeypatch):
    """As if the model were on a GPU."""
    monkeypatch.setattr(backends, "on_gpu", lambda engine: True)


@pytest.fixture
def graphs(monkeypatch):
    """A stand-in for CUDA graphs. Gives the number of recordings."""
    made = []

    def record(self, function):
        made.append(function)
        before = [buffer.clone() for buffer in self.buffers]
        for _ in range(2):
            self._restore(before)
            function()
        self._restore(before)
        return function

    init = Recorder.__init__
    monkeypatch.setattr(Recorder, "__init__", lambda self, buffers, graphs: init(self, buffers, True))
    monkeypatch.setattr(Recorder, "_record", record)
    return made


def refusing(init):
    """A recorder whose graphs cannot be recorded."""

    def record(function):
        raise RuntimeError("not while a stream is capturing")

    def made(self, buffers, graphs):
        init(self, buffers, True)
        self._record = record

    return made


def facts(round: Round) -> dict:
    """What must be equal, without times and the last digits."""
    names = ("id", "state", "text", "position", "parent")
    said = {"tokens": [tuple(getattr(token, name) for name in names) for token in round.tokens], "stop": round.stop}
    said |= {"decisions": [(token.draft.go, token.draft.terms) for token in round.nodes], "learned": round.learned, "belief": round.belief}
    return said | {"number": round.number, "limit": round.limit, "ids": round.committed.ids, "text": round.committed.text}


def numbers(round: Round) -> list[float]:
    drafts = [token.draft for token in round.nodes]
    said = [number for draft in drafts for number in (draft.probability, draft.confidence, draft.entropy, draft.lead)]
    return [*said, *round.verdict.probabilities, *round.verdict.margins, round.verdict.next_probability]


def both(engine, request) -> tuple[Lane, Lane]:
    return tuple(fold(engine.run(request, "eesd", backend=where), "eesd") for where in ("host", "device"))


@pytest.mark.parametrize("which", ["engine", "agreeing", "disagreeing"])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_its_rounds_are_those_of_every_run(which, sampling, graphs, request):
    engine = request.getfixturevalue(which)
    for controller, settings in CONTROLLERS:
        host, device = both(engine, Request(PROMPT, 20, sampling, "eesd", controller, settings))
        assert list(map(facts, device.rounds)) == list(map(facts, host.rounds))
        for ours, theirs in zip(device.rounds, host.rounds):
            assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-3, abs=1e-4)
        assert device.ended == host.ended
    assert graphs


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_a_race_says_the_same(engine, sampling, gpu, graphs, monkeypatch):
    request = Request(PROMPT, 40, sampling, "eesd", "beta", {"seed": 5})
    device = list(race(engine, request))
    monkeypatch.setattr(backends, "on_gpu", lambda engine: False)
    host = list(race(engine, request))
    kinds = [[record.event.type for record in records if record.lane == "eesd"] for records in (host, device)]
    assert sorted(kinds[0]) == sorted(kinds[1]) and kinds[0] == kinds[1]  # in this order too: drafts come before their verdict
    for lane in ("vanilla", "eesd"):
        ours, theirs = fold(device, lane), fold(host, lane)
        assert ours.token_ids == theirs.token_ids and ours.text == theirs.text and len(ours.rounds) == len(theirs.rounds)
        assert (ours.backend, theirs.backend) == ("device", "host")
        assert ours.started.level == "exact-as-observed" and ours.started.settings["drafter"] == theirs.started.settings["drafter"]
        assert ours.started.settings == theirs.started.settings | {"backend": "device"}
    verdict = device[-1].event
    assert verdict.identical and verdict.cache_difference < 1e-3


def test_its_records_are_a_trace_and_its_times_add_up(engine, gpu):
    records = list(contest(engine, Request(PROMPT, 40, **THREE), "run", bool))
    assert isinstance(records[-1].event, WhatIf)  # hindsight has what it needs
    again = parse_trace("".join(map(to_line, records)).encode()).records  # which checks every line and their order
    assert [record.event for record in again] == [record.event for record in records]
    metrics = Metrics.fold(records, "eesd").to_json()
    assert metrics["draft_seconds"] > 0 and metrics["verify_seconds"] > 0
    assert metrics["draft_seconds"] + metrics["verify_seconds"] < metrics["seconds"]


def test_the_cache_that_is_compared_holds_the_text(engine):
    run = engine.start_on_device(Request(PROMPT, 24, **THREE))
    run.prefill()
    while not run.ended:
        run.round()
    host = engine.start(Request(PROMPT, 24, **THREE))
    host.prefill()
    while not host.ended:
        host.round()
    assert run.text.cache.lengths == host.text.cache.lengths == [run.text.start] * engine.target.depth
    for ours, theirs in zip(run.text.cache.values, host.text.cache.values):
        torch.testing.assert_close(ours[:, :, : run.text.start], theirs[:, :, : run.text.start], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("length", [1, 4, 15])
def test_the_end_of_the_text_ends_it(agreeing, length):
    """Wherever it falls in a round. No draft behind it is reported, because the target says nothing about them."""
    target = copy.copy(agreeing.target)
    engine = Engine(target, agreeing.exit_layer, "exact-as-observed")
    request = Request(PROMPT, 30, controller="fixed", settings={"length": length})
    text = fold(engine.run(request), "eesd").token_ids
    for place in range(1, 12):
        target.end_ids = frozenset([text[place]])
        host, device = both(engine, request)
        assert device.token_ids == host.token_ids == text[: text.index(text[place]) + 1] and device.ended.reason == "eos"
        last = device.rounds[-1]
        assert facts(last) == facts(host.rounds[-1])
        assert last.verdict.next_id is None or last.verdict.next_id in target.end_ids


def test_stop_strings_end_it(engine, agreeing, disagreeing):
    for each in (engine, agreeing, disagreeing):
        for sampling in SAMPLINGS.values():
            text = fold(each.run(Request(PROMPT, 24, sampling)), "eesd").text
            for stop in {text[3:5], text[9:10], text[15:18]} - {""}:
                host, device = both(each, Request(PROMPT, 24, sampling, stop=(stop,), **THREE))
                assert (device.token_ids, device.text, device.ended.reason) == (host.token_ids, host.text, host.ended.reason)
                assert stop not in device.text


def test_stop_stops_it(engine, gpu):
    answers = iter([False] * 6 + [True] * 9)
    records = list(race(engine, Request(PROMPT, 50, **THREE), cancelled=lambda: next(answers)))
    assert [r.event.type for r in records if r.event.type.startswith("run_c")] == ["run_cancelled"] * 2
    parse_trace("".join(map(to_line, records)).encode())


def test_the_context_may_be_exactly_full(agreeing, graphs):
    """Padded passes then reach behind it, when steps are warmed up too."""
    request = Request("x" * 150, agreeing.target.context - 150, controller="fixed", settings={"length": 15})
    host, device = both(agreeing, request)
    assert device.token_ids == host.token_ids and len(graphs) < 40


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_an_exit_layer_with_taps(engine, sampling, graphs):
    """With single drafts it reads beside every state what it reads in other runs; with more it may know more of some."""
    torch.manual_seed(4)
    layer = ExitLayer(engine.target, 2, taps=(3, 4)).eval()
    layer.mix.weight.data.normal_(0, 0.05)
    tapped = Engine(engine.target, layer, "exact-as-observed")
    host, device = both(tapped, Request(PROMPT, 40, sampling, controller="fixed", settings={"length": 1}))
    assert list(map(facts, device.rounds)) == list(map(facts, host.rounds))
    for ours, theirs in zip(device.rounds, host.rounds):
        assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-3, abs=1e-4)
    host, device = both(tapped, Request(PROMPT, 40, sampling, **THREE))
    assert device.token_ids == host.token_ids


def test_a_fork_has_candidates(engine, gpu, monkeypatch):
    """If the lanes differ, which they never should here: another seed for one of them."""
    request = Request(PROMPT, 12, Sampling(0.9, seed=1), **THREE)
    start = engine.start_on_device

    def other(asked, **parts):
        seed = 2 if asked.method == "eesd" else 1
        return start(Request(PROMPT, 12, Sampling(0.9, seed=seed), asked.method, **THREE), **parts)

    monkeypatch.setattr(engine, "start_on_device", other, raising=False)
    difference = list(race(engine, request))[-1].event.first_difference
    for lane in ("vanilla", "eesd"):
        best = difference["candidates"][lane]
        assert best[0]["id"] == difference[f"{lane}_id"] and best[0]["behind"] == 0 and 0 < best[0]["probability"] <= 1


def test_broken_weights_are_reported(engine):
    target = copy.copy(engine.target)
    target.head_rows = lambda normed: torch.full((*normed.shape[:2], target.vocab), torch.nan)
    request = Request(PROMPT, 4, **THREE)
    with pytest.raises(Exception, match="no numbers"):
        list(Engine(target, engine.exit_layer, "exact-as-observed").run(request, backend="device"))


def test_who_decides(engine, gpu, monkeypatch):
    """One function: for a model, a request, or several runs that are compared."""
    assert not why_host(engine) and backend(engine, Request(PROMPT, **THREE)) == "device"
    for name in BLIND:
        make_controller(name)
        assert not why_host(engine, Request(PROMPT, controller=name))
    assert not why_host(engine, Request(PROMPT, method="vanilla", controller="throughput"))
    reasons = {
        "looks at every draft": Request(PROMPT, 8, controller="throughput"),
        "prompt-lookup is no chain": Request(PROMPT, 8, drafter="prompt-lookup"),
        "early-exit:8 is no chain": Request(PROMPT, 8, controller="fixed", drafter="early-exit:8"),
        "rejection": Request(PROMPT, 8, sampling=Sampling(1.0, acceptance="rejection"), **THREE),
    }
    for reason, request in reasons.items():
        assert reason in why_host(engine, request) and backend(engine, Request(PROMPT, **THREE), request) == "host"
        records = list(race(engine, request))
        assert {fold(records, lane).backend for lane in ("vanilla", "eesd")} == {"host"}
    none = Engine(engine.target, None, "exact-as-observed")
    assert "no exit layer" in why_host(none, Request(PROMPT, **THREE)) and not why_host(none, Request(PROMPT, method="vanilla"))
    monkeypatch.setattr(Recorder, "__init__", refusing(Recorder.__init__))
    other = Engine(engine.target, engine.exit_layer, "exact-as-observed")
    assert "graphs are refused here (not while a stream is capturing)" in why_host(other, Request(PROMPT, **THREE))
    monkeypatch.setattr(backends, "on_gpu", lambda engine: False)
    assert "not on a GPU" in why_host(engine) and backend(engine) == "host"


def test_what_a_device_cannot_do(engine, gpu):
    spread = copy.copy(engine.target)
    spread.model = copy.copy(spread.model)
    spread.model.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    assert "several devices" in why_host(Engine(spread, engine.exit_layer, "exact-as-observed"))
    split = copy.copy(engine.target)
    split.shards = 2
    engine = copy.copy(engine)
    engine.target = split
    assert "several devices" in why_host(engine)
    model = tiny("mistral")
    whole = Target(model, split.tokenizer, "mistral")
    for layer in whole.layers:
        layer.kind = layer.kind._replace(kept=8)
    engine.target = whole
    assert "sliding window" in why_host(engine)


def test_methods_are_compared_on_one_backend(engine, gpu):
    def backends_of(*controllers) -> set[str]:
        requests = {"vanilla": Request(PROMPT, 12, method="vanilla")} | {name: Request(PROMPT, 12, controller=name) for name in controllers}
        records = list(race_methods(engine, requests))
        assert len(records[-1]["rows"]) == len(requests) and all(row["identical"] in (True, None) for row in records[-1]["rows"])
        return {fold(records[:-1], name).backend for name in requests}

    assert backends_of("beta", "ucb", "fixed", "heuristic") == {"device"}
    assert backends_of("beta", "throughput") == {"host"}


def test_costs_are_those_of_the_device(engine, gpu):
    measured, refused = engine.on_device
    assert not refused
    assert min(measured.plain, measured.shallow, measured.draft, *measured.verify.values()) > 0 and len(measured.verify) == 16
    assert measured.verify[6] == measured.verify[9] != measured.verify[5]  # padded sizes
    run = engine.start_on_device(Request(PROMPT, 40, controller="ucb"))
    before = run.costs.costs()
    run.prefill()
    for _ in range(6):
        run.round()
    assert run.costs.costs() != before


@pytest.mark.parametrize("length, used", [("3", "device"), (None, "host")])
def test_race_and_doctor_say_which(model_folder, gpu, capsys, length, used):
    flags = ["--draft-length", length] if length else []
    for command in (["race", "Once"], ["generate", "Once"]):
        assert main([*command, "--model", str(model_folder), "--max-new-tokens", "12", "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["backend"] == used
    assert main(["doctor", "--model", str(model_folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["backend"]
    assert said.startswith("device for vanilla") and "beta" in said


def test_doctor_says_why_not(model_folder, capsys, monkeypatch):
    monkeypatch.setattr(backends, "on_gpu", lambda engine: False)
    assert main(["doctor", "--model", str(model_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["backend"] == "host: the model is not on a GPU"

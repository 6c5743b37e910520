"""Golden traces: every drafter x controller x acceptance rule, on the tiny and the embedded model, record by record.

What a run says must not change while the engine is rebuilt. Time is scripted: the clock counts work (layers and heads over rows), so
that controllers that decide by time decide alike on every machine and however often the clock is read. Of most runs a digest is
stored, of a few the whole trace. Digests of *plots* (everything but fractions: tokens, decisions, reasons) hold on all processors; digests
of *everything* are compared where this processor computes bit for bit what the one that wrote them did, which a probe tells.
Fields that an event did not have when the traces were written are left out. EESD_REGOLD=1 writes the file anew: say why in the commit.
"""

import copy
import gzip
import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from eesd_core.checks.same_law import same_law
from eesd_core.control import CONTROLLERS
from eesd_core.draft import early_exit
from eesd_core.engine import Engine
from eesd_core.loading import load_engine
from eesd_core.model.cpu.step import Steps
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.timed import timed_run

GOLDEN = Path(__file__).parent / "golden_traces.json.gz"
REGOLD = bool(os.environ.get("EESD_REGOLD"))
TICK = 2.0**-20  # seconds: sums and differences of whole ticks are exact
LEFT_OUT = {"versions", "format"}  # they name programs, not what happened

CUTS = {"top_p": 0.95, "seed": 11}
RULES = {
    "greedy": Sampling(),
    "shared noise": Sampling(0.9, **CUTS),
    "rejection": Sampling(0.9, **CUTS, acceptance="rejection"),
}
DRAFTERS = ("early-exit", "prompt-lookup", "layer-skip", "disturbed:0.5:4")
PROMPTS = {
    "tiny": "one two, one two, one t",
    "ends": "one two, one two, one t",
    "storyteller": "Once upon a time there was a cat. The cat had a cat. The cat",
}
NEW_TOKENS = {"tiny": 12, "ends": 12, "storyteller": 6}
FEW = ("beta", "throughput", "fixed")  # controllers of the runs that are not for the whole table
WHOLE = (  # stored as they are: the rest can be told from the digests alone
    "tiny vanilla greedy", "tiny early-exit beta shared noise", "tiny early-exit throughput rejection", "tiny layer-skip fixed greedy",
    "storyteller early-exit calibrated greedy", "storyteller prompt-lookup throughput shared noise",
)  # fmt: skip


@contextmanager
def scripted_clock(monkeypatch):
    """`time.perf_counter` counts ticks of work: a pass of m rows takes 64 + 8 m ticks a layer, and three times as much for the head."""
    ticks = 0
    run, head, draft = Target.run, Target.head_rows, early_exit.draft_in_one

    def count(units: int, rows: int) -> None:
        nonlocal ticks
        ticks += units * (64 + 8 * rows)

    def counted_run(self, layers, hidden, *rest, **named):
        count(len(layers), hidden.shape[1])
        return run(self, layers, hidden, *rest, **named)

    def counted_head(self, normed):
        count(3, normed.shape[1])
        return head(self, normed)

    def counted_draft(steps):
        for step in steps:
            if not step.goes:  # the last draft, which only passes the first layers
                count(step.drafter.reuses, 1)
        return draft(steps)

    with monkeypatch.context() as patched:
        patched.setattr(early_exit, "draft_in_one", counted_draft)
        patched.setattr(Steps, "verify", lambda *_: None)  # the same passes, layers and head apart
        patched.setattr(Target, "run", counted_run)
        patched.setattr(Target, "head_rows", counted_head)
        patched.setattr(time, "perf_counter", lambda: ticks * TICK)
        yield


def requests(model: str) -> dict[str, Request]:
    found = {}
    for rule, sampling in RULES.items():
        prompt, new = PROMPTS[model], NEW_TOKENS[model]
        found[f"{model} vanilla {rule}"] = Request(prompt, new, sampling, "vanilla")
        for drafter in DRAFTERS:
            for controller in CONTROLLERS if model == "tiny" or (model, drafter) == ("storyteller", "early-exit") else FEW:
                name = f"{model} {drafter} {controller} {rule}"
                found[name] = Request(prompt, new, sampling, "eesd", controller, drafter=drafter)
    return found


def lines(records) -> list[dict]:
    return [{name: value for name, value in record.to_json().items() if name not in LEFT_OUT} for record in records]


def everything(engines: dict[str, Engine]) -> dict[str, list[dict]]:
    found = {}
    for model, engine in engines.items():
        for name, request in requests(model).items():
            found[name] = lines(engine.run(request))
    engine = engines["tiny"]
    for rule, sampling in RULES.items():
        request = Request(PROMPTS["tiny"], 16, sampling)
        found[f"race {rule}"] = lines(race(engine, request))
    drawn = Request(PROMPTS["tiny"], sampling=Sampling(0.9, seed=5, top_k=20))
    found["same law"] = [asdict(c) for c in same_law(engine, drawn, 40)]
    for rule in ("greedy", "shared noise"):
        request = Request(PROMPTS["tiny"], 16, RULES[rule], controller="beta")
        timed = asdict(timed_run(engine, request))
        found[f"timed {rule}"] = [{name: timed[name] for name in ("ids", "draft_lengths", "accepted")}]
    return json.loads(json.dumps(found))


def probe(engines: dict[str, Engine]) -> str:
    """Names how this processor rounds, without any of the code under test: logits of the whole models."""
    digest = hashlib.sha256(torch.__version__.encode())
    with torch.no_grad():
        for engine in engines.values():
            target = engine.target
            for rows in (1, 5):
                logits = target.logits(target.run_range(0, target.depth, target.embed([5] * rows, 0), target.new_cache(rows), 0))
                digest.update(logits.numpy().tobytes() + logits.softmax(-1).numpy().tobytes())
    return digest.hexdigest()[:16]


def known(line: dict, fields: dict[str, list[str]]) -> dict:
    """Without fields that came later."""
    return {name: line[name] for name in fields.get(line.get("type"), line)}


def plot(value):
    """Everything but fractions."""
    if isinstance(value, dict):
        return {name: plot(part) for name, part in value.items()}
    return [plot(part) for part in value] if isinstance(value, list) else None if isinstance(value, float) else value


def digest_of(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def found(embedded, engine):
    with pytest.MonkeyPatch.context() as monkeypatch:
        loaded = load_engine(dtype="float32")
        list(engine.run(Request(PROMPTS["tiny"], 4)))  # compiling reads the clock too
        torch.set_num_threads(1)  # whatever other tests have left: torch's sums depend on it
        with scripted_clock(monkeypatch):
            engine.target.codec  # noqa: B018 - made here, so that it is shared and the ends below are ordinary tokens to it, with a text
            ends = copy.copy(engine.target)
            ends.end_ids = frozenset([22, 38, 196])  # tokens that are drafted and accepted, one by each rule
            targets = {"tiny": (engine.target, engine.exit_layer), "ends": (ends, engine.exit_layer)}
            targets |= {"storyteller": (loaded.target, loaded.exit_layer)}
            engines = {name: Engine(*parts, "exact-as-observed") for name, parts in targets.items()}
            return everything(engines), probe(engines)


@pytest.fixture(scope="module")
def golden(found):
    traces, here = found
    if REGOLD:
        fields = {line["type"]: sorted(line) for trace in traces.values() for line in trace if "type" in line}
        digests = {name: {"plot": digest_of(plot(trace)), "everything": digest_of(trace)} for name, trace in traces.items()}
        stored = {"probe": here, "fields": fields, "digests": digests, "whole": {name: traces[name] for name in WHOLE}}
        GOLDEN.write_bytes(gzip.compress(json.dumps(stored).encode(), 9, mtime=0))
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@pytest.fixture(scope="module")
def same_fields(found, golden):
    return {name: [known(line, golden["fields"]) for line in trace] for name, trace in found[0].items()}


def test_every_run_goes_as_it_did(same_fields, golden):
    assert same_fields.keys() >= golden["digests"].keys()
    other = [name for name, stored in golden["digests"].items() if digest_of(plot(same_fields[name])) != stored["plot"]]
    assert not other, "\n".join(other)


def test_every_number_is_what_it_was(found, same_fields, golden):
    """Bit for bit where this processor computes alike; elsewhere the whole traces, nearly."""
    if found[1] == golden["probe"]:
        other = [name for name, stored in golden["digests"].items() if digest_of(same_fields[name]) != stored["everything"]]
        assert not other, "\n".join(other)
    for name, trace in golden["whole"].items():
        assert len(same_fields[name]) == len(trace)
        for ours, stored in zip(same_fields[name], trace):
            assert nearly(ours, stored), f"{name}: {ours} was {stored}"


def nearly(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(nearly(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(nearly, a, b))
    return a == pytest.approx(b, rel=1e-3, abs=1e-4) if isinstance(a, float) else a == b


def test_the_runs_are_worth_keeping(found):
    """Rounds of every kind, all reasons to stop, both ends of a text."""
    lines = [line for name, trace in found[0].items() for line in trace if name.split()[0] in NEW_TOKENS]
    rounds = [line for line in lines if line["type"] == "round_verified"]
    assert {line["next_kind"] for line in rounds} == {"correction", "bonus", "none"}
    assert {line["reason"] for line in lines if line["type"] == "draft_stopped"} == {"controller", "limit", "length", "eos"}
    assert {line["reason"] for line in lines if line["type"] == "run_finished"} == {"length", "eos"}
    assert any(0 < line["accepted"] < line["drafted"] for line in rounds)

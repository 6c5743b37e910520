"""Traces are read by browsers, where NaN and Infinity are no JSON."""

import copy
import json

import pytest
import torch

from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.metrics import Metrics
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.trace import to_line


@pytest.fixture(scope="module")
def sure(engine) -> Engine:
    """As a trained model often is: one token has nearly all the probability."""
    model = copy.deepcopy(engine.target.model)
    with torch.no_grad():
        model.lm_head.weight.mul_(8.0)
    target = Target(model, engine.target.tokenizer, "sure")
    return Engine(target, ExitLayer(target, 2).eval(), "exact-as-observed")


def strict(line: str) -> dict:
    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


CASES = [Sampling(), Sampling(0.8, 1.0, 7), Sampling(10.0, 1.0, 7), Sampling(0.8, 0.5, 7), Sampling(1e-39, 1.0, 7)]


@pytest.mark.parametrize("sampling", CASES, ids=str)
def test_every_number_of_a_race_is_finite(sure, sampling):
    records = list(race(sure, Request("Once upon", 24, sampling)))
    for record in records:
        assert strict(to_line(record))["seq"] == record.seq
    for lane in ("vanilla", "eesd"):
        strict(json.dumps(Metrics.fold(records, lane).to_json()))


def test_a_tiny_temperature_is_nearly_greedy(sure):
    def text(sampling):
        return Metrics.fold(sure.run(Request("Once upon", 12, sampling)), "eesd").token_ids

    assert text(Sampling(1e-39, 1.0, 1)) == text(Sampling())


@pytest.mark.parametrize("tiny", [Sampling(5e-324, 1.0, 7), Sampling(1.0, 1e-50, 7)], ids=str)
def test_what_float32_cannot_hold_is_greedy_too(sure, tiny):
    records = list(race(sure, Request("Once upon", 12, tiny)))
    assert all(strict(to_line(record)) for record in records)
    assert Metrics.fold(records, "eesd").token_ids == Metrics.fold(sure.run(Request("Once upon", 12)), "eesd").token_ids

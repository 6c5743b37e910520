"""A fork, forced: a pass over several tokens is made to round otherwise than a pass over one, and the race lays the fork open."""

import json

import pytest
import torch

from eesd_core.events import Record
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.schema import Check
from eesd_core.trace import to_line

SAMPLINGS = [Sampling(), Sampling(0.8, seed=3), Sampling(0.9, top_k=3, seed=1)]


@pytest.fixture
def inexact(engine, monkeypatch):
    target = engine.target
    exact, noise = target.logits, 3 * torch.randn(target.vocab, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(target, "logits", lambda hidden: exact(hidden) + noise * (hidden.shape[1] > 1))
    return engine


def request(sampling: Sampling) -> Request:
    return Request("abcabcabc", 40, sampling, controller="fixed", settings={"length": 3})


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_fork_is_told_with_both_lists(inexact, sampling):
    records = list(race(inexact, request(sampling)))
    verdict = records[-1].event
    fork = verdict.first_difference
    assert verdict.level == "fork" and not verdict.identical
    best = fork["candidates"]
    for lane in ("vanilla", "eesd"):
        rows = best[lane]
        assert rows[0]["id"] == fork[f"{lane}_id"] and rows[0]["behind"] == 0.0
        assert [row["behind"] for row in rows] == sorted(row["behind"] for row in rows)
        assert len(rows) == (3 if sampling.top_k else 5) and sum(row["probability"] for row in rows) <= 1 + 1e-5
    assert best["vanilla"][1]["behind"] == pytest.approx(fork["margin"], abs=1e-6)
    assert Record.from_json(json.loads(to_line(records[-1]))).event.first_difference == fork
    check = Check()
    for record in records:
        check.see(json.loads(to_line(record)))


def test_without_a_fork_nothing_is_said(engine):
    assert list(race(engine, request(SAMPLINGS[1])))[-1].event.first_difference is None


@pytest.mark.parametrize("change", [{"behind": "x"}, {"text": 1}, {"probability": None}])
def test_a_fork_from_elsewhere_is_checked(inexact, change):
    lines = [json.loads(to_line(record)) for record in race(inexact, request(Sampling()))]
    lines[-1]["first_difference"]["candidates"]["eesd"][0] |= change
    check = Check()
    with pytest.raises(ValueError, match="first difference"):
        for line in lines:
            check.see(line)

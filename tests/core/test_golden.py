"""A golden run of the embedded model in float32 (bf16 forks between kinds of processor). EESD_REGOLD=1 writes it anew."""

import json
import os
from pathlib import Path

import pytest

from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling

GOLDEN = Path(__file__).parent / "golden.json"
PROMPT = "Once upon a time there was a king who had a daughter so clever that"
RUNS = {"greedy": Sampling(), "sampled": Sampling(0.8, 1.0, 7)}


@pytest.fixture(scope="module")
def found(embedded):
    engine = load_engine(dtype="float32")
    return {name: list(race(engine, Request(PROMPT, 64, sampling, settings={"seed": 1}))) for name, sampling in RUNS.items()}


def test_golden_text(found):
    texts = {name: Metrics.fold(records, "eesd").token_ids for name, records in found.items()}
    if os.environ.get("EESD_REGOLD"):
        GOLDEN.write_text(json.dumps(texts) + "\n")
    assert texts == json.loads(GOLDEN.read_text())


def test_lanes_agree(found):
    assert all(records[-1].event.identical for records in found.values())


def test_the_exit_layer_predicts_the_model(found):
    """Far above what an untrained copy reaches (under 0.1), far below what it should: a broken file shows, noise does not."""
    metrics = Metrics.fold(found["greedy"], "eesd")
    assert metrics.accepted / sum(metrics.tested_at) > 0.5


def test_the_folder_is_small_and_plain(embedded):
    assert sum(f.stat().st_size for f in embedded.iterdir()) <= 32 * 2**20
    assert not [f for f in embedded.iterdir() if f.suffix in (".bin", ".pt", ".pkl")]
    facts = json.loads((embedded / "exit_layer.json").read_text())
    assert "own generations" in facts["training"]["data"]

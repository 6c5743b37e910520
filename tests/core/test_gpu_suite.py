"""The script that measures a GPU, on the CPU with tiny shapes: it runs to the end and its table is complete. Not run on a GPU."""

import json

import pytest
import torch

from eesd_core.bench import gpu_suite as suite
from eesd_core.cli import main


def test_it_runs_to_the_end_on_tiny_shapes(monkeypatch, capsys, embedded):
    monkeypatch.setattr(suite, "best_seconds", lambda step, device, repeats=1: [step(), 1e-3][1])
    used, timed_run = [], suite.timed_run
    monkeypatch.setattr(suite, "timed_run", lambda *given: used.append(given[1:]) or timed_run(*given))
    report = suite.gpu_suite("cpu")
    requests = [request for request, _ in used]
    assert all(requests.count(r) == 2 and len({id(s) for other, s in used if other == r}) == 1 for r in requests)  # graphs are kept
    text = capsys.readouterr().out
    assert "not a measurement" in text and "injected acceptance" in text and "by the law" in text
    assert [row["precision"] for row in report["shapes"]] == ["bf16", "NF4"]
    assert all(len(row["verify_over_plain"]) == 8 and row["weight_gb"] > 0 for row in report["shapes"])
    own = report["embedded"]
    assert own["prompts"] == 2 and 0 <= own["identical"] <= 2 and own["level"] == "exact-as-observed"  # in bf16 passes may round apart
    json.dumps(report, allow_nan=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert main(["bench", "--suite", "gpu"]) == 2
    assert "--device cpu" in capsys.readouterr().err

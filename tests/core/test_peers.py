"""tools.peers: what it gives other engines is what was cut out here, and what it counts."""

import pytest
import torch

from eesd_core.errors import UserError
from tools.peers.__main__ import alone, forks, identical, installed, rate


def test_the_target_is_given_without_its_exit_layer(model_folder, tmp_path):
    names = {file.name for file in alone(str(model_folder), tmp_path / "target").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names and "exit_layer.safetensors" not in names
    with pytest.raises(UserError, match="on the Hub"):
        alone("somebody/something", tmp_path / "other")


def test_counts():
    assert identical([[1, 2], [3]], [[1, 2], [4]]) == 1
    assert forks([[1, 2], [3, 4], [5]], [[1, 2], [3, 9], [5, 6]]) == [1, 1]
    assert (
        installed(f"torch=={torch.__version__.partition('+')[0]}") and not installed("torch==0.0.1") and not installed("nothing-like-it==1")
    )
    facts = rate({"texts": [[1, 2], [3]], "seconds": 2.0, "drafted": 8, "accepted": 2})
    assert facts["tokens_per_second"] == 1.5 and facts["acceptance_rate"] == 0.25
    assert "acceptance_rate" not in rate({"texts": [[1]], "seconds": 1.0})

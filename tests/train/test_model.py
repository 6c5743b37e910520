"""Gates for the embedded model: what a new one must reach before it replaces the one in assets/model. `evaluate` prints the full report."""

import json
from pathlib import Path

import pytest

from eesd_core.bench import read_prompts
from eesd_core.loading import load_exit_layer
from eesd_core.model.load import load_target
from eesd_core.sampling import Sampling
from eesd_core.train.evaluate import bits_per_character, continuations, distinct, judge_drafts, loops

MIB = 2**20
VALIDATION = Path(__file__).parents[3] / "shared" / "data" / "eval" / "validation_text.jsonl"


@pytest.fixture(scope="module")
def target(embedded):
    target = load_target(embedded, "cpu", "float32")
    target.see_whole_rows()
    return target


def test_the_folder_is_small_and_complete(embedded):
    assert sum(path.stat().st_size for path in embedded.iterdir()) <= 32 * MIB
    stages = json.loads((embedded / "training_log.json").read_text())["stages"]
    assert stages and all(stage["entries"][-1]["validation_loss"] < 5 for stage in stages)
    assert (embedded / "training_log.svg").exists() and "license: apache-2.0" in (embedded / "README.md").read_text()


@pytest.mark.parametrize(("temperature", "least"), [(0.0, 0.75), (0.8, 0.5)])
def test_the_exit_layer_says_what_the_model_says(target, embedded, temperature, least):
    layer = load_exit_layer(target, None)
    prompts = [target.codec.encode(prompt) for prompt in read_prompts(None, None)]
    texts = continuations(target, prompts, 96, temperature)
    judged = [judge_drafts(target, layer, prompt, ids, Sampling(temperature, seed=7))[0] for prompt, ids in zip(prompts, texts)]
    assert sum(map(sum, judged)) / sum(map(len, judged)) >= least
    if temperature:
        assert not any(map(loops, texts)) and distinct(texts, 2) > 0.4


@pytest.mark.skipif(not VALIDATION.exists(), reason="the validation text is not part of the project")
def test_the_model_knows_english(target, tmp_path):
    part = tmp_path / VALIDATION.name
    part.write_text("\n".join(VALIDATION.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
    assert bits_per_character(target, part) < 1.65

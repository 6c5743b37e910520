"""Tiny random models in float32, the embedded model, and smollm2 where it was fetched. Nothing here uses a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
# Two processes share the processor, and start others: threads that spin while they wait would take each other's time.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
from pathlib import Path

import pytest
import torch
from tiny import EXIT_AFTER, byte_tokenizer, tiny_model
from transformers import LlamaForCausalLM
from xdist.scheduler import LoadScopeScheduling

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.catalog import EMBEDDED, bring
from eesd_core.model.target import Target

torch.set_num_threads(1)  # matrices this small gain nothing from a second thread and lose much where another process wants it


def pytest_xdist_auto_num_workers(config) -> int:
    """Two processes for the whole suite, none besides this one for a few files."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


# Tests of the view without the app around it.
BARE = tuple(f"tests/browser/test_{name}" for name in ("charts", "renderer", "takeaway"))


class Files(LoadScopeScheduling):
    """One process has the first half of the tests of the page, which share an app and a browser; the other begins with those of the bare
    view. Whoever is free takes the rest, file after file."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BARE):
            return "bare view"
        if nodeid.startswith("tests/browser/"):
            return "page, first half" if nodeid < "tests/browser/test_looks" else "page, second half"
        return nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config, log) -> Files:
    return Files(config, log)


def tiny_engine(seed: int = 1, deep: float = 0.2) -> Engine:
    target = Target(tiny_model(seed, deep), byte_tokenizer(), "tiny")
    return Engine(target, ExitLayer(target, EXIT_AFTER).eval(), "exact-as-observed")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Drafts are sometimes right."""
    return tiny_engine()


@pytest.fixture(scope="session")
def agreeing() -> Engine:
    """Drafts are always right: the layers behind the exit add nothing."""
    return tiny_engine(deep=0.0)


@pytest.fixture(scope="session")
def disagreeing() -> Engine:
    """Drafts are almost never right."""
    return tiny_engine(deep=3.0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, engine) -> Path:
    """The tiny model as files, its exit layer beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    engine.target.model.save_pretrained(folder)
    engine.target.tokenizer.save_pretrained(folder)
    loaded = Target(LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16), byte_tokenizer(), "tiny")
    ExitLayer(loaded, EXIT_AFTER).save(folder, loaded, {"note": "an untrained copy"})
    return folder


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded model's folder."""
    if not (EMBEDDED / "model.safetensors").exists():
        hint = "the embedded model is not in assets/model: fetch it, or train it as README says"
        pytest.fail(hint) if os.environ.get("EESD_FORBID_SKIPS") else pytest.skip(hint)
    return EMBEDDED


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in the cache."""
    try:
        return bring("smollm2")
    except UserError as problem:
        pytest.fail(str(problem)) if os.environ.get("EESD_FORBID_SKIPS") else pytest.skip(str(problem))

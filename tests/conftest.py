"""Tiny random models in float32, the embedded model, and smollm2 where it was fetched. Nothing here uses a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.catalog import EMBEDDED, bring
from eesd_core.model.target import Target

EXIT_AFTER = 2
torch.set_num_threads(1)  # matrices this small gain nothing from a second thread and lose much where another process wants it


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and an end-of-text token that is only written by the model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<|endoftext|>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, clean_up_tokenization_spaces=False)


def tiny_model(seed: int, deep: float = 1.0) -> LlamaForCausalLM:
    """Four layers. `deep` scales what the layers behind the exit depth add: at 0 the exit layer, their copy, is always right."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=192, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0)  # random models are flat: sharper ones tell positions apart
            if name.endswith(("o_proj.weight", "down_proj.weight")) and int(name.split(".")[2]) >= EXIT_AFTER:
                parameter.mul_(deep)
    model.generation_config = GenerationConfig(eos_token_id=None)
    return model


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

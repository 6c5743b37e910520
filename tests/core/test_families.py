"""Every family: the split is the model, and EESD writes what transformers' generate() writes, with every controller.

A few short texts here; `EESD_LONG=1 python -m pytest -s tests/core/test_families.py` compares 20 prompts of 64 tokens for each
(minutes), and says how many texts it compared.
"""

import os

import pytest
import torch
from tiny_families import VARIANTS, tiny
from transformers import MambaConfig

from eesd_core.bench.prompts import read_prompts
from eesd_core.control import CONTROLLERS
from eesd_core.draft.layer_skip import remaining
from eesd_core.draft.skip_set import SkipSet
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.frozen import FrozenExit
from eesd_core.model.attention import NAME
from eesd_core.model.families import FAMILIES, family_of
from eesd_core.model.target import Target
from eesd_core.request import Request
from eesd_core.train.corpus import OWN_TEXT

LONG = "EESD_LONG" in os.environ
PROMPTS = ["Once upon a time there was a king who had a daughter", "x"]
PROMPTS += [prompt[:100] for prompt in read_prompts(OWN_TEXT / "talk.jsonl", 18)] if LONG else []
NEW = 64 if LONG else 40  # with the first prompt, the text goes far beyond the windows of 24 tokens


@pytest.fixture
def target(variant, engine) -> Target:
    model = tiny(variant)
    model.set_attn_implementation(NAME)
    return Target(model, engine.target.tokenizer, variant)


def written(engine: Engine, prompt: str, method: str = "eesd", controller: str = "fixed") -> tuple[list[int], int]:
    events = [r.event for r in engine.run(Request(prompt, NEW, method=method, controller=controller))]
    rounds = [e for e in events if e.type == "round_verified"]
    return [i for e in events if e.type == "tokens_committed" for i in e.ids], sum(r.accepted for r in rounds)


def test_every_family_is_tested():
    assert {family for family, _ in VARIANTS.values()} == set(FAMILIES)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_split_is_the_model(variant, target):
    """In two ranges, and with the second half of the text in passes of several sizes, against the whole model without a cache."""
    whole, ids = tiny(variant), list(range(40, 120))
    cache, parts, at = target.new_cache(len(ids)), [], 0
    for rows in (40, 1, 16, 2, 1, 7, 13):
        hidden = target.run_range(0, 2, target.embed(ids[at : at + rows], at), cache, at)
        parts.append(target.logits(target.run_range(2, target.depth, hidden, cache, at)))
        at += rows
    torch.testing.assert_close(torch.cat(parts), whole(torch.tensor([ids])).logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_eesd_writes_what_generate_writes(variant, target):
    whole = tiny(variant)
    engine = Engine(target, ExitLayer(target, 2).eval(), "exact-as-observed")
    accepted = compared = 0
    for prompt in (text[: target.context - NEW - 8] for text in PROMPTS):  # longrope ends at 128 positions
        ids = torch.tensor([target.codec.encode(prompt)])
        expected = whole.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)[0, ids.shape[1] :].tolist()
        assert written(engine, prompt, "vanilla")[0] == expected
        assert len(set(expected)) > 5 or prompt != PROMPTS[0]  # a text worth comparing
        for controller in CONTROLLERS:
            ours, count = written(engine, prompt, controller=controller)
            assert ours == expected, (controller, prompt)
            accepted, compared = accepted + count, compared + 1
    print(f"\n{variant}: {len(PROMPTS)} prompts of {NEW} tokens, {compared} texts by {len(CONTROLLERS)} controllers are generate()'s own")
    assert accepted > 0 and compared == len(PROMPTS) * len(CONTROLLERS)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_training_sees_what_drafting_computes(target):
    """The exit layer over a whole row at once, as in training, against its cached passes, as in the engine; and transformers' states."""
    ids = list(range(40, 100))
    layer = ExitLayer(target, 2)
    cache, own = target.new_cache(len(ids)), target.new_cache(len(ids), layers=1)
    states = target.run_range(0, 2, target.embed(ids, 0), cache, 0)
    theirs = target.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(states, theirs[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(target.head_rows(theirs[-1]), target.model(torch.tensor([ids])).logits, rtol=1e-4, atol=1e-4)
    cached = torch.cat([layer(target, states[:, i : i + 1], own, i) for i in range(len(ids))])
    torch.testing.assert_close(layer.rows(target, states)[0], cached, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["llama", "gemma3", "gpt2"])
def test_without_an_exit_layer_the_models_own_head_drafts(target):
    engine = Engine(target, FrozenExit(target, 2), "exact-as-observed")
    assert "distill" in engine.exit_layer.note
    assert written(engine, PROMPTS[0])[0] == written(engine, PROMPTS[0], "vanilla")[0]


@pytest.mark.parametrize("variant", ["gpt2"])
@torch.no_grad()
def test_learned_positions_enter_whatever_is_skipped(target):
    whole, ids = tiny("gpt2"), list(range(40, 60))
    rest = remaining(target, SkipSet(frozenset({0}), frozenset({0})))
    skipped = target.logits(target.run(rest, target.embed(ids, 0), target.new_cache(len(ids)), 0))
    del whole.transformer.h[0]
    torch.testing.assert_close(skipped, whole(torch.tensor([ids]), use_cache=False).logits[0], rtol=1e-4, atol=1e-4)


def test_other_architectures_are_refused_by_name():
    with pytest.raises(UserError, match="'mamba'"):
        family_of(MambaConfig(), "some model")

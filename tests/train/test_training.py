import json
import lzma

import numpy as np
import pytest
import torch

from eesd_core.errors import UserError
from eesd_core.train import pretrain
from eesd_core.train.corpus import OWN_TEXT, Windows, clean, documents, find_sources, pack, read_records
from eesd_core.train.generations import Draw, write
from eesd_core.train.plot import loss_curve
from eesd_core.train.pretrain import (
    PretrainConfig,
    _optimizers,
    build_model,
    forward,
    learning_rate,
    load_checkpoint,
    losses,
    save_checkpoint,
)
from eesd_core.train.tokenizer import TURN_TOKENS, train_tokenizer, turns
from eesd_core.train.unlikelihood import GRAM, PROMPT, OwnText, completes_repetition

LINES = ["“Well,” said he—_well_!", "| 1 | 2 | 3 |"]
LINES += ["It was a long and stormy night, and nobody in the little house by the sea could find any sleep at all."]


def test_cleaning():
    assert clean("\n".join(LINES)) == '"Well," said he--well!\n' + LINES[2]


def test_documents_and_packing(tmp_path, engine):
    with lzma.open(tmp_path / "gutenberg-00.jsonl.xz", "wt") as out:
        for text in ("\n".join(LINES), LINES[2], "Another day came at last."):
            out.write(json.dumps({"text": text}) + "\n")
    sources = find_sources([tmp_path])
    texts = list(documents(sources["gutenberg"]))
    assert texts == [clean("\n".join(LINES)), "Another day came at last."]  # a repeated paragraph is dropped
    packed = pack(engine.target.tokenizer, iter(texts))
    assert packed.dtype == np.uint16 and packed[-1] == engine.target.tokenizer.eos_token_id
    assert (packed == engine.target.tokenizer.eos_token_id).sum() == 2


def test_no_text_is_said_clearly(tmp_path):
    with pytest.raises(UserError, match="--data"):
        find_sources([tmp_path])


def test_own_sources_need_no_known_names_and_come_alone(tmp_path):
    (tmp_path / "letters-1.jsonl").write_text(json.dumps({"text": LINES[2]}) + "\n")
    assert list(find_sources([tmp_path])) == ["letters"]
    weights = {"stories": 30.0}
    windows = Windows({"letters": np.zeros(100, np.uint16), "openstax": np.ones(100, np.uint16)}, weights)
    assert not windows.batch(np.random.default_rng(0), 50, 16).any()  # what has a weight in another stage only is not drawn
    assert Windows({"openstax": np.ones(100, np.uint16)}, weights).batch(np.random.default_rng(0), 5, 16).all()  # unless it is all there is
    with pytest.raises(UserError, match="shorter than one window"):
        windows.batch(np.random.default_rng(0), 1, 100)


@pytest.mark.parametrize("line", ["{", "[]", "3", "{}", '{"text": 3}', '{"prompt": "x"}', "\udcff"])
def test_a_broken_record_is_one_clear_line(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n' + line.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_records(tmp_path / "a.jsonl"))


def test_a_text_may_have_a_prompt_beside_it(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "Once", "text": LINES[2]}) + "\n")
    assert list(documents([tmp_path / "a.jsonl"])) == [clean(LINES[2])]


def test_windows_follow_the_weights():
    windows = Windows({"a": np.zeros(1000, np.uint16), "b": np.ones(1000, np.uint16)}, {"a": 3.0, "b": 1.0})
    rows = windows.batch(np.random.default_rng(0), 4000, 16)
    assert rows.shape == (4000, 16) and rows[:, 0].mean() == pytest.approx(0.25, abs=0.03)


def test_tokenizer_round_trip():
    tokenizer = train_tokenizer(LINES * 20, 320, 64)
    text = "A stormy night — 1850; naïve ☃ <|user|>"
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text
    assert [tokenizer.convert_tokens_to_ids(t) for t in TURN_TOKENS] == [1, 2, 3]


def test_own_text_is_clean_and_becomes_stories_and_turns():
    stories, talk = (list(documents([OWN_TEXT / name])) for name in ("stories.jsonl", "talk.jsonl"))
    assert len(stories) >= 500 and len(talk) >= 200  # every story is also the reply to a request
    assert all(text.isascii() for text in stories + talk)
    assert all(text.startswith("<|user|>") and text.endswith("<|end|>") for text in talk)


def test_turns_are_what_the_chat_template_writes():
    tokenizer = train_tokenizer(LINES * 20, 320, 64)
    messages = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Good day."}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == turns("Hello!", "Good day.")


def test_the_rate_is_a_trapezoid():
    config = PretrainConfig(warmup_steps=10, cooldown=0.5)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[0] == config.learning_rate / 10 and rates[9] == rates[50] == config.learning_rate and rates[100] == 0
    assert rates[75] == pytest.approx(config.learning_rate / 2)


def test_checkpoint_resumes_exactly(tmp_path):
    config = PretrainConfig(layers=2, hidden=64, mlp=64, heads=1, kv_heads=1, vocab=300, context=64)
    tokenizer = train_tokenizer(LINES * 20, 300, 64)

    def step(model, optimizers):
        model(torch.arange(20)[None], labels=torch.arange(20)[None]).loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    model = build_model(config, tokenizer)
    optimizers = _optimizers(model, config)
    step(model, optimizers)
    save_checkpoint(tmp_path / "c.safetensors", model, optimizers, {})
    step(model, optimizers)
    again = build_model(config, tokenizer)
    fresh = _optimizers(again, config)
    load_checkpoint(tmp_path / "c.safetensors", again, fresh)
    step(again, fresh)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))


@torch.no_grad()
def test_training_sees_what_drafting_computes(engine):
    """The exit layer over a whole row at once, as in training, against its cached passes, as in the engine."""
    target, layer, ids = engine.target, engine.exit_layer, list(range(40, 80))
    cache, own = target.new_cache(len(ids)), target.new_cache(len(ids), layers=1)
    states = target.run_range(0, layer.exit_after, target.embed(ids, 0), cache, 0)
    cached = torch.cat([layer(target, states[:, i : i + 1], own, i) for i in range(len(ids))])
    torch.testing.assert_close(layer.rows(target, states)[0], cached, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_whole_rows_are_what_the_model_computes(engine):
    target, ids = engine.target, torch.arange(40, 80)[None]
    final, early = forward(target.model, engine.exit_layer, ids)
    torch.testing.assert_close(final, target.model(ids).logits, rtol=1e-4, atol=1e-4)
    states = target.model(ids, output_hidden_states=True).hidden_states[engine.exit_layer.exit_after]
    torch.testing.assert_close(early, engine.exit_layer.rows(target, states), rtol=1e-4, atol=1e-4)


def test_loss_curve_joins_the_stages():
    entries = [{"tokens": 1e6, "loss": 5.0}, {"tokens": 2e6, "loss": 4.0, "validation_loss": 4.1}]
    chart = loss_curve([{"entries": entries}, {"entries": entries}])
    assert chart.count("<polyline") == 2 and "training loss" in chart and ">4.0<" in chart  # 2 + 2 million tokens


def test_repetitions_are_found_where_a_search_finds_them():
    rows = np.random.default_rng(0).integers(0, 5, (40, 120))
    for row, found in zip(rows.tolist(), completes_repetition(rows)):
        grams = [row[end - GRAM : end] for end in range(len(row) + 1)]  # empty or short ones in front
        assert found.tolist() == [end >= GRAM and grams[end] in grams[GRAM:end] for end in range(1, len(row) + 1)]
    loop = completes_repetition(np.array([[7, 8, 9] * 5]))[0]
    assert loop.tolist() == [False] * 6 + [True] * 9  # the first turn that can be told from chance is four tokens long


def test_own_text_is_what_the_model_would_write_and_is_used_once(engine):
    target = engine.target
    windows = Windows({"stories": np.random.default_rng(0).integers(4, 200, 4000).astype(np.uint16)}, {"stories": 1.0})
    own = OwnText(target, windows, PROMPT + 12, pool=4)
    taken = np.concatenate([own.batch(np.random.default_rng(seed), 3) for seed in range(2)])
    assert taken.shape == (6, PROMPT + 12) and len(np.unique(taken, axis=0)) == 6
    prompts = taken[:, :PROMPT].tolist()
    assert np.array_equal(write(target, prompts, 12, Draw(0.0)).ids.numpy(), taken)


def test_likelihood_and_unlikelihood_token_by_token(engine):
    """Against the definition."""
    model, layer = engine.target.model, engine.exit_layer
    rows = torch.randint(4, 200, (3, 49), generator=torch.Generator().manual_seed(1))
    signs = torch.randint(-1, 2, (3, 49), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found, exit_loss, distance = losses(model, layer, rows, signs)
        chances, early = (logits.float().softmax(-1) for logits in forward(model, layer, rows[:, :-1]))
    parts = []
    for b in range(3):
        for t in range(1, 49):
            chance = chances[b, t - 1, rows[b, t]]
            parts.append({1: -chance.log(), 0: torch.zeros(()), -1: -(1 - chance).log()}[int(signs[b, t])])
    assert found.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-4)
    assert exit_loss.item() == pytest.approx(-(chances * early.log()).sum(-1).mean().item(), rel=1e-4)
    assert distance.item() == pytest.approx((chances * (chances / early).log()).sum(-1).mean().item(), rel=1e-4)


def test_the_exit_layer_learns_from_its_own_loss_and_the_model_from_the_distance(engine):
    model, layer = engine.target.model, engine.exit_layer
    rows = torch.randint(4, 200, (2, 17), generator=torch.Generator().manual_seed(1))
    places = [model.model.layers[-1].mlp.down_proj.weight, layer.layers[0].mlp.down_proj.weight]

    def moved(loss):
        grads = torch.autograd.grad(loss, places, allow_unused=True)
        return [grad is not None and bool(grad.abs().sum()) for grad in grads]

    _, exit_loss, distance = losses(model, layer, rows, torch.ones_like(rows))
    assert moved(exit_loss) == [False, True] and moved(distance) == [True, False]


def test_a_certain_repetition_still_has_a_finite_loss(engine, monkeypatch):
    logits = torch.zeros(1, 8, 300)
    logits[..., 7] = 100.0
    monkeypatch.setattr(pretrain, "forward", lambda *_: (logits.requires_grad_(), logits))
    loss, _, _ = losses(None, None, torch.full((1, 9), 7), torch.full((1, 9), -1))
    assert torch.isfinite(loss) and 10 < loss < 20

"""Identity: every controller x sampling gives what a slow plain reference gives."""

import copy
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.events import DraftToken, RoundVerified, RunCancelled, RunFinished
from eesd_core.limits import MAX_DRAFT
from eesd_core.metrics import Metrics
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import Sampling, gumbel_noise, processed_log_probs

GREEDY = Sampling()
SAMPLED = [Sampling(0.7, 1.0, 3), Sampling(1.0, 0.9, 4)]
CONTROLLERS = [("beta", {"seed": 5}), ("beta", {"alpha": 8.0, "beta": 1.0, "seed": 1})]
CONTROLLERS += [("fixed", {"length": k}) for k in (0, 1, 4, MAX_DRAFT)]
PROMPTS = ["Once upon a time", "x", "a longer prompt, with some more text in it, to begin further away from zero"]


@torch.no_grad()
def reference(engine, prompt: str, new_tokens: int, sampling: Sampling) -> list[int]:
    """Plain decoding: transformers' own forward over the whole text for every token, no cache, no drafts."""
    target = engine.target
    ids = target.codec.encode(prompt)
    begin = len(ids)
    while len(ids) - begin < new_tokens:
        logits = target.model(torch.tensor([ids])).logits[0, -1:]
        if sampling.temperature:
            logits = processed_log_probs(logits, sampling)
            logits = logits + gumbel_noise(sampling.seed, len(ids), torch.arange(target.vocab))
        ids.append(int(logits.argmax()))
        if ids[-1] in target.end_ids:
            break
    return ids[begin:]


def run(engine, prompt="Once upon a time", new_tokens=40, sampling=GREEDY, method="eesd", controller="beta", **settings):
    return [r.event for r in engine.run(Request(prompt, new_tokens, sampling, method, controller, settings))]


def written(events) -> list[int]:
    return [i for e in events if e.type == "tokens_committed" for i in e.ids]


def rounds(events) -> list[RoundVerified]:
    return [e for e in events if isinstance(e, RoundVerified)]


@pytest.mark.parametrize("sampling", [GREEDY, *SAMPLED], ids=str)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_controller_writes_what_plain_decoding_writes(engine, prompt, sampling):
    expected = reference(engine, prompt, 40, sampling)
    assert len(set(expected)) > 5  # a text worth comparing
    assert written(run(engine, prompt, sampling=sampling, method="vanilla")) == expected
    for controller, settings in CONTROLLERS:
        assert written(run(engine, prompt, sampling=sampling, controller=controller, **settings)) == expected


def test_rounds_are_of_every_kind(engine):
    """The comparison above covers partial, full and no acceptance, several rounds of each."""
    found = [r for prompt in PROMPTS for r in rounds(run(engine, prompt, 60, controller="fixed", length=3))]
    assert sum(0 < r.accepted < r.drafted for r in found) >= 3
    assert sum(r.accepted == r.drafted > 0 for r in found) >= 1
    assert sum(r.accepted == 0 for r in found) >= 3


def test_a_right_drafter_is_always_accepted_and_earns_the_bonus(agreeing):
    found = rounds(run(agreeing, new_tokens=40, controller="fixed", length=4))
    assert [r.accepted for r in found] == [4] * 8
    assert {r.next_kind for r in found} == {"bonus"}


def test_a_wrong_drafter_costs_no_identity(disagreeing):
    events = run(disagreeing, controller="fixed", length=4)
    assert written(events) == reference(disagreeing, "Once upon a time", 40, GREEDY)
    assert sum(r.accepted for r in rounds(events)) < 20


def test_the_accepted_prefix_is_what_the_target_chose(engine):
    drafts = []
    for event in run(engine, new_tokens=60, controller="fixed", length=5):
        if isinstance(event, DraftToken):
            drafts.append(event.id)
        if isinstance(event, RoundVerified):
            assert tuple(drafts[: event.accepted]) == event.target_ids[: event.accepted]
            assert event.next_id == event.target_ids[event.accepted]
            assert event.accepted == len(drafts) or drafts[event.accepted] != event.next_id
            drafts = []


@pytest.mark.parametrize("new_tokens", range(1, 12))
def test_the_length_limit_inside_a_draft(agreeing, new_tokens):
    events = run(agreeing, new_tokens=new_tokens, controller="fixed", length=4)
    assert written(events) == reference(agreeing, "Once upon a time", new_tokens, GREEDY)
    assert isinstance(events[-1], RunFinished) and events[-1].reason == "length" and events[-1].new_tokens == new_tokens


@pytest.mark.parametrize("which", ["engine", "agreeing"])
@pytest.mark.parametrize("length", [0, 1, 3, 7])
def test_the_end_of_the_text_at_every_place_of_a_draft(which, length, request):
    engine = request.getfixturevalue(which)
    text = reference(engine, "Once upon a time", 24, GREEDY)
    ends = engine.target.end_ids
    try:
        for token in set(text):
            engine.target.end_ids = frozenset([token])
            events = run(engine, new_tokens=24, controller="fixed", length=length)
            assert written(events) == text[: text.index(token) + 1]
            assert events[-1].reason == "eos"
    finally:
        engine.target.end_ids = ends


def test_prompt_and_new_tokens_may_fill_the_context(engine):
    prompt = "a" * (engine.target.context - 20)
    assert written(run(engine, prompt, 20, controller="fixed", length=7)) == reference(engine, prompt, 20, GREEDY)


def test_two_runs_interleaved_do_not_disturb_each_other(engine):
    one, two = (engine.run(Request(p, 30, s, "eesd", "fixed", {"length": 3})) for p, s in ((PROMPTS[0], GREEDY), (PROMPTS[2], SAMPLED[0])))
    texts: list[list[int]] = [[], []]
    for pair in zip(one, two):
        for text, record in zip(texts, pair):
            text += record.event.ids if record.event.type == "tokens_committed" else ()
    for records, text in ((one, texts[0]), (two, texts[1])):
        for record in records:
            text += record.event.ids if record.event.type == "tokens_committed" else ()
    assert texts[0] == reference(engine, PROMPTS[0], 30, GREEDY)
    assert texts[1] == reference(engine, PROMPTS[2], 30, SAMPLED[0])
    assert not torch.is_inference_mode_enabled()


def test_cancelling_ends_the_run_at_a_round(engine):
    answers = iter([False, False, True])
    events = [r.event for r in engine.run(Request("Once", 50), cancelled=lambda: next(answers))]
    assert isinstance(events[-1], RunCancelled) and len(rounds(events)) == 2


def test_split_forward_is_the_whole_models_forward(engine):
    target, ids = engine.target, list(range(40, 90))
    with torch.no_grad():
        cache = target.new_cache(len(ids))
        hidden = target.run_range(0, 2, target.embed(ids, 0), cache, 0)
        split = target.logits(target.run_range(2, target.depth, hidden, cache, 0))
        torch.testing.assert_close(split, target.model(torch.tensor([ids])).logits[0], rtol=1e-4, atol=1e-4)


def test_events_rebuild_the_run(engine):
    records = list(engine.run(Request("Once upon a time", 50, SAMPLED[0])))
    assert [r.seq for r in records] == list(range(len(records)))
    assert all(a.t <= b.t for a, b in pairwise(records))
    assert sum(isinstance(r.event, RunFinished) for r in records) == 1
    m = Metrics.fold(records, "eesd")
    verified = rounds([r.event for r in records])
    assert len(m.token_ids) == 50 == sum(r.accepted + (r.next_id is not None) for r in verified)
    assert m.accepted == sum(m.accepted_at) and m.drafted == sum(m.draft_lengths) and m.rounds == len(verified)
    assert m.text == engine.target.tokenizer.decode(records[0].event.prompt_ids + tuple(m.token_ids))[len("Once upon a time") :]
    assert 0 <= m.seconds - m.draft_seconds - m.verify_seconds < m.seconds


def test_a_request_is_written_as_the_chat_template_says(engine):
    target = engine.target
    with pytest.raises(UserError, match="no chat template"):
        engine.encode(Request("Hello!", chat=True))
    tokenizer = copy.copy(target.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[reply]"
    chatting = Engine(Target(target.model, tokenizer, "tiny"), engine.exit_layer, engine.level)
    ids = chatting.encode(Request("Hi <|endoftext|>!", chat=True))
    assert ids == target.codec.encode("[user]Hi <|endoftext|>![reply]")


def test_a_prompt_is_tokenised_once_a_race(engine, monkeypatch):
    read = []
    target = Target(engine.target.model, engine.target.tokenizer, "tiny")
    codec, encode = target.codec, target.codec._renamed.encode
    monkeypatch.setattr(codec, "_renamed", SimpleNamespace(encode=lambda text: read.append(text) or encode(text)))
    list(race(Engine(target, engine.exit_layer, engine.level), Request("Once upon a time", 4)))
    assert read == ["Once upon a time"]


def test_a_prompt_of_which_no_token_is_made_is_refused(engine, monkeypatch):
    monkeypatch.setattr(engine.target.codec, "encode", lambda text: [])
    with pytest.raises(UserError, match="no token"):
        engine.encode(Request("你好"))

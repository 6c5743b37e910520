"""Prompt lookup and layer skipping: what they draft is checked against plain references, what is written against vanilla."""

import copy
import json

import pytest
import torch
from test_distribution import CUT, TOKENS, Chain, ChainExit, distance
from test_engine import reference
from transformers import DynamicCache

from eesd_core.cli import main
from eesd_core.control import CONTROLLERS
from eesd_core.draft.base import Parts, Text
from eesd_core.draft.prompt_lookup import PromptLookupDrafter
from eesd_core.draft.registry import make_drafter, parse_drafter
from eesd_core.draft.skip_set import SkipSet
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.events import DraftToken, RoundVerified
from eesd_core.limits import MAX_DRAFT
from eesd_core.request import Request
from eesd_core.sampling import Sampler, Sampling

PROMPT = "one two, one two, one t"
SKIPPING = ["layer-skip", "layer-skip:a1.m1.m2.a3", "layer-skip:m0.m1.m2.m3.a0.a1.a2.a3"]
DRAFTERS = ["early-exit", "disturbed:0.5:10", "disturbed:1", "prompt-lookup", "prompt-lookup:1", *SKIPPING]
RULES = {"greedy": Sampling(), "shared noise": Sampling(0.9, 0.95, 11), "rejection": Sampling(0.9, 0.95, 11, acceptance="rejection")}
KINDS = {"fixed:4": {"length": 4}} | {name: {} for name in CONTROLLERS}


def events(engine, drafter: str, sampling: Sampling, controller: str = "fixed", new_tokens: int = 40, prompt: str = PROMPT, **settings):
    return [r.event for r in engine.run(Request(prompt, new_tokens, sampling, "eesd", controller, settings, drafter=drafter))]


def written(found) -> list[int]:
    return [i for e in found if e.type == "tokens_committed" for i in e.ids]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_every_drafter_with_every_controller_writes_vanillas_text(engine, drafter, rule):
    """By rejection sampling there is no such text; there every token must be accounted for, and a run repeats itself."""
    sampling = RULES[rule]
    expected = reference(engine, PROMPT, 40, sampling)
    for name, settings in KINDS.items():
        found = events(engine, drafter, sampling, name.partition(":")[0], **settings)
        if rule == "rejection":
            assert len(written(found)) == 40
            if name.startswith("fixed"):  # others look at costs, which time decides
                assert written(events(engine, drafter, sampling, name.partition(":")[0], **settings)) == written(found)
        else:
            assert written(found) == expected
        rounds = [e for e in found if isinstance(e, RoundVerified)]
        assert sum(r.accepted + 1 for r in rounds) == 40


@pytest.mark.parametrize(("drafter", "which"), [("prompt-lookup", "agreeing"), ("layer-skip:m1", "engine")])
def test_the_comparison_covers_rounds_of_every_kind(drafter, which, request):
    engine = request.getfixturevalue(which)
    found = [events(engine, drafter, Sampling(t, seed=1), length=3, new_tokens=100) for t in (0.0, 0.5, 1.0)]
    rounds = [e for run in found for e in run if isinstance(e, RoundVerified)]
    assert any(0 < r.accepted < r.drafted for r in rounds)
    assert any(r.accepted == 0 < r.drafted for r in rounds)
    assert any(r.accepted == r.drafted > 0 for r in rounds)


# Prompt lookup


def looked_up(text: str, budget: int, longest: int = 3) -> str:
    """The definition: for n from the longest on, the latest place where the last n tokens stood before; the copy goes on over itself."""
    for n in range(min(longest, len(text) - 1), 0, -1):
        place = text[:-1].rfind(text[-n:])
        if place >= 0:
            copied = text
            for i in range(budget):
                copied += copied[place + n + i]
            return copied[len(text) :]
    return ""


@pytest.mark.parametrize("text", ["abcabcab", "abcdabxab", "aaaa", "abcd", "x", "abab", "xyzabxyzcxy", "the cat sat on the c"])
@pytest.mark.parametrize("longest", [1, 3])
def test_what_is_looked_up(engine, text, longest):
    drafter = PromptLookupDrafter(Parts(engine.target, None, 99), longest)
    ids, found = [ord(letter) for letter in text], []
    for end in range(1, len(ids) + 1):  # the text grows; nothing may be forgotten or entered twice
        so_far, found = Text(ids[:end], None, None), []
        while len(found) < 5 and (more := drafter.extend(so_far, found, 5)):
            found += more
    assert "".join(chr(node.id) for node in found) == looked_up(text, 5, longest)
    assert "".join(map(chr, drafter.whole_draft(so_far))) == looked_up(text, MAX_DRAFT, longest)


def test_a_text_that_repeats_itself_is_drafted_to_the_limit(agreeing):
    """Where nothing was found there is no draft, no decision and no draft event."""
    found = events(agreeing, "prompt-lookup", Sampling(), length=6, new_tokens=100)
    rounds = [e for e in found if isinstance(e, RoundVerified)]
    assert {r.drafted for r in rounds} <= set(range(7)) and max(r.accepted for r in rounds) == 6
    stops = [e.round for e in found if e.type == "draft_stopped"]
    assert stops == [r.round for r in rounds if r.drafted]


def test_a_draft_ends_at_the_end_of_the_text(engine):
    end = engine.target.codec.encode(" ")[0]
    old, engine.target.end_ids = engine.target.end_ids, frozenset([end])
    try:
        drafts = [e for e in events(engine, "prompt-lookup", Sampling(), length=8) if isinstance(e, DraftToken)]
        assert drafts and all(not e.go for e in drafts if e.id == end)
    finally:
        engine.target.end_ids = old


def test_lookups_by_rejection_have_the_targets_law(engine):
    chain = Engine(Chain(engine.target.tokenizer), ChainExit(), "exact-as-observed")
    request, ids = Request("-", TOKENS // 2, CUT, "eesd", "fixed", {"length": 3}, drafter="prompt-lookup"), [0]
    for event in chain.events(chain.start(request, ids=[0]), request):
        if event.type == "tokens_committed":
            ids += event.ids
    ids, vocab = torch.tensor(ids), chain.target.vocab
    counts = torch.bincount(ids[:-1] * vocab + ids[1:], minlength=vocab**2).view(vocab, vocab)
    assert distance(counts, chain.target.table, CUT) < 1.4


# Disturbed early exit


@pytest.mark.parametrize("rule", ["greedy", "shared noise"])
def test_from_the_given_token_on_drafts_go_wrong_and_the_text_does_not(agreeing, rule):
    """Undisturbed, this exit layer is always right."""
    found = events(agreeing, "disturbed:0.5:30", RULES[rule], length=4, new_tokens=150)
    assert written(found) == reference(agreeing, PROMPT, 150, RULES[rule])
    position, early, late = 0, [], []
    for e in found:
        if isinstance(e, RoundVerified):
            for i in range(min(e.accepted + 1, e.drafted)):
                (early if position + i < 30 else late).append(i < e.accepted)
            position += e.accepted + 1
    assert all(early) and len(early) > 15
    assert 0.3 < sum(late) / len(late) < 0.7  # half, and a random token is never right here but by luck
    assert next(e for e in found if e.type == "run_started").settings["drafter"] == "disturbed:0.5:30"


def test_disturbed_drafts_by_rejection_have_the_targets_law(engine):
    chain = Engine(Chain(engine.target.tokenizer), ChainExit(), "exact-as-observed")
    request, ids = Request("-", TOKENS // 2, CUT, "eesd", "fixed", {"length": 3}, drafter="disturbed:0.4"), [0]
    for event in chain.events(chain.start(request, ids=[0]), request):
        if event.type == "tokens_committed":
            ids += event.ids
    ids, vocab = torch.tensor(ids), chain.target.vocab
    counts = torch.bincount(ids[:-1] * vocab + ids[1:], minlength=vocab**2).view(vocab, vocab)
    assert distance(counts, chain.target.table, CUT) < 1.4


# Layer skipping


@torch.no_grad()
def skipped_reference(engine, skips: SkipSet, ids: list[int], drafts: list[int]) -> torch.Tensor:
    """Logits behind the pending token and every draft: transformers' own model whose skipped sub-layers have zero output, on keys and
    values that the whole model made of everything before. (k, V)"""
    model = copy.deepcopy(engine.target.model)
    cache = DynamicCache()
    model(torch.tensor([ids[:-1]]), past_key_values=cache)
    for number in skips.attention:
        model.model.layers[number].self_attn.o_proj.weight.zero_()
    for number in skips.mlp:
        model.model.layers[number].mlp.down_proj.weight.zero_()
    return torch.cat([model(torch.tensor([[id]]), past_key_values=cache).logits[0] for id in [ids[-1], *drafts[:-1]]])


@pytest.mark.parametrize("skips", ["a1.m1", "m0.m2", "a0.a3.m3", ""])
def test_layer_skipping_drafts_what_the_model_without_these_sublayers_says(engine, skips):
    found = events(engine, f"layer-skip:{skips}" if skips else "layer-skip", Sampling(1.0, seed=3), length=3, new_tokens=24)
    chosen = SkipSet.parse(skips) if skips else SkipSet.every_second(4)
    text, drafts, compared = engine.target.codec.encode(PROMPT), [], 0
    sampler = Sampler(Sampling(1.0, seed=3), engine.target.vocab, engine.target.device)
    for event in found:
        if isinstance(event, DraftToken):
            drafts.append(event)
        elif isinstance(event, RoundVerified):
            if drafts:
                logits = skipped_reference(engine, chosen, text, [e.id for e in drafts])
                log_probs = sampler.log_probs(logits)
                positions = range(len(text), len(text) + len(logits))
                assert sampler.scores(logits, log_probs, positions).argmax(-1).tolist() == [e.id for e in drafts]
                assert log_probs.exp().amax(-1).tolist() == pytest.approx([e.confidence for e in drafts], abs=1e-4)
                compared += 1
            text += [e.id for e in drafts[: event.accepted]] + [event.next_id]
            drafts = []
    assert compared >= 5


def test_the_target_is_left_as_it_was(engine):
    before = [list(layer._modules) for layer in engine.target.layers]
    layers = list(engine.target.layers)
    events(engine, "layer-skip", Sampling(), length=3, new_tokens=8)
    assert [list(layer._modules) for layer in engine.target.layers] == before and list(engine.target.layers) == layers
    assert all(type(layer.self_attn).__name__ == "LlamaAttention" for layer in engine.target.layers)


def test_skip_sets_read_what_they_write():
    for text in ("a1.m2", "a0.a11.m3", "m7"):
        assert str(SkipSet.parse(text)) == text
    assert str(SkipSet.every_second(6)) == "a1.a3.m1.m3"


WRONG = ("", "magic", "early-exit:17", "early-exit:2:3", "layer-skip:x3", "layer-skip:a", "layer-skip:a99999")
DISTURBED = ("disturbed", "disturbed:x", "disturbed:2", "disturbed:nan", "disturbed:0.5:-1", "disturbed:0.5:1:2", "disturbed:1:1234567")
LOOKUPS = ("prompt-lookup:x", "prompt-lookup:0", "prompt-lookup:11", "prompt-lookup:9999999")


@pytest.mark.parametrize("text", [*WRONG, *DISTURBED, *LOOKUPS, "layer-skip:a1,m2"])
def test_a_wrong_drafter_is_said(text):
    with pytest.raises(UserError):
        parse_drafter(text)
    with pytest.raises(UserError):
        Request("x", drafter=text)


def test_a_long_set_of_skipped_layers_is_read_whole():
    """A search over thirty layers finds sets of more than forty characters."""
    skips = str(SkipSet.every_second(30))
    assert len(skips) > 40 and parse_drafter(f"layer-skip:{skips}").settings["skips"] == skips


def test_a_drafter_that_does_not_fit_is_said(engine):
    for text in ("layer-skip:a4", "early-exit"):
        with pytest.raises(UserError):
            make_drafter(parse_drafter(text), Parts(engine.target, None, 10))


def test_without_an_exit_layer_the_other_drafters_draft(engine):
    bare = Engine(engine.target, None, "exact-as-observed")
    plain = reference(engine, PROMPT, 20, Sampling())
    for drafter in ("prompt-lookup", *SKIPPING):
        assert written(events(bare, drafter, Sampling(), "throughput", 20)) == plain
    with pytest.raises(UserError, match="exit layer"):
        list(bare.run(Request("x")))


def test_the_command_line_takes_a_drafter(model_folder, capsys):
    where = ["--model", str(model_folder), "--max-new-tokens", "8", "--controller", "fixed:2", "--json"]
    assert main(["race", "x y x y", "--drafter", "layer-skip:m1", *where]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["identical"] and report["eesd"]["drafted"] > 0
    assert main(["race", "x", "--drafter", "magic", *where]) == 2
    assert capsys.readouterr().err.startswith("error: unknown drafter")

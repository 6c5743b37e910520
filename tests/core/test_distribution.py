"""Rejection sampling through the whole engine: the text has the target's law, and is what a plain loop with the same numbers writes."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eesd_core.cli import main
from eesd_core.control import CONTROLLERS
from eesd_core.engine import Engine
from eesd_core.events import Record
from eesd_core.heads.base import Head
from eesd_core.metrics import Metrics
from eesd_core.model.cache import KVCache
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.sampling import ACCEPT, DRAFT, NEXT, Sampling, gumbel_noise, processed_log_probs, uniform
from eesd_core.trace import to_line

VOCAB, TOKENS = 6, 20_000  # tokens of one run; 4,000 where the rule is not put to the test


class Chain:
    """A target whose next token depends on the last one alone: its exact law is a table, and 20,000 tokens fit into one run."""

    name, device, dtype, vocab, depth, context, end_ids = "chain", torch.device("cpu"), torch.float32, VOCAB, 2, TOKENS + 64, frozenset()
    config, precision, shards, stream, broken, steps = SimpleNamespace(hidden_size=VOCAB), "float32", 1, torch.float32, None, None

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.codec = SimpleNamespace(special_ids=frozenset(), decode=lambda ids: "".join(map(str, ids)), piece=str)
        self.table, other = 1.5 * torch.randn(2, VOCAB, VOCAB, generator=torch.Generator().manual_seed(3))
        self.early = self.table + 0.6 * other

    def new_cache(self, capacity: int, layers: int = 2) -> KVCache:
        return KVCache([self.device] * layers, 1, capacity, 1, self.dtype)

    def embed(self, ids: list[int], start: int, parents=()) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor([ids], dtype=torch.long), VOCAB).float()

    def run_range(self, low, high, hidden, cache, start, parents=()) -> torch.Tensor:
        for layer in range(low, high):
            assert cache.lengths[layer] == start
            cache.update(hidden[:, None, :, :1], hidden[:, None, :, :1], layer)
        return hidden

    verify, states = Target.verify, Target.states

    def logits(self, hidden) -> torch.Tensor:
        return hidden[0] @ self.table


class ChainExit(Head):
    def __init__(self):
        super().__init__(SimpleNamespace(depth=2), 1)

    def forward(self, target: Chain, states, cache, start, deep=None, words=None) -> torch.Tensor:
        cache.update(states[:, None, :, :1], states[:, None, :, :1], 0)
        return states[0, -1:] @ target.early


@pytest.fixture(scope="module")
def chain(engine) -> Engine:
    return Engine(Chain(engine.target.tokenizer), ChainExit(), "exact-as-observed")


def steps(chain: Engine, sampling: Sampling, controller: str | None, tokens: int) -> torch.Tensor:
    """How often each token followed each other one in one run. Without a controller: vanilla. (V, V)"""
    request = Request("-", tokens, sampling, "eesd" if controller else "vanilla", controller or "fixed")
    ids = [0]
    for event in chain.events(chain.start(request, ids=[0]), request):
        if event.type == "tokens_committed":
            ids += event.ids
    ids = torch.tensor(ids)
    return torch.bincount(ids[:-1] * VOCAB + ids[1:], minlength=VOCAB**2).view(VOCAB, VOCAB)


def distance(counts: torch.Tensor, logits: torch.Tensor, sampling: Sampling) -> float:
    """Total variation between what followed and the exact law, in units of its mean for that many independent draws."""
    law, rows = processed_log_probs(logits, sampling).exp(), counts.sum(-1, keepdim=True)
    expected = (2 * rows * law * (1 - law) / math.pi).sqrt().sum()  # mean absolute deviation of binomial counts
    return ((counts - rows * law).abs().sum() / expected).item()


WHOLE = Sampling(1.0, seed=1, acceptance="rejection")
CUT = Sampling(0.8, 0.9, 2, top_k=4, min_p=0.05, acceptance="rejection")
SHARED_NOISE = Sampling(0.8, 0.9, 3, top_k=4, min_p=0.05)


@pytest.mark.parametrize(
    ("sampling", "controller", "tokens"),
    [(WHOLE, "fixed", TOKENS), (CUT, "beta", TOKENS), (WHOLE, None, 4000), (SHARED_NOISE, "beta", 4000)],
    ids=["fixed", "beta, truncated", "vanilla", "shared noise"],
)
def test_a_long_run_has_the_targets_law(chain, sampling, controller, tokens):
    counts = steps(chain, sampling, controller, tokens)
    assert counts.sum() == tokens
    assert distance(counts, chain.target.table, sampling) < 1.4
    assert distance(counts, chain.target.early, sampling) > 5  # the drafter's law would be noticed


@torch.inference_mode()
def reference(engine: Engine, prompt: str, new_tokens: int, s: Sampling, drafts: int) -> tuple[list[int], list[int]]:
    """Speculative sampling as the papers write it: whole forward passes, no caches. Returns the text and the accepted counts."""
    target, exit_layer, everything = engine.target, engine.exit_layer, torch.arange(engine.target.vocab)

    def q_of(ids: list[int]) -> torch.Tensor:
        states = target.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[exit_layer.exit_after]
        return processed_log_probs(exit_layer(target, states, target.new_cache(len(ids), layers=1), 0), s)[0].exp()

    def p_of(ids: list[int]) -> torch.Tensor:
        return processed_log_probs(target.model(torch.tensor([ids])).logits[0, -1:], s)[0].exp()

    def draw(law: torch.Tensor, position: int, stream: int) -> int:
        return int((law.log() + gumbel_noise(s.seed, position, everything, stream)).argmax())

    ids = target.codec.encode(prompt)
    end, accepted, number = len(ids) + new_tokens, [], 0
    while len(ids) < end:
        first, draft, laws = len(ids), [], []
        for i in range(min(drafts, end - first - 1)):
            laws.append(q_of(ids + draft))
            draft.append(draw(laws[-1], first + i, DRAFT + number))
        for i, (x, q) in enumerate(zip(draft, laws)):
            p = p_of(ids)
            if uniform(s.seed, first + i, ACCEPT) >= p[x] / q[x]:
                ids.append(draw((p - q).clamp(min=0), first, NEXT))
                accepted.append(i)
                break
            ids.append(x)
        else:
            ids.append(draw(p_of(ids), first, NEXT))
            accepted.append(len(draft))
        number += 1
    return ids[-new_tokens:], accepted


@pytest.mark.parametrize("drafts", [0, 1, 4])
@pytest.mark.parametrize("sampling", [Sampling(0.9, seed=4, acceptance="rejection"), CUT], ids=["whole", "truncated"])
def test_a_run_is_what_the_papers_loop_writes(engine, sampling, drafts):
    records = list(engine.run(Request("Once upon a time", 40, sampling, "eesd", "fixed", {"length": drafts})))
    expected, accepted = reference(engine, "Once upon a time", 40, sampling, drafts)
    assert Metrics.fold(records, "eesd").token_ids == expected
    rounds = [r.event for r in records if r.event.type == "round_verified"]
    assert [r.accepted for r in rounds] == accepted
    assert drafts == 0 or (sum(accepted) > 0 and "correction" in [r.next_kind for r in rounds])
    for r in rounds:
        below = [u < chance for u, chance in zip(r.uniforms, r.accept_probabilities)]
        assert below == [True] * r.accepted + [False] * (r.next_kind == "correction")


@settings(max_examples=30)
@given(
    st.integers(1, 150), st.integers(1, 30), st.sampled_from(sorted(CONTROLLERS)), st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([{}, {"top_k": 1}, {"top_k": 9, "top_p": 0.8, "min_p": 0.05}]), st.integers(0, 2**40), st.booleans(),
)  # fmt: skip
def test_any_run_keeps_its_books(engine, length, new_tokens, controller, temperature, cuts, seed, ends):
    """Every prompt length, every controller, with and without an end of the text; every number fit for JSON."""
    sampling = Sampling(temperature, seed=seed, acceptance="rejection", **cuts)
    request = Request(("abc def. " * 20)[:length].strip(), new_tokens, sampling, "eesd", controller)
    old = engine.target.end_ids
    try:
        engine.target.end_ids = frozenset(range(0, 257, 16)) if ends else old
        records = list(engine.run(request))
    finally:
        engine.target.end_ids = old
    for record in records:
        assert Record.from_json(json.loads(to_line(record))).event == record.event
    rounds = [r.event for r in records if r.event.type == "round_verified"]
    text = Metrics.fold(records, "eesd").token_ids
    assert sum(r.accepted + (r.next_id is not None) for r in rounds) == len(text) == records[-1].event.new_tokens <= new_tokens
    assert len(text) == new_tokens or records[-1].event.reason == "eos"
    for r in rounds:
        assert len(r.uniforms) == len(r.accept_probabilities) == min(r.drafted, r.accepted + 1)
        assert r.next_kind == ("correction" if r.accepted < r.drafted else "none" if r.next_id is None else "bonus")


def test_equal_laws_are_always_accepted(agreeing):
    request = Request("Once upon a time", 40, CUT, "eesd", "fixed", {"length": 4})
    rounds = [r.event for r in agreeing.run(request) if r.event.type == "round_verified"]
    assert all(r.accepted == r.drafted for r in rounds)


def test_a_race_promises_a_distribution(engine):
    records = list(race(engine, Request("Once", 24, CUT)))
    verdict, texts = records[-1].event, [Metrics.fold(records, lane).token_ids for lane in ("vanilla", "eesd")]
    assert verdict.identical is None and verdict.first_difference is None and verdict.speedup > 0
    assert {r.event.level for r in records if r.event.type == "run_started"} == {verdict.level} == {"same-distribution"}
    assert texts[0] != texts[1] and all(len(text) == 24 for text in texts)


def test_greedy_ignores_the_rule(engine):
    greedy = [r.event.ids for r in engine.run(Request("Once", 24)) if r.event.type == "tokens_committed"]
    ruled = [r.event for r in engine.run(Request("Once", 24, Sampling(acceptance="rejection")))]
    assert [e.ids for e in ruled if e.type == "tokens_committed"] == greedy and ruled[0].level == engine.level


def test_the_command_line_says_so(model_folder, capsys):
    flags = ["--temperature=0.9", "--top-k=50", "--top-p=0.95", "--min-p=0.01", "--acceptance=rejection", "--max-new-tokens=12", "--json"]
    assert main(["race", "Once", "--model", str(model_folder), *flags]) == 0
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    assert report["identical"] is None and report["level"] == "same-distribution" and "verdict  same distribution" in out
    assert main(["race", "Once", "--model", str(model_folder), "--min-p", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: min-p must be")

"""Shared noise is what it says: Gumbel, keyed by seed, position and token id; and it samples the target's distribution."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eesd_core.engine import Request
from eesd_core.errors import UserError
from eesd_core.sampling import Sampling, gumbel_noise, processed_log_probs

IDS = torch.arange(6144)


def test_noise_depends_on_seed_position_and_id_alone():
    noise = gumbel_noise(7, 19, IDS)
    picks = torch.tensor([5, 6143, 0, 77])
    assert torch.equal(gumbel_noise(7, 19, picks), noise[picks])
    assert not torch.equal(noise, gumbel_noise(8, 19, IDS)) and not torch.equal(noise, gumbel_noise(7, 20, IDS))
    assert not torch.equal(noise, gumbel_noise(7 + 2**32, 19, IDS))


def test_noise_is_standard_gumbel_and_uncorrelated():
    noise = torch.stack([gumbel_noise(seed, position, IDS) for seed in range(6) for position in range(30)])  # (180, 6144)
    n = noise.numel()
    assert abs(noise.mean().item() - 0.577216) < 5 * math.sqrt(math.pi**2 / 6 / n)
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.02
    between_rows = torch.corrcoef(noise) - torch.eye(180)
    assert between_rows.abs().max() < 6 / math.sqrt(6144)
    neighbours = torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(n)


def test_gumbel_max_samples_the_distribution():
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
    draws = 20_000
    log_p = processed_log_probs(logits[None], 0.9, 1.0)[0]
    counts = torch.zeros(6)
    for position in range(draws):
        counts[(log_p + gumbel_noise(1, position, torch.arange(6))).argmax()] += 1
    chi2 = ((counts - draws * log_p.exp()) ** 2 / (draws * log_p.exp())).sum()
    assert chi2 < 20.5  # 0.999 quantile at 5 degrees of freedom


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=30), st.floats(0.05, 1.0), st.floats(0.2, 3.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(values, top_p, temperature):
    logits = torch.tensor([values])
    plain = (logits / temperature).softmax(-1)[0]
    kept = processed_log_probs(logits, temperature, top_p)[0].exp()
    assert abs(kept.sum().item() - 1) < 1e-4
    chosen = plain[kept > 0]
    assert chosen.sum() >= top_p - 1e-4
    assert chosen[chosen > chosen.min()].sum() < top_p + 1e-4
    assert (plain[kept == 0] <= chosen.min() + 1e-6).all()


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_top_p_of_a_large_vocabulary_is_what_sorting_all_of_it_gives(spread):
    logits = spread * torch.randn(3, 1000, generator=torch.Generator().manual_seed(1))
    plain = logits.log_softmax(-1)
    ordered, order = plain.sort(dim=-1, descending=True)
    kept = torch.zeros_like(plain, dtype=torch.bool).scatter_(-1, order, ordered.exp().cumsum(-1) - ordered.exp() < 0.9)
    assert torch.equal(processed_log_probs(logits, 1.0, 0.9) > -torch.inf, kept)


def test_rows_are_treated_alone():
    logits = torch.randn(5, 50)
    together = processed_log_probs(logits, 0.8, 0.9)
    assert all(torch.equal(together[i : i + 1], processed_log_probs(logits[i : i + 1], 0.8, 0.9)) for i in range(5))


@pytest.mark.parametrize("controller", ["beta", "fixed"])
def test_sampled_output_has_the_targets_distribution(engine, controller):
    """The third token of many short runs against the exact law of the model, summed over the two before it."""
    target, prompt, runs = engine.target, "q", 1500
    counts = torch.zeros(target.vocab)
    for seed in range(runs):
        records = engine.run(Request(prompt, 2, Sampling(0.6, 0.5, seed), "eesd", controller))
        counts[[i for r in records if r.event.type == "tokens_committed" for i in r.event.ids][1]] += 1
    law = torch.zeros(target.vocab)
    with torch.no_grad():
        first = processed_log_probs(target.model(torch.tensor([target.encode(prompt)])).logits[0, -1:], 0.6, 0.5)[0].exp()
        alive = first.nonzero().flatten()
        texts = torch.stack([torch.tensor([*target.encode(prompt), int(i)]) for i in alive])
        second = processed_log_probs(target.model(texts).logits[:, -1], 0.6, 0.5).exp()
        law += (first[alive, None] * second).sum(0)
    distance = 0.5 * (counts / runs - law).abs().sum()
    expected = 0.5 * (2 * law * (1 - law) / (math.pi * runs)).sqrt().sum()  # mean absolute error of that many draws
    assert distance < 1.5 * expected + 0.01


WRONG = [{"temperature": math.nan}, {"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}, {"seed": 2**63}]


@pytest.mark.parametrize("wrong", WRONG)
def test_nonsense_is_refused(wrong):
    with pytest.raises(UserError):
        Sampling(**wrong)

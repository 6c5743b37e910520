"""Noise is what it says: Gumbel, keyed by seed, position, stream and token id. Truncation is what its definition says."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from eesd_core.errors import UserError
from eesd_core.sampling import (
    ACCEPT,
    DRAFT,
    NEXT,
    SHARED,
    Sampler,
    Sampling,
    few_gumbels,
    gumbel_noise,
    processed_log_probs,
    stream,
    uniform,
)

IDS = torch.arange(6144)


def test_noise_depends_on_seed_position_and_id_alone():
    noise = gumbel_noise(7, 19, IDS)
    picks = torch.tensor([5, 6143, 0, 77])
    assert torch.equal(gumbel_noise(7, 19, picks), noise[picks])
    assert not torch.equal(noise, gumbel_noise(8, 19, IDS)) and not torch.equal(noise, gumbel_noise(7, 20, IDS))
    assert not torch.equal(noise, gumbel_noise(7 + 2**32, 19, IDS))


@pytest.mark.parametrize("kind", [SHARED, NEXT, DRAFT + 3])
def test_noise_of_few_tokens_is_the_same_noise(kind):
    for seed, position in ((7, 19), (2**40 + 5, 8191)):
        few = few_gumbels(seed, np.full(len(IDS), position), IDS.numpy(), kind)
        assert np.array_equal(few, gumbel_noise(seed, position, IDS, kind).numpy())


def test_noise_is_standard_gumbel_and_uncorrelated():
    noise = torch.stack([gumbel_noise(seed, position, IDS) for seed in range(6) for position in range(30)])  # (180, 6144)
    n = noise.numel()
    assert abs(noise.mean().item() - 0.577216) < 5 * math.sqrt(math.pi**2 / 6 / n)
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.02
    between_rows = torch.corrcoef(noise) - torch.eye(180)
    assert between_rows.abs().max() < 6 / math.sqrt(6144)
    neighbours = torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(n)


def test_streams_are_apart():
    """Draft noise, acceptance, corrections and shared noise of one position and seed have nothing to do with each other."""
    streams = [SHARED, ACCEPT, NEXT, DRAFT, DRAFT + 1, DRAFT + 200]
    noise = torch.stack([gumbel_noise(7, 19, IDS, stream) for stream in streams])
    assert (torch.corrcoef(noise) - torch.eye(len(streams))).abs().max() < 5 / math.sqrt(6144)
    numbers = torch.tensor([[uniform(seed, 3, stream) for seed in range(2000)] for stream in streams], dtype=torch.float64)
    assert numbers.min() > 0 and numbers.max() < 1 and (numbers.mean(-1) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 2000)
    assert (torch.corrcoef(numbers) - torch.eye(len(streams))).abs().max() < 5 / math.sqrt(2000)


def test_every_kind_round_and_sibling_has_a_stream_of_its_own():
    """Sibling 0 has the numbers that chains always had; nobody's are another's."""
    assert [stream(kind) for kind in (SHARED, ACCEPT, NEXT)] == [0, 1, 2] and [stream(DRAFT, r) for r in (0, 1, 200)] == [3, 4, 203]
    keys = [stream(kind, 0, sibling) for kind in (SHARED, ACCEPT, NEXT) for sibling in range(256)]
    keys += [stream(DRAFT, round, sibling) for round in (*range(300), 2**24 - 4) for sibling in range(256)]
    assert len(set(keys)) == len(keys) and max(keys) < 2**32
    noise = torch.stack([gumbel_noise(7, 19, IDS, stream(DRAFT, 5, sibling)) for sibling in range(4)])
    assert (torch.corrcoef(noise) - torch.eye(4)).abs().max() < 5 / math.sqrt(6144)


def test_gumbel_max_samples_the_distribution():
    log_p = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0]).log_softmax(-1)
    draws = 20_000
    noise = gumbel_noise(1, torch.arange(draws)[:, None], torch.arange(6))  # (draws, 6)
    counts = torch.bincount((log_p + noise).argmax(-1), minlength=6)
    chi2 = ((counts - draws * log_p.exp()) ** 2 / (draws * log_p.exp())).sum()
    assert chi2 < 20.5  # 0.999 quantile at 5 degrees of freedom


def plain_law(logits: list[float], s: Sampling) -> list[float]:
    """The definition, token by token: temperature, top-k, top-p, min-p, and each time the rest shares the probability."""

    def kept(weights: list[float], lowest: float) -> list[float]:  # ties with the last one are kept
        weights = [w if w >= lowest else 0.0 for w in weights]
        return [w / math.fsum(weights) for w in weights]

    p = kept([math.exp((x - max(logits)) / s.temperature) for x in logits], 0.0)
    if 0 < s.top_k < len(p):
        p = kept(p, sorted(p)[-s.top_k])
    reached, lowest = 0.0, 1.0
    for chance in sorted(p, reverse=True):
        if reached < s.top_p:
            lowest = chance
        reached += chance
    p = kept(p, lowest)
    return kept(p, s.min_p * max(p))


SAMPLINGS = st.builds(
    Sampling, temperature=st.floats(0.05, 3.0), top_p=st.just(1.0) | st.floats(0.05, 1.0), top_k=st.integers(0, 12),
    min_p=st.just(0.0) | st.floats(0.0, 0.9),
)  # fmt: skip


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=30), SAMPLINGS)
def test_truncation_is_what_a_plain_loop_gives(logits, sampling):
    found = processed_log_probs(torch.tensor([logits], dtype=torch.float64), sampling)[0].exp()
    assert found.tolist() == pytest.approx(plain_law(logits, sampling), abs=1e-9)


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("cuts", [{"top_p": 0.9}, {"top_k": 40}, {"min_p": 0.05}, {"top_k": 200, "top_p": 0.8, "min_p": 0.02}], ids=str)
def test_truncation_is_what_transformers_does(spread, cuts):
    """Also where the likeliest few do not reach top-p and more of the vocabulary is looked at."""
    logits = spread * torch.randn(3, 3000, generator=torch.Generator().manual_seed(1))
    scores = TemperatureLogitsWarper(0.7)(None, logits)
    if "top_k" in cuts:
        scores = TopKLogitsWarper(cuts["top_k"])(None, scores)
    if "top_p" in cuts:
        scores = TopPLogitsWarper(cuts["top_p"])(None, scores)
    if "min_p" in cuts:
        scores = MinPLogitsWarper(cuts["min_p"])(None, scores)
    found = processed_log_probs(logits, Sampling(0.7, **cuts))
    assert torch.equal(found == -torch.inf, scores == -torch.inf)
    torch.testing.assert_close(found.exp(), scores.softmax(-1))


def test_ties_with_the_last_one_kept_are_kept():
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    for cuts in ({"top_k": 2}, {"top_p": 0.5}):
        assert (processed_log_probs(logits, Sampling(1.0, **cuts))[0] > -torch.inf).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("cuts", [{}, {"top_p": 0.9}, {"top_k": 7}, {"min_p": 0.1}, {"top_p": 0.999, "top_k": 300, "min_p": 0.01}], ids=str)
def test_rows_are_treated_alone(cuts):
    """Bit for bit, though one row here needs far more of the vocabulary for top-p than the next."""
    logits = torch.randn(6, 2000, generator=torch.Generator().manual_seed(2)) * torch.tensor([0.01, 1.0, 9.0] * 2)[:, None]
    together = processed_log_probs(logits, Sampling(0.8, **cuts))
    assert all(torch.equal(together[i : i + 1], processed_log_probs(logits[i : i + 1], Sampling(0.8, **cuts))) for i in range(6))


WRONG = [{"temperature": math.nan}, {"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}, {"seed": 2**63}]
WRONG += [{"top_k": -1}, {"top_k": 2.0}, {"min_p": -0.1}, {"min_p": 1.0}, {"min_p": math.nan}, {"acceptance": "typical"}]


@pytest.mark.parametrize("wrong", WRONG)
def test_nonsense_is_refused(wrong):
    with pytest.raises(UserError):
        Sampling(**wrong)


CUTS = [{}, {"min_p": 0.1}, {"top_k": 7}, {"top_p": 0.9}, {"top_k": 50, "top_p": 0.8, "min_p": 0.01}]


@pytest.mark.parametrize("acceptance", ["shared-noise", "rejection"])
@pytest.mark.parametrize("cut", CUTS)
def test_scores_are_log_p_and_noise_bit_for_bit(acceptance, cut):
    """Also where noise is made only for the few tokens that are left."""
    how = Sampling(0.8, seed=5, acceptance=acceptance, **cut)
    sampler = Sampler(how, len(IDS), torch.device("cpu"))
    logits = 4 * torch.randn(5, len(IDS), generator=torch.Generator().manual_seed(0))
    log_probs, places = sampler.log_probs(logits), (9, 10, 10, 12, 13)
    assert torch.equal(log_probs, processed_log_probs(logits, how))
    plain = log_probs + torch.stack([gumbel_noise(5, place, IDS, NEXT if how.rejects else SHARED) for place in places])
    assert torch.equal(sampler.scores(logits, log_probs, places), plain)


HOWS = [Sampling(), *(Sampling(0.8, seed=5, **cut) for cut in CUTS), Sampling(2.0, 0.9, 5, acceptance="rejection")]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("noise", [None, SHARED, stream(DRAFT, 2)])
@pytest.mark.parametrize("listed", [None, IDS[3::7]])
def test_the_best_tokens_are_those_of_all_scores(how, noise, listed):
    """By torch, and by the kernel where there is one."""
    sampler, places, scale = Sampler(how, len(IDS), torch.device("cpu")), (9, 10, 10, 12, 13), 4
    given = scale * torch.randn(5, len(IDS), generator=torch.Generator().manual_seed(0))
    given = given if listed is None else given[:, listed].contiguous()
    ids = IDS if listed is None else listed
    log_probs = sampler.log_probs(given)
    scores = log_probs if how.temperature else given
    if how.temperature and noise is not None:
        scores = log_probs + torch.stack([gumbel_noise(5, place, ids, noise) for place in places])
    best, order = scores.topk(5)
    asked = () if listed is not None else [(0, 3), (2, int(order[2, 1])), (2, 8), (4, 0)]
    for ranker in (None, sampler.ranker):
        sampler.ranker = ranker
        found = sampler.rank(given, places, 5, noise, listed, asked)
        kept = best > -torch.inf
        assert torch.equal(torch.tensor(found.ids)[kept], ids[order][kept])
        torch.testing.assert_close(torch.tensor(found.scores), best, rtol=1e-6, atol=3e-6)
        torch.testing.assert_close(torch.tensor(found.log_probs)[kept], log_probs.gather(-1, order)[kept], rtol=1e-6, atol=3e-6)
        torch.testing.assert_close(found.asked, [log_probs[each].item() for each in asked], rtol=1e-6, atol=3e-6)
        torch.testing.assert_close(torch.tensor(found.confidence), log_probs.exp().amax(-1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(torch.tensor(found.entropy), torch.special.entr(log_probs.exp()).sum(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", [Sampling(), Sampling(0.8, seed=5), Sampling(1e-30, seed=2, min_p=0.2), Sampling(0.8, top_k=3)])
def test_rows_are_ranked_alone_ties_go_to_the_first_and_no_number_is_told(how):
    sampler = Sampler(how, 64, torch.device("cpu"))
    logits = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    logits[1] = 2.5  # all tokens alike
    logits[2, 5:9] = 40.0
    together = sampler.rank(logits, range(6), 4)
    alone = [sampler.rank(row, [place], 4) for place, row in enumerate(logits.split(1))]
    assert [row.ids[0] for row in alone] == together.ids and [row.scores[0] for row in alone] == together.scores
    if not how.temperature:
        assert together.ids[1][0] == 0 and together.ids[2][0] == 5
    for wrong in (math.nan, math.inf):
        logits[3, 7] = wrong
        assert not math.isfinite(sampler.rank(logits, range(6), 4).log_probs[3][0])
    logits[3, 7] = -math.inf
    assert math.isfinite(sampler.rank(logits, range(6), 4).log_probs[3][0])


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_one_row_is_ranked_by_one_thread(monkeypatch):
    """A plain step would wait for threads that have no row."""
    from eesd_core.model.cpu import rank

    works = []
    monkeypatch.setattr(rank, "in_parallel", lambda code, given, work: works.append(work))
    for rows in (1, 2):
        rank.Ranker(Sampling())(torch.zeros(rows, 64), range(rows), 2, None, None, ())
    assert works == [0, rank.WORK * 2 * 64]


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_noise_that_is_passed_over_could_not_have_mattered():
    """Over a large vocabulary with nearly equal tokens, where most noise is never computed."""
    ids, how = torch.arange(50_000), Sampling(1.0, seed=11)
    sampler = Sampler(how, len(ids), torch.device("cpu"))
    logits = torch.randn(8, len(ids), generator=torch.Generator().manual_seed(3))
    found = sampler.rank(logits, range(8), 5)
    scores = sampler.scores(logits, sampler.log_probs(logits), range(8))
    assert found.ids == scores.topk(5).indices.tolist()

"""A draft law over a shortlist: fewer tokens are drafted, and the text stays the target's."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eesd_core.heads.shortlist import Shortlist, Words, most_frequent, spread, text_logits
from eesd_core.sampling import Sampling, gumbel_noise, processed_log_probs
from eesd_core.verify import accept_probabilities, residual

VOCAB = 7


@pytest.fixture(scope="module")
def shortlist(engine):
    return Shortlist(engine.target, torch.arange(3, 257, 5))


def law(logits: list[float]) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float64).softmax(-1)


@given(
    st.lists(st.floats(-4, 4), min_size=VOCAB, max_size=VOCAB),
    st.lists(st.floats(-4, 4), min_size=3, max_size=3),
    st.permutations(range(VOCAB)),
)
def test_rejection_sampling_over_a_list_is_exact(target_logits, draft_logits, order):
    """By enumeration of every draft, acceptance and correction: each token has the target's probability, those outside the list too."""
    p, ids = law(target_logits), torch.tensor(order[:3])
    q = spread(ids, law(draft_logits), VOCAB)
    assert q.sum() == pytest.approx(1) and not q[torch.tensor(order[3:])].any()
    accept = accept_probabilities(ids, p.expand(3, -1), q.expand(3, -1))
    written = torch.zeros(VOCAB, dtype=torch.float64).index_add_(0, ids, q[ids] * accept)
    written += (q[ids] * (1 - accept)).sum() * residual(p, q)
    torch.testing.assert_close(written, p)


@given(st.lists(st.floats(-3, 3), min_size=VOCAB * VOCAB, max_size=VOCAB * VOCAB), st.integers(0, 3))
@settings(max_examples=20)
def test_two_drafts_in_a_row_are_exact(logits, off):
    """A chain of two over lists that differ, as the context's tokens grow: all pairs of tokens have the target's probability."""
    table = torch.tensor(logits, dtype=torch.float64).view(VOCAB, VOCAB).softmax(-1)  # the second token's law behind the first
    first, lists = table[off], (torch.tensor([0, 2, 3]), torch.tensor([1, 2, 3, 5]))
    q = [spread(ids, law([0.3 * i for i in range(len(ids))]), VOCAB) for ids in lists]
    pairs = torch.zeros(VOCAB, VOCAB, dtype=torch.float64)
    for a, b in product(lists[0].tolist(), lists[1].tolist()):
        reach = q[0][a] * q[1][b]
        yes = min(1.0, first[a] / q[0][a]), min(1.0, table[a][b] / q[1][b])
        pairs[a, b] += reach * yes[0] * yes[1]
        pairs[a] += reach * yes[0] * (1 - yes[1]) * residual(table[a], q[1])
        pairs += (reach * (1 - yes[0]) * residual(first, q[0]))[:, None] * table  # what follows a correction is the target's own
    torch.testing.assert_close(pairs, first[:, None] * table)


@given(
    st.integers(0, 2**40), st.integers(0, 5000), st.floats(0.3, 2.0), st.sampled_from([0.0, 0.1]), st.sets(st.integers(0, 256), min_size=2)
)
@settings(max_examples=60)
def test_with_shared_noise_the_list_chooses_what_the_full_head_would(seed, position, temperature, min_p, tokens):
    """Wherever that is in the list. (With min-p, wherever the likeliest token is in it too.)"""
    logits = 4 * torch.randn(1, 257, generator=torch.Generator().manual_seed(seed % 1000))
    ids, how = torch.tensor(sorted(tokens)), Sampling(temperature, min_p=min_p, seed=seed)
    full = (processed_log_probs(logits, how)[0] + gumbel_noise(seed, position, torch.arange(257))).argmax().item()
    ours = ids[(processed_log_probs(logits[:, ids], how)[0] + gumbel_noise(seed, position, ids)).argmax()].item()
    if full in tokens and (not min_p or logits.argmax().item() in tokens):
        assert ours == full


def test_logits_are_the_full_heads(engine, shortlist):
    target, words = engine.target, Words(shortlist)
    normed = torch.randn(1, 3, 64, generator=torch.Generator().manual_seed(0))
    full = target.head(normed)
    torch.testing.assert_close(shortlist(normed)[0], full[:, shortlist.ids])
    for ids in ([8, 9, 9, 10], [13, 9, 11], [], list(range(257))):  # listed, new, known, and more than there is room for
        words.see(ids)
        torch.testing.assert_close(words.logits(normed), full[:, words.ids])
        assert len(set(words.ids.tolist())) == len(words.ids)
    assert words.ids.tolist()[: len(shortlist)] == shortlist.ids.tolist() and len(words.ids) == 257


@pytest.mark.parametrize("room", [1, 4])
def test_a_list_finds_room_for_any_text(engine, shortlist, room, monkeypatch):
    monkeypatch.setattr("eesd_core.heads.shortlist.ROOM", room)
    words, normed = Words(shortlist), torch.ones(1, 1, 64)
    for id in [*range(40), *range(200, 100, -1)]:
        words.see([id])
    torch.testing.assert_close(words.logits(normed), engine.target.head(normed)[:, words.ids])
    assert set(words.ids.tolist()) == set(shortlist.ids.tolist()) | set(range(40)) | set(range(101, 201))


def test_along_a_text_every_place_has_the_list_of_its_own(engine, shortlist):
    ids = torch.randint(0, 257, (30,), generator=torch.Generator().manual_seed(4)).tolist()
    normed = torch.randn(1, 30, 64, generator=torch.Generator().manual_seed(5))
    logits, listed = text_logits(shortlist, normed[:, 10:], ids, 10)
    for place in range(10, 30):
        words = Words(shortlist)
        words.see(ids[: place + 1])
        expected = dict(zip(words.ids.tolist(), words.logits(normed[:, place : place + 1])[0].tolist()))
        found = {id: value for id, value in zip(listed.tolist(), logits[place - 10].tolist()) if value > -torch.inf}
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_most_frequent_tokens_and_those_that_must_be_there():
    counts = torch.tensor([0, 5, 9, 5, 1, 0, 7])
    assert most_frequent(counts, 3).tolist() == [1, 2, 6] and most_frequent(counts, 3, {0}).tolist() == [0, 2, 6]

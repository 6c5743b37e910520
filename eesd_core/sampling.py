"""How a token is chosen from logits: greedily, or at random without any generator state.

Random numbers are a hash of (seed, position, stream, token id): the same on every device, in any order, for any subset of the
vocabulary. If g is Gumbel noise, argmax(log p + g) is an exact sample of p. There are two ways of sampling:

*Shared noise*: draft and target choose with the same noise, so they mostly agree. Whatever was drafted, the text is token for token
what plain decoding writes with that seed. Known as drafter-invariant speculative decoding (Daliri, Musco and Suresh, 2024).

*Rejection*: the draft is a sample of the drafter's own q, and the target accepts or rejects it (verify.py) with separate random numbers.
The text has the target's distribution but is not vanilla's text. No random number is used twice: draft noise is also keyed by the round,
because the length of a round may depend on untested drafts, and their noise must not be used again for the same positions.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .draws import Sampling

_MASK = 0xFFFFFFFF
LEAST = 1e-30  # lower bound for temperature and top-p, because float32 rounds much smaller values to 0
SHARED, ACCEPT, NEXT, DRAFT = range(4)  # uses of random numbers; each has its own streams
MOST_ROUNDS, MOST_SIBLINGS = 2**24, 2**8  # numbers beyond these share streams


class Ranked(NamedTuple):
    """The best tokens of m rows of logits, c each, best first, and more about each row."""

    ids: list[list[int]]  # (m, c)
    scores: list[list[float]]  # (m, c): see Sampler.scores
    log_probs: list[list[float]]  # (m, c)
    asked: list[float]  # log p of the tokens that were asked about
    confidence: list[float]  # (m,): probability of the likeliest token, without noise
    entropy: list[float]  # (m,), in nats


def stream(kind: int, round: int = 0, sibling: int = 0) -> int:
    """The stream of random numbers for a kind, a round and a sibling, 32 bits. Streams are distinct as long as only DRAFT has rounds."""
    return kind + round % (MOST_ROUNDS - DRAFT) + MOST_ROUNDS * (sibling % MOST_SIBLINGS)


def mix(x: Tensor | int) -> Tensor | int:
    """A 32-bit integer hash in which every input bit affects every output bit (the finaliser of MurmurHash3)."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK
    return x ^ (x >> 16)


def random_bits(seed: int, position: int, ids: Tensor | int = 0, stream: int = SHARED) -> Tensor | int:
    """A 32-bit hash of (seed, position, token id, stream). ids: int64 of any shape, or one number; the result has the same form."""
    key = noise_key(seed, position, stream)
    return mix(mix(ids + key & _MASK) + key & _MASK)


def noise_key(seed: int, position: int, stream: int) -> int:
    """What all tokens of a position have in common, 32 bits."""
    return mix(position + mix((seed & _MASK) + mix(seed >> 32))) + mix(stream) & _MASK


def uniform(seed: int, position: int, stream: int) -> float:
    """Uniform in (0, 1), 32 bits. Never 0, so a token of probability 0 is never accepted, and never 1."""
    return (random_bits(seed, position, 0, stream) + 0.5) / 2.0**32


def gumbel_noise(seed: int, position: int, ids: Tensor, stream: int = SHARED) -> Tensor:
    """Standard Gumbel noise, the same on every device and for any subset of the vocabulary.

    ids (n,) int64 -> (n,) float32. Logarithms are computed in float64, so devices almost never round differently.
    """
    u = (random_bits(seed, position, ids, stream).double() + 0.5) / 2.0**32  # never 0 or 1
    return -torch.log(-torch.log(u)).float()


def few_gumbels(seed: int, positions: np.ndarray | int, ids: np.ndarray, stream: int) -> np.ndarray:
    """`gumbel_noise` in numpy, where two dozen operations on a few numbers take a fifth of the time. int64 (n,), or one
    position, and (n,) -> (n,) float32."""
    u = (random_bits(seed, positions, ids, stream).astype(np.float64) + 0.5) / 2.0**32
    return -np.log(-np.log(u)).astype(np.float32)


def processed_log_probs(logits: Tensor, sampling: Sampling) -> Tensor:
    """log p after temperature, top-k, top-p and min-p. (m, V) float32 -> (m, V); cut tokens are -inf. Needs temperature > 0.

    The order is transformers', and each cut renormalises. Each row is processed alone, so the result does not depend on the number of rows.
    Tokens tied with the last one kept are kept too.
    """
    highest = logits.amax(-1, keepdim=True)  # subtracted first, so that a tiny temperature cannot cause an overflow
    log_p = torch.log_softmax((logits - highest) / max(sampling.temperature, LEAST), dim=-1)
    if 0 < sampling.top_k < log_p.shape[-1]:
        log_p = _cut(log_p, log_p.topk(sampling.top_k).values[:, -1:])
    if sampling.top_p < 1.0:
        log_p = _cut(log_p, _last_kept(log_p, max(sampling.top_p, LEAST)))
    if sampling.min_p:
        log_p = _cut(log_p, log_p.amax(-1, keepdim=True) + math.log(sampling.min_p))
    return log_p


def _cut(log_p: Tensor, lowest: Tensor) -> Tensor:
    return torch.log_softmax(log_p.masked_fill(log_p < lowest, -torch.inf), dim=-1)


def _last_kept(log_p: Tensor, top_p: float) -> Tensor:
    """The smallest log p inside top-p, (m, V) -> (m, 1). It is searched among a few dozen tokens first, because sorting all is slow. A GPU
    sorts all at once: looking would force a sync, which a CUDA graph must not contain."""
    all_tokens = log_p.shape[-1]
    for count in (64, 1024, all_tokens) if log_p.device.type == "cpu" else (all_tokens,):
        values = log_p.topk(min(count, all_tokens)).values  # (m, count), descending
        p = values.exp()
        before = p.cumsum(-1) - p  # total probability of all more likely tokens
        if count == all_tokens or (before[:, -1] >= top_p).all():
            break
    return values.masked_fill(before >= top_p, torch.inf).amin(-1, keepdim=True)


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest scores of every row, best first, and their places: (m, V) -> (m, count) each."""
    best, places = scores.topk(count)
    first = scores.argmax(-1, keepdim=True)  # topk may take any of equal scores, argmax takes the first
    places = torch.where(places == first, places[:, :1], places)
    places[:, :1] = first
    return best, places


def _ranker_of(sampling: Sampling):
    """The kernel that does what `Sampler.rank` does, where it can. Rejection sampling goes through torch, because a draft must have been
    drawn from the very distribution that it is judged by."""
    if sampling.rejects or sampling.top_k or sampling.top_p < 1.0 or not find_spec("numba"):
        return None
    from .model.cpu.rank import Ranker

    return Ranker(sampling)


class Sampler:
    """Chooses tokens for one run. Shared noise of a position is computed once and used by both draft and target."""

    def __init__(self, sampling: Sampling, vocab: int, device: torch.device):
        self.sampling = sampling
        self.ids = torch.arange(vocab, device=device)
        self._noise: dict[int, Tensor] = {}
        self.ranker = _ranker_of(sampling) if device.type == "cpu" else None

    def rank(
        self, logits: Tensor, positions: Sequence[int], count: int, noise: int | None = SHARED, ids: Tensor | None = None,
        asked: Sequence[tuple[int, int]] = (),
    ) -> Ranked:  # fmt: skip
        """The `count` best tokens of every row by their scores. logits (m, V), or (m, S) over a list of tokens `ids` (S,), for m positions.
        noise: the stream of the noise; None: without noise. asked: pairs of a row and a token, not together with a list."""
        count, noise = min(count, logits.shape[1]), noise if self.sampling.temperature else None
        if self.ranker:
            return self.ranker(logits, positions, count, noise, ids, asked)
        log_probs = self.log_probs(logits)
        scores = log_probs if self.sampling.temperature else logits
        if noise is not None:
            scores = self._with_noise(log_probs, positions, self.ids if ids is None else ids, noise)
        best, places = best_of(scores, count)
        probs = log_probs.exp()
        told = [probs.amax(-1), torch.special.entr(probs).sum(-1)]
        if asked:
            rows, tokens = zip(*asked)
            told.append(log_probs[rows, tokens])
        own, (confidence, entropy, *found) = places if ids is None else ids[places], [part.tolist() for part in told]
        return Ranked(own.tolist(), best.tolist(), log_probs.gather(-1, places).tolist(), found[0] if asked else [], confidence, entropy)

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log probabilities: of the processed distribution, or of the plain softmax in greedy decoding. (m, V) -> (m, V)"""
        if not self.sampling.temperature:
            return torch.log_softmax(logits, dim=-1)
        if logits.device.type != "cpu":
            return processed_log_probs(logits, self.sampling)
        return torch.cat([processed_log_probs(row, self.sampling) for row in logits.split(1)])  # a single row fits into the cache

    def scores(self, logits: Tensor, log_probs: Tensor, positions: Sequence[int]) -> Tensor:
        """(m, V) scores whose row-wise argmax are the target's choices for m positions: logits if greedy, else log p + noise, in units of
        logits / temperature. The noise is shared with the drafts, or under rejection sampling separate noise of the target's own tokens.
        """
        if not self.sampling.temperature:
            return logits
        return self._with_noise(log_probs, positions, self.ids, NEXT if self.sampling.rejects else SHARED)

    def _with_noise(self, log_probs: Tensor, positions: Sequence[int], ids: Tensor, stream: int) -> Tensor:
        """log p + noise, (m, n) -> (m, n); ids (n,). Noise is the slowest part, so after cuts it is computed only for the tokens left."""
        if self.sampling.cuts and log_probs.device.type == "cpu":  # on a GPU, finding out which tokens are left would force a sync
            scores = log_probs.clone()
            held = scores.numpy()
            rows, places = np.nonzero(held > -np.inf)
            held[rows, places] += few_gumbels(self.sampling.seed, np.array(positions)[rows], ids.numpy()[places], stream)
            return scores
        made = {position: self._noise_of(position, ids, stream) for position in set(positions)}  # nodes of a tree share positions
        return log_probs + torch.stack([made[position] for position in positions])

    def _noise_of(self, position: int, ids: Tensor, stream: int) -> Tensor:
        """Noise of these tokens, (n,). Shared noise of a position is kept for the next call."""
        if stream == SHARED:
            return self.shared_noise(position) if ids is self.ids else self.shared_noise(position)[ids]
        return gumbel_noise(self.sampling.seed, position, ids, stream)

    def noise(self, position: int, stream: int) -> Tensor:  # (V,)
        return gumbel_noise(self.sampling.seed, position, self.ids, stream)

    def uniforms(self, start: int, count: int) -> list[float]:
        """The random numbers that accept or reject drafts at positions start .. start + count - 1."""
        return [uniform(self.sampling.seed, start + i, ACCEPT) for i in range(count)]

    def shared_noise(self, position: int) -> Tensor:  # (V,)
        if position not in self._noise:
            self._noise[position] = self.noise(position, SHARED)
        return self._noise[position]

    def forget(self, position: int) -> None:
        """Drop the stored noise of positions before this one."""
        for old in [p for p in self._noise if p < position]:
            del self._noise[old]

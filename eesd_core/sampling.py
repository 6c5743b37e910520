"""How a token is chosen from logits: greedily, or by shared noise (Gumbel-max).

With g Gumbel noise, argmax(log p + g) is an exact sample of p. If g depends on (seed, position, token id) alone, a draft and the
target choose with the same noise: they mostly agree, and whatever was drafted, the text is token for token what plain decoding
writes with that seed. Known as drafter-invariant speculative decoding (Daliri, Musco and Suresh, 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import UserError

_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 is greedy. top_p keeps the smallest set of tokens whose probability reaches it."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not 0.0 <= self.temperature <= 10.0:  # also refuses nan
            raise UserError(f"temperature must be between 0 and 10, not {self.temperature}")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")


def mix(x: Tensor | int) -> Tensor | int:
    """A 32-bit integer hash in which every input bit moves every output bit (the finaliser of MurmurHash3)."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK
    return x ^ (x >> 16)


def gumbel_noise(seed: int, position: int, ids: Tensor) -> Tensor:
    """Standard Gumbel noise of (seed, position, token id): the same on every device and for any subset of the vocabulary.

    ids (n,) int64 -> (n,) float32. Logarithms are taken in float64, so that rounding differs between devices almost never.
    """
    key = mix(position + mix((seed & _MASK) + mix(seed >> 32)))
    bits = mix(mix(ids + key & _MASK) + key & _MASK)
    uniform = (bits.double() + 0.5) / 2.0**32  # never 0 or 1
    return -torch.log(-torch.log(uniform)).float()


def processed_log_probs(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """log p after temperature and top-p. (m, V) float32 -> (m, V); cut tokens are -inf. temperature > 0.

    Each row is treated alone, so the result does not depend on how many rows are passed. Tokens tied with the last one kept are kept too.
    """
    highest = logits.amax(-1, keepdim=True)  # taken off first: a tiny temperature must not overflow
    log_p = torch.log_softmax((logits - highest) / temperature, dim=-1)
    if top_p < 1.0:
        log_p = torch.log_softmax(log_p.masked_fill(log_p < _last_kept(log_p, top_p), -torch.inf), dim=-1)
    return log_p


def _last_kept(log_p: Tensor, top_p: float) -> Tensor:
    """The smallest log p inside top-p, (m, V) -> (m, 1). A few dozen tokens mostly hold it, and sorting all of them is slow."""
    for count in (64, log_p.shape[-1]):
        values = log_p.topk(min(count, log_p.shape[-1])).values  # (m, count), falling
        p = values.exp()
        before = p.cumsum(-1) - p  # probability of all likelier tokens
        if (before[:, -1] >= top_p).all():
            break
    return values.masked_fill(before >= top_p, torch.inf).amin(-1, keepdim=True)


class Sampler:
    """Chooses tokens for one run. Noise of a position is made once and used by draft and target alike."""

    def __init__(self, sampling: Sampling, vocab: int, device: torch.device):
        self.sampling = sampling
        self.ids = torch.arange(vocab, device=device)
        self._noise: dict[int, Tensor] = {}

    def log_probs(self, logits: Tensor) -> Tensor:
        """What probabilities refer to: the processed distribution, or the plain softmax when greedy."""
        s = self.sampling
        return processed_log_probs(logits, s.temperature, s.top_p) if s.temperature else torch.log_softmax(logits, dim=-1)

    def scores(self, logits: Tensor, log_probs: Tensor, start: int) -> Tensor:
        """(m, V) whose row-wise argmax are the choices for positions start .. start + m - 1: logits, or log p + noise.

        Scores with noise are in units of logits over temperature.
        """
        if not self.sampling.temperature:
            return logits
        return log_probs + torch.stack([self.noise(start + j) for j in range(len(logits))])

    def noise(self, position: int) -> Tensor:  # (V,)
        if position not in self._noise:
            self._noise[position] = gumbel_noise(self.sampling.seed, position, self.ids)
        return self._noise[position]

    def forget(self, position: int) -> None:
        """Drop noise of positions before this one."""
        for old in [p for p in self._noise if p < position]:
            del self._noise[old]

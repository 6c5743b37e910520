"""How a text's tokens are drawn: what a request asks for. The drawing itself is in sampling.py."""

from dataclasses import dataclass
from typing import Literal

from .errors import UserError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, for draft and target alike. Raises UserError for values out of range.

    temperature 0 is greedy and ignores everything else. Otherwise cuts follow in transformers' order: top_k keeps that many most likely
    tokens (0: all), top_p the smallest set of them whose probability reaches it, min_p those at least min_p times as likely as the first.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    acceptance: Literal["shared-noise", "rejection"] = "shared-noise"

    def __post_init__(self):
        if not 0.0 <= self.temperature <= 10.0:  # also refuses nan
            raise UserError(f"temperature must be between 0 and 10, not {self.temperature}")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed!r}")
        if type(self.top_k) is not int or self.top_k < 0:
            raise UserError(f"top-k must be a whole number of at least 1, or 0 for all tokens, not {self.top_k!r}")
        if not 0.0 <= self.min_p < 1.0:
            raise UserError(f"min-p must be at least 0 and below 1, not {self.min_p}")
        if self.acceptance not in ("shared-noise", "rejection"):
            raise UserError(f"unknown acceptance rule {self.acceptance!r}: choose shared-noise or rejection")

    @property
    def rejects(self) -> bool:
        """Whether drafts are judged by rejection sampling. Otherwise draft and target make definite choices, which are compared."""
        return self.temperature > 0 and self.acceptance == "rejection"

    @property
    def cuts(self) -> bool:
        """Whether top-k, top-p or min-p is in use, so that usually few tokens are left to choose from."""
        return bool(self.top_k or self.top_p < 1.0 or self.min_p)

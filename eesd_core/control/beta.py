"""The paper's controller (EESD, Figure 2): a coin whose bias is drawn from a Beta posterior, thrown after every draft token.

    theta ~ Beta(alpha, beta),  chi ~ Bernoulli(theta),  go on drafting while chi = 1

Ours, because the paper's text on it is not public first-hand: prior Beta(1, 1), only tested tokens count (an accepted draft adds 1 to
alpha, the rejected one adds 1 to beta, untested ones add nothing), and a limit on the draft length.
"""

import random

from ..errors import UserError
from .base import MAX_DRAFT, Decision


class BetaController:
    name = "beta"

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, seed: int = 0):
        if not (0.0 < alpha < 1e6 and 0.0 < beta < 1e6):
            raise UserError(f"the prior needs 0 < alpha, beta < 1e6, not alpha {alpha}, beta {beta}")
        if type(limit) is not int or not 1 <= limit <= MAX_DRAFT:
            raise UserError(f"the draft limit must be a whole number from 1 to {MAX_DRAFT}, not {limit!r}")
        self.alpha, self.beta, self.limit = alpha, beta, limit
        self.random = random.Random(seed)

    def start_round(self) -> int:
        return self.limit

    def keep_drafting(self, i: int, confidence: float, entropy: float) -> Decision:
        theta = self.random.betavariate(self.alpha, self.beta)
        u = self.random.random()
        chi = u < theta
        return Decision(chi, {"theta": theta, "chi": int(chi), "u": u})

    def observe(self, drafted: int, accepted: int) -> None:
        self.alpha += accepted
        self.beta += accepted < drafted

    def snapshot(self) -> dict:
        return {"controller": self.name, "alpha": self.alpha, "beta": self.beta, "mean": self.alpha / (self.alpha + self.beta)}

"""Ours, after the idea of the paper's Calibration-TS, whose formula is not public: the coin of `beta`, with a bias for this very token.

The paper's theta is one for all tokens, while the drafter's confidence differs from token to token but is no probability of acceptance.
It is made into one while running: drafts are sorted by confidence into ten bins, and each bin learns what share of its tested
drafts is accepted, starting at the confidence itself. theta is then shrunk towards that share q by inverse variance:

    theta' = (v_q theta + v_theta q) / (v_q + v_theta)

v_q is the variance of the bin's own Beta posterior; v_theta that of the posterior theta is drawn from, plus the spread of q between
tokens (a running mean), since one number for all is wrong by that much about each.
"""

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Random64, Seeded, check_limit, check_prior

BINS = 10
BIN_PRIOR = 2.0  # drafts' worth: how much a bin trusts the confidence at first
SPREAD_MEMORY = 0.05  # weight of the newest token


class CalibratedController(Seeded):
    name = "calibrated"
    changes = ("alpha", "beta", "bins", "spread", "seen", "draws")

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, seed: int = 0):
        self.alpha, self.beta = check_prior(alpha, beta)
        self.limit, self.random = check_limit(limit), Random64(seed)
        middles = [(bin + 0.5) / BINS for bin in range(BINS)]
        self.bins = [[BIN_PRIOR * middle, BIN_PRIOR * (1 - middle)] for middle in middles]  # alpha, beta
        self.spread = 1 / 12  # of confidences that are anything from 0 to 1
        self.seen: list[int] = []  # this round's bins

    def start_round(self, costs: Costs) -> Plan:
        self.seen = []
        return Plan(self.limit)

    def keep_drafting(self, facts: Facts) -> Decision:
        bin = min(int(BINS * facts.confidence), BINS - 1)
        self.seen.append(bin)
        mean, variance = moments(self.alpha, self.beta)
        share, share_variance = moments(*self.bins[bin])
        self.spread += SPREAD_MEMORY * ((share - mean) ** 2 - self.spread)
        weight = share_variance / (share_variance + variance + self.spread)
        drawn = self.random.betavariate(self.alpha, self.beta)
        theta = weight * drawn + (1 - weight) * share
        u = self.random.random()
        chi = u < theta
        return Decision(chi, {"theta": theta, "chi": int(chi), "u": u, "drawn": drawn, "calibrated": share, "weight": weight})

    def observe(self, outcome: Outcome) -> None:
        for bin, (_, accepted) in zip(self.seen, outcome.tested):
            self.bins[bin][not accepted] += 1
        self.alpha += outcome.accepted
        self.beta += len(outcome.tested) - outcome.accepted

    def snapshot(self) -> dict:
        arms = [{"label": bin_label("confidence", bin), "alpha": alpha, "beta": beta} for bin, (alpha, beta) in enumerate(self.bins)]
        mean, _ = moments(self.alpha, self.beta)
        return {"controller": self.name, "alpha": self.alpha, "beta": self.beta, "mean": mean, "arms": arms}


def moments(alpha: float, beta: float) -> tuple[float, float]:
    """Mean and variance of Beta(alpha, beta)."""
    total = alpha + beta
    return alpha / total, alpha * beta / (total * total * (total + 1))


def bin_label(what: str, bin: int) -> str:
    return f"{what} {bin / BINS:.1f} to {(bin + 1) / BINS:.1f}"

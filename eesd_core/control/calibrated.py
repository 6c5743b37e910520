"""The coin of `beta` with a bias for each token. Ours, after the idea of the paper's Calibration-TS, whose formula is not public.

The paper's theta is the same for all tokens. The drafter's confidence differs from token to token, but it is not a probability of
acceptance. So it is calibrated while running: drafts fall into ten bins by confidence, and each bin learns the share q of its tested
drafts that is accepted, starting at the confidence itself. theta and q are then averaged with inverse-variance weights:

    theta' = (v_q theta + v_theta q) / (v_q + v_theta)

v_q is the variance of the bin's Beta posterior. v_theta is the variance of the posterior that theta is drawn from, plus the mean squared
difference between q and that posterior's mean (a running mean over tokens): a common theta is wrong by about that much for each token.
"""

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Random64, Seeded, check_limit, check_prior

BINS = 10
BIN_PRIOR = 2.0  # strength of a bin's prior, in drafts
SPREAD_MEMORY = 0.05  # weight of the newest token in the running mean


class CalibratedController(Seeded):
    name = "calibrated"
    changes = ("alpha", "beta", "bins", "spread", "seen", "draws")

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, seed: int = 0):
        self.alpha, self.beta = check_prior(alpha, beta)
        self.limit, self.random = check_limit(limit), Random64(seed)
        middles = [(bin + 0.5) / BINS for bin in range(BINS)]
        self.bins = [[BIN_PRIOR * middle, BIN_PRIOR * (1 - middle)] for middle in middles]  # alpha, beta
        self.spread = 1 / 12  # initially the variance of a uniform variable on [0, 1]
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

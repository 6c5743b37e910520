"""The paper's controller (EESD, Figure 2). After every draft token it tosses a coin whose bias is drawn from a Beta posterior:

    theta ~ Beta(alpha, beta),  chi ~ Bernoulli(theta),  go on drafting while chi = 1

The details are ours, because we have not seen the paper's text on them. The prior is Beta(1, 1). Only tested tokens count: an accepted
draft adds 1 to alpha, the rejected one adds 1 to beta, untested ones add nothing. The draft length is limited. There are two options:
`draw` says whether theta is drawn for every token (default) or once per round ("round"). With a new theta for every token the
posterior's spread has no effect: chi is a coin of bias alpha / (alpha + beta). `forget` multiplies the counts above the prior each round.
"""

from ..errors import UserError
from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Random64, Seeded, check_limit, check_number, check_prior


class BetaController(Seeded):
    name, knob = "beta", "forget"
    changes = ("alpha", "beta", "theta", "draws")

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, draw: str = "token", forget: float = 1.0, seed: int = 0
    ):
        self.prior, self.limit = check_prior(alpha, beta), check_limit(limit)
        self.forget = check_number("what a round leaves of earlier counts", forget, 0.0, 1.0)
        if draw not in ("token", "round"):
            raise UserError(f"theta is drawn per token or per round: choose token or round, not {draw!r}")
        self.per_round = draw == "round"
        self.alpha, self.beta = self.prior
        self.theta, self.random = 0.0, Random64(seed)

    def start_round(self, costs: Costs) -> Plan:
        if self.per_round:
            self.theta = self.random.betavariate(self.alpha, self.beta)
        return Plan(self.limit)

    def keep_drafting(self, facts: Facts) -> Decision:
        if not self.per_round:
            self.theta = self.random.betavariate(self.alpha, self.beta)
        u = self.random.random()
        chi = u < self.theta
        return Decision(chi, {"theta": self.theta, "chi": int(chi), "u": u})

    def observe(self, outcome: Outcome) -> None:
        alpha, beta = self.prior
        self.alpha = alpha + self.forget * (self.alpha - alpha) + outcome.accepted
        self.beta = beta + self.forget * (self.beta - beta) + len(outcome.tested) - outcome.accepted

    def snapshot(self) -> dict:
        return {"controller": self.name, "alpha": self.alpha, "beta": self.beta, "mean": self.alpha / (self.alpha + self.beta)}

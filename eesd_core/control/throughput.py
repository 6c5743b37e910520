"""Ours: Thompson sampling that maximises tokens per second.

In the long run a rule that earns lambda tokens per second should draft on exactly if that earns more than lambda pays for the time it
takes (renewal reward; lambda is tracked while running, as in Dinkelbach's method). For one token more:

    P(all drafts so far are accepted) x theta  >  lambda x (draft time + extra verify time)

and where one does not pay, several may, because a verify pass can cost the same over a range of tokens.

The left side is learned. A *context* is what is known of a draft token: how certain the choice was, in ten bins, and whether drafts have
lately been accepted less often, as often, or more often than that promised. Certainty is tanh(lead / 2), where the lead is that of the
choice over the runner-up: (p1 - p2) / (p1 + p2) when greedy. It says more than the largest probability does, and where shared noise
moves the choice, far more. (So a change of difficulty is noticed, what
it means is learned, and no counts have to be thrown away.) Every context counts accepted and rejected drafts, tested ones only: what cut
a round short then biases nothing. P is the product of the contexts' mean chances. Of a token that is not drafted yet no certainty is
known: its chance theta is drawn once a round from the Beta posterior over all bins. The drafts in hand will be judged whatever is
decided, so only the decision about the next one needs the curiosity of a draw. A context seldom seen borrows from its bin, a bin from all.
Rounds without drafts teach nothing: a small share of their time goes into trying one token, and another while that beats the promise.
"""

from itertools import accumulate, pairwise
from math import tanh

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Random64, Seeded, check_limit, check_number, check_prior
from .calibrated import BINS, bin_label

LABELS = tuple(bin_label("certainty", bin) for bin in range(BINS))
LEVELS = 3  # lately less, as or more often accepted than promised
BELOW, ABOVE, MEMORY = -0.1, 0.1, 0.2  # lately: accepted minus the promised chance, a running mean over about five tested drafts
BIN_BORROWS, CONTEXT_BORROWS, THETA_BORROWS = 3.0, 16.0, 20.0  # drafts' worth, from what is known of a wider context
SPEED_MEMORY = 0.999  # of lambda, per round
FIRST_ROUNDS = 5.0  # for how many rounds the speed assumed at first counts


def hurdles(prices: list[float], theta: float) -> list[float]:
    """With k drafts in hand, how likely they must all be right for drafting on to pay: [h_0 .. h_n], for prices of n more drafts.

    h_k is the least (p_k + ... + p_j) / (theta + ... + theta^(j - k + 1)) over j: what drafts k to j cost over what they earn. From the
    right, a stretch is joined to the cheapest one behind it while that lowers its ratio (the lower convex hull, as in a monotone stack).
    """
    found, stretches = [1.0], []  # nothing is drafted beyond the last: no chance is above 1
    for price in reversed(prices):
        cost, value, reach = price, theta, theta
        while stretches and stretches[-1][0] * value < cost * reach * stretches[-1][1]:
            more, worth, further = stretches.pop()
            cost, value, reach = cost + more, value + reach * worth, reach * further
        stretches.append((cost, value, reach))
        found.append(cost / value)
    return found[::-1]


class ThroughputController(Seeded):
    name, knob = "throughput", "forget"
    changes = (
        "hits", "misses", "all", "lately", "idle", "lucky", "tokens", "time",
        "times", "hurdles", "theta", "prefix", "cells", "promises", "bins", "draws",
    )  # fmt: skip

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, forget: float = 0.998, explore: float = 0.02, seed: int = 0
    ):
        """alpha, beta: the prior; forget: what a round leaves of earlier counts; explore: share of time for tries where no draft pays."""
        self.prior, self.limit = check_prior(alpha, beta), check_limit(limit)
        self.forget = check_number("what a round leaves of earlier counts", forget, 0.5, 1.0)
        self.explore = check_number("the share of time for trying", explore, 1e-6, 1.0)
        self.random = Random64(seed)
        self.hits, self.misses = [0.0] * (LEVELS * BINS), [0.0] * (LEVELS * BINS)  # level by level, bin by bin
        self.all = list(self.prior)  # alpha, beta over all contexts
        self.bins = self._bins()
        self.lately = 0.0
        self.idle, self.lucky = 0, False  # rounds without drafts since the last try; the last drafts went better than promised
        self.tokens = self.time = 0.0  # lambda is their ratio
        self.times: list[float] = []  # of rounds with k drafts, relative
        self.hurdles: list[float] = []  # with k drafts in hand, drafting on pays if the prefix is above
        self.theta, self.prefix = 0.0, 1.0
        self.cells: list[int] = []  # this round's contexts
        self.promises: list[float] = []

    def start_round(self, costs: Costs) -> Plan:
        self.times = costs.relative(self.limit)
        if not self.time:
            self.tokens, self.time = self._assumed()
        speed = self.tokens / self.time
        self.theta = max(self.random.betavariate(*self._theta()), 1e-6)  # a draw can be rounded to 0
        self.hurdles = hurdles([speed * (after - before) for before, after in pairwise(self.times)], self.theta)
        self.prefix, self.cells, self.promises = 1.0, [], []
        if self.prefix > self.hurdles[0]:
            return Plan(self.limit)
        return Plan(int(self.lucky or self.explore * self.idle >= self.times[1] - self.times[0]))

    def keep_drafting(self, facts: Facts) -> Decision:
        bin = min(int(BINS * tanh(facts.lead / 2)), BINS - 1)
        alpha, beta = self.bins[bin]
        promise = alpha / (alpha + beta)
        cell = self._level() * BINS + bin
        hits, misses = self.hits[cell], self.misses[cell]
        self.prefix *= (hits + CONTEXT_BORROWS * promise) / (hits + misses + CONTEXT_BORROWS)
        self.cells.append(cell)
        self.promises.append(promise)
        gain, price = self.prefix * self.theta, self.hurdles[facts.depth + 1] * self.theta
        return Decision(gain > price, {"theta": self.theta, "prefix": self.prefix, "gain": gain, "price": price})

    def observe(self, outcome: Outcome) -> None:
        drafted, accepted, tested = outcome
        self.tokens = SPEED_MEMORY * self.tokens + accepted + 1
        self.time = SPEED_MEMORY * self.time + self.times[drafted]
        if not drafted:
            self.idle += 1
            return
        self.idle = 0
        self.hits = [self.forget * n for n in self.hits]
        self.misses = [self.forget * n for n in self.misses]
        for cell, promise, (_, right) in zip(self.cells, self.promises, tested):
            (self.hits if right else self.misses)[cell] += 1
            self.lately += MEMORY * (right - promise - self.lately)
        self.all = [self.prior[0] + sum(self.hits), self.prior[1] + sum(self.misses)]
        self.bins = self._bins()
        self.lucky = accepted == drafted and self.lately > ABOVE

    def snapshot(self) -> dict:
        alpha, beta = self._theta()
        return {
            "controller": self.name,
            "alpha": alpha,
            "beta": beta,
            "mean": alpha / (alpha + beta),
            "arms": [{"label": label, "alpha": alpha, "beta": beta} for label, (alpha, beta) in zip(LABELS, self.bins)],
            "lately": self.lately,
            "speed": self.tokens / self.time if self.time else None,
        }

    def _level(self) -> int:
        return (self.lately > BELOW) + (self.lately > ABOVE)

    def _theta(self) -> tuple[float, float]:
        """Posterior of the next draft's chance: what drafts in rounds like this one came to, however certain they were."""
        alpha, beta = self.all
        borrowed = min(THETA_BORROWS, alpha + beta) / (alpha + beta)
        here = slice(self._level() * BINS, (self._level() + 1) * BINS)
        return sum(self.hits[here]) + borrowed * alpha, sum(self.misses[here]) + borrowed * beta

    def _bins(self) -> list[list[float]]:
        """Posterior [alpha, beta] of every bin of certainty, over its levels."""
        alpha, beta = self.all
        borrowed = BIN_BORROWS / (alpha + beta)
        hits, misses = (zip(*(counts[low : low + BINS] for low in range(0, LEVELS * BINS, BINS))) for counts in (self.hits, self.misses))
        return [[sum(h) + borrowed * alpha, sum(m) + borrowed * beta] for h, m in zip(hits, misses)]

    def _assumed(self) -> tuple[float, float]:
        """Tokens and time of a few rounds at the best length for the prior's mean: lambda before anything was seen."""
        chance = self.prior[0] / sum(self.prior)
        tokens = list(accumulate(chance**k for k in range(self.limit + 1)))
        best = max(range(self.limit + 1), key=lambda k: tokens[k] / self.times[k])
        return FIRST_ROUNDS * tokens[best], FIRST_ROUNDS * self.times[best]

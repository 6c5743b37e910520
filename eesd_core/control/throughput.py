"""Ours: Thompson sampling that maximises tokens per second.

Let lambda be the long-run speed in tokens per second. Drafting another token pays exactly if its expected gain exceeds lambda times the
time it takes (renewal-reward theorem; lambda is tracked while running, as in Dinkelbach's method):

    P(all drafts so far are accepted) x theta  >  lambda x (draft time + extra verify time)

Where one more token does not pay, several may, because a verify pass can cost the same over a range of tokens.

The left side is learned. The *context* of a draft token has two parts: the certainty of the choice, in ten bins, and a level, which says
whether drafts have lately been accepted less often, as often, or more often than their bins predict. Certainty is tanh(lead / 2), which is
(p1 - p2) / (p1 + p2) in greedy decoding. It predicts acceptance better than the largest probability, far better with shared noise. The
level lets the controller react when the text becomes easier or harder without discarding counts.

Every context counts accepted and rejected drafts. Only tested drafts count, so the reason why a round ended causes no bias. P is the
product of the contexts' mean acceptance rates. The certainty of a token not drafted yet is unknown, so its chance theta is drawn once per
round from a Beta posterior over all bins of the current level. Only theta is sampled: the drafts at hand will be judged whatever is
decided, so they need no exploration. A context with few counts borrows from its bin, and a bin borrows from all drafts, with odds that
rise with its certainty: so the first drafts of a text are already told apart.

Texts that share passes also share what they learn, except for the level: lambda is then that of all, and a text that joins begins with it.

Rounds without drafts teach nothing. So a small share of their time is spent on drafting one token, and this is repeated at once while
such drafts do better than predicted.
"""

from itertools import accumulate, pairwise
from math import exp, inf, tanh

from ..limits import MAX_DRAFT
from .base import Costs, Decision, Facts, Outcome, Plan, Random64, Seeded, check_limit, check_number, check_prior
from .calibrated import BINS, bin_label

LABELS = tuple(bin_label("certainty", bin) for bin in range(BINS))
LEVELS = 3  # lately accepted less often, as often, or more often than predicted
BELOW, ABOVE, MEMORY = -0.1, 0.1, 0.2  # bounds between levels; they apply to a running mean over about five tested drafts
BIN_BORROWS, CONTEXT_BORROWS, THETA_BORROWS = 5.0, 16.0, 20.0  # strength of the prior from the wider context, in drafts
ODDS = tuple(exp(4 * ((bin + 0.5) / BINS - 0.6)) for bin in range(BINS))  # of a bin's drafts, over those of all: from a tenth to five times
SPEED_MEMORY = 0.999  # decay of lambda's sums, per round
FIRST_ROUNDS = 5.0  # weight of the initially assumed speed, in rounds


def hurdles(prices: list[float], theta: float) -> list[float]:
    """Hurdles [h_0 .. h_n] for the prices [p_0 .. p_(n-1)] of n drafts, in tokens. With k drafts, drafting more pays if the probability
    that all k are right is above h_k.

    h_k is the minimum over j of (p_k + ... + p_j) / (theta + ... + theta^(j - k + 1)), cost over gain of drafts k to j. It is computed from
    right to left: a stretch of drafts is merged with the one behind it while that lowers its ratio (lower convex hull, monotone stack).
    """
    found = [1.0]  # h_n = 1: no probability is above 1, so nothing is drafted beyond the last
    stretches = [(inf, 1.0, 1.0)]  # merged with none
    for price in reversed(prices):
        cost, value, reach = price, theta, theta
        more, worth, further = stretches[-1]
        while more * value < cost * reach * worth:
            cost, value, reach = cost + more, value + reach * worth, reach * further
            stretches.pop()
            more, worth, further = stretches[-1]
        stretches.append((cost, value, reach))
        found.append(cost / value)
    return found[::-1]


class Counts:
    """What drafts and rounds have taught. Controllers of texts that share passes may share it."""

    def __init__(self, prior: tuple[float, float]):
        self.hits, self.misses = [0.0] * (LEVELS * BINS), [0.0] * (LEVELS * BINS)  # level by level, bin by bin
        self.all = list(prior)  # alpha, beta over all contexts
        self.tokens = self.time = 0.0  # lambda is their ratio
        self.tried = 0  # number of rounds with drafts

    def bin(self, bin: int) -> tuple[float, float]:
        """Beta posterior (alpha, beta) of a bin of certainty, over all levels."""
        alpha, beta = self.all
        alpha *= ODDS[bin]
        borrowed = BIN_BORROWS / (alpha + beta)
        return sum(self.hits[bin::BINS]) + borrowed * alpha, sum(self.misses[bin::BINS]) + borrowed * beta


def _shared(name: str) -> property:
    return property(lambda self: getattr(self.counts, name), lambda self, value: setattr(self.counts, name, value))


class ThroughputController(Seeded):
    hits, misses, all, tokens, time = map(_shared, ("hits", "misses", "all", "tokens", "time"))
    name, knob = "throughput", "forget"
    changes = (
        "hits", "misses", "all", "lately", "idle", "lucky", "tokens", "time",
        "times", "hurdles", "theta", "prefix", "cells", "promises", "draws",
    )  # fmt: skip

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, limit: int = MAX_DRAFT, forget: float = 0.998, explore: float = 0.02, seed: int = 0
    ):
        """`alpha`, `beta`: the prior. `forget`: factor on all counts per round. `explore`: share of time for trials while no draft pays."""
        self.prior, self.limit = check_prior(alpha, beta), check_limit(limit)
        self.forget = check_number("what a round leaves of earlier counts", forget, 0.5, 1.0)
        self.explore = check_number("the share of time for trying", explore, 1e-6, 1.0)
        self.random = Random64(seed)
        self.counts, self.tried = Counts(self.prior), 0  # and how many rounds with drafts it knew of when it last planned one
        self.lately = 0.0  # running mean of accepted (0 or 1) minus the predicted chance
        self.idle, self.lucky = 0, False  # rounds without drafts since the last trial; the last drafts did better than predicted
        self.times: list[float] = []  # cost of rounds with k drafts (Costs.relative)
        self.hurdles: list[float] = []  # see `hurdles`
        self.theta, self.prefix = 0.0, 1.0  # prefix: P(all drafts so far are accepted)
        self.cells: list[int] = []  # this round's contexts
        self.promises: list[float] = []  # their bins' mean acceptance rates

    def learn_with(self, other: "ThroughputController") -> None:
        """Share what the other has learned and will learn."""
        self.counts = other.counts

    def start_round(self, costs: Costs) -> Plan:
        counts = self.counts
        if self.tried != counts.tried:  # whoever tried, no other needs to
            self.tried, self.idle = counts.tried, 0
        self.times = times = costs.relative(self.limit)
        if not counts.time:
            counts.tokens, counts.time = self._assumed()
        speed = counts.tokens / counts.time
        self.theta = max(self.random.betavariate(*self._theta()), 1e-6)  # a draw can be rounded to 0
        self.hurdles = hurdles([speed * (after - before) for before, after in pairwise(times)], self.theta)
        self.prefix, self.cells, self.promises = 1.0, [], []
        if self.prefix > self.hurdles[0]:
            return Plan(self.limit)
        return Plan(int(self.lucky or self.explore * self.idle >= times[1] - times[0]))

    def keep_drafting(self, facts: Facts) -> Decision:
        counts, theta = self.counts, self.theta
        bin = min(int(BINS * tanh(facts.lead / 2)), BINS - 1)
        alpha, beta = counts.bin(bin)
        promise = alpha / (alpha + beta)
        cell = self._level() * BINS + bin
        hits, misses = counts.hits[cell], counts.misses[cell]
        self.prefix = prefix = self.prefix * ((hits + CONTEXT_BORROWS * promise) / (hits + misses + CONTEXT_BORROWS))
        self.cells.append(cell)
        self.promises.append(promise)
        gain, price = prefix * theta, self.hurdles[facts.depth + 1] * theta
        return Decision(gain > price, {"theta": theta, "prefix": prefix, "gain": gain, "price": price})

    def observe(self, outcome: Outcome) -> None:
        (drafted, accepted, tested), counts, forget = outcome, self.counts, self.forget
        counts.tokens = SPEED_MEMORY * counts.tokens + accepted + 1
        counts.time = SPEED_MEMORY * counts.time + self.times[drafted]
        if not drafted:
            self.idle += 1
            return
        self.idle = 0
        counts.tried += 1
        counts.hits = hits = [forget * n for n in counts.hits]
        counts.misses = misses = [forget * n for n in counts.misses]
        for cell, promise, (_, right) in zip(self.cells, self.promises, tested):
            (hits if right else misses)[cell] += 1
            self.lately += MEMORY * (right - promise - self.lately)
        counts.all = [self.prior[0] + sum(hits), self.prior[1] + sum(misses)]
        self.lucky = accepted == drafted and self.lately > ABOVE

    def snapshot(self) -> dict:
        alpha, beta = self._theta()
        bins = map(self.counts.bin, range(BINS))
        return {
            "controller": self.name,
            "alpha": alpha,
            "beta": beta,
            "mean": alpha / (alpha + beta),
            "arms": [{"label": label, "alpha": alpha, "beta": beta} for label, (alpha, beta) in zip(LABELS, bins)],
            "lately": self.lately,
            "speed": self.tokens / self.time if self.time else None,
        }

    def _level(self) -> int:
        return (self.lately > BELOW) + (self.lately > ABOVE)

    def _theta(self) -> tuple[float, float]:
        """Beta posterior of the next draft's acceptance, over all bins at the current level."""
        (alpha, beta), low = self.counts.all, self._level() * BINS
        borrowed, high = min(THETA_BORROWS, alpha + beta) / (alpha + beta), low + BINS
        return sum(self.counts.hits[low:high]) + borrowed * alpha, sum(self.counts.misses[low:high]) + borrowed * beta

    def _assumed(self) -> tuple[float, float]:
        """Initial lambda: tokens and time of FIRST_ROUNDS rounds at the draft length that is best for the prior's mean."""
        chance = self.prior[0] / sum(self.prior)
        tokens = list(accumulate(chance**k for k in range(self.limit + 1)))
        best = max(range(self.limit + 1), key=lambda k: tokens[k] / self.times[k])
        return FIRST_ROUNDS * tokens[best], FIRST_ROUNDS * self.times[best]

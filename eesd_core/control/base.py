"""The controller's interface. A controller sees numbers, never tensors, so it can be tested, replayed and simulated without a model.

Its whole state, random numbers included, can be saved and restored as plain JSON values, so a stateless worker can run one round.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import accumulate, pairwise
from random import Random
from typing import ClassVar, NamedTuple, Protocol

from ..errors import UserError
from ..limits import MAX_DRAFT, MAX_ROWS

_MASK = 2**64 - 1


class Facts(NamedTuple):
    """What a controller is told about a draft token."""

    depth: int  # drafts before it on its path
    confidence: float  # the drafter's largest probability
    entropy: float  # of the drafter's distribution, in nats
    lead: float  # score of the chosen token minus that of the runner-up; scores: logits / temperature, plus shared noise if used
    sibling: int = 0  # 0: on the spine; else the rank of its branch among the alternatives


class Plan(NamedTuple):
    """How large a round may become."""

    nodes: int  # most drafts on the spine; 0: no drafting


class Decision(NamedTuple):
    """Go on drafting or stop, with the terms that decided it (shown on the page and kept in the trace)."""

    go: bool
    terms: dict[str, float]


class Outcome(NamedTuple):
    """A round's outcome on its spine. `tested`: the facts of every judged draft and whether it was accepted. Judged are the accepted
    drafts and, if accepted < drafted, the first rejected one."""

    drafted: int
    accepted: int
    tested: tuple[tuple[Facts, bool], ...]

    @classmethod
    def of(cls, spine: Sequence[Facts], accepted: int) -> "Outcome":
        """The outcome when the first `accepted` drafts of this spine were accepted."""
        return cls(len(spine), accepted, tuple(zip(spine, (True,) * accepted + (False,))))


class Costs(NamedTuple):
    """Cost of a round of k drafts: fixed + k x draft + verify[k], plus `first` if k > 0. In seconds, or in any one unit.

    `draft`: one draft step. `verify[m - 1]`: T_v(m), the verify pass over m tokens, non-decreasing in m. `fixed`: the rest of a round
    (first layers over the pending token, acceptance, rollback). `first`: the single step of a drafter that makes all drafts at once.
    """

    draft: float
    verify: tuple[float, ...]  # T_v(1) .. T_v(MAX_ROWS)
    fixed: float
    first: float = 0.0

    @classmethod
    def from_points(cls, draft: float, verify: dict[int, float], fixed: float) -> "Costs":
        """Interpolates linearly between measured points {m: T_v(m)}, m = 1 .. MAX_ROWS. A decrease is noise and is flattened."""
        points = list(zip(sorted(verify), accumulate((verify[m] for m in sorted(verify)), max)))
        values = [points[0][1]]
        for (low, before), (high, after) in pairwise(points):
            values += [before + (after - before) * (m - low) / (high - low) for m in range(low + 1, high + 1)]
        return cls(draft, tuple(values), fixed)

    @classmethod
    def linear(cls, draft: float, per_token: float, fixed: float = 0.0) -> "Costs":
        """T_v(m) = 1 + per_token x (m - 1). The unit is one verify pass over one token."""
        return cls(draft, tuple(1 + per_token * i for i in range(MAX_ROWS)), fixed)

    def round(self, drafted: int) -> float:
        return self.fixed + (self.first if drafted else 0.0) + drafted * self.draft + self.verify[drafted]

    def relative(self, limit: int) -> list[float]:
        """Cost of rounds of 0 .. limit drafts, in units of a round without drafts, so a uniform slowdown of the machine cancels out."""
        draft, begun, plain = self.draft, self.fixed + self.first, self.fixed + self.verify[0]
        return [1.0, *[(begun + k * draft + verify) / plain for k, verify in enumerate(self.verify[1 : limit + 1], 1)]]


class Controller(Protocol):
    name: str

    def start_round(self, costs: Costs) -> Plan: ...

    def keep_drafting(self, facts: Facts) -> Decision:
        """Called after every draft token of the spine."""

    def observe(self, outcome: Outcome) -> None:
        """Called after every round, also after one without drafts."""

    def snapshot(self) -> dict:
        """What it believes, for display. A controller with a Beta posterior gives alpha, beta and mean; one with several adds `arms`."""

    def state(self) -> dict:
        """Everything that changes, as plain JSON values."""

    def restore(self, state: dict) -> None:
        """Continue from a state that a controller with the same settings returned."""


class Stateful:
    """Saves and restores state, for controllers and drafters. `changes` names all attributes that change after construction."""

    changes: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict:
        return deepcopy({name: getattr(self, name) for name in self.changes})

    def restore(self, state: dict) -> None:
        for name in self.changes:
            setattr(self, name, deepcopy(state[name]))


class Random64(Random):
    """SplitMix64. Its whole state is the seed and the number of draws so far, so it fits into a trace."""

    def __init__(self, seed: int):
        self.key, self.draws = check_whole("the seed", seed, 0, 2**63 - 1), 0

    def random(self) -> float:
        """Uniform in [0, 1), 53 bits."""
        self.draws += 1
        x = (self.key + self.draws * 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((x ^ (x >> 31)) >> 11) * 2.0**-53


class Seeded(Stateful):
    """For controllers and drafters that use random numbers. A subclass sets `random` and lists "draws" in `changes`."""

    random: Random64

    @property
    def draws(self) -> int:
        return self.random.draws

    @draws.setter
    def draws(self, count: int) -> None:
        self.random.draws = count


def check_number(name: str, value: float, low: float, high: float) -> float:
    """Raises UserError unless low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # nan is in no range
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def check_whole(name: str, value: int, low: int, high: int) -> int:
    """Raises UserError unless value is a whole number, low <= value <= high."""
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def check_limit(limit: int) -> int:
    return check_whole("the draft limit", limit, 1, MAX_DRAFT)


def check_prior(alpha: float, beta: float) -> tuple[float, float]:
    """Raises UserError outside 0.01 .. 1e6. Below 0.01 Python's `betavariate` underflows and its mean is no longer the prior's."""
    return check_number("the prior's alpha", alpha, 1e-2, 1e6), check_number("the prior's beta", beta, 1e-2, 1e6)

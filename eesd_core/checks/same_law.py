"""A live test of the promise of rejection sampling: speculation draws from the target's own distribution.

The same beginning is continued many times, in turn by speculative rejection sampling and plainly, each time with random numbers of its own,
and the tokens at each place are counted. Two fair samples of one law differ too, by chance: so their distance stands beside the distances
that come out when the same draws are dealt to the two methods at random (a permutation test). Ours.

The rounds are the engine's own; only the prompt is read once instead of once a draw.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ..control import FixedController
from ..engine import Engine
from ..errors import UserError
from ..request import Request

PLACES = 2  # tokens of a draw
DRAFTED = 2  # in every round: so both places are drafted, and drafts behind a rejected one occur
SHOWN = 12  # tokens of a place that are named; the others are one
DEALS = 200  # random deals of the draws to the two methods
EVERY = 20  # draws of each method between two reports
METHODS = ("eesd", "vanilla")


@dataclass(frozen=True, slots=True)
class Distance:
    """Total variation between two samples: half the sum of the differences of shares, 0 to 1."""

    measured: float
    chance: float  # mean of the random deals
    most: float  # 95 % of them stay below
    p: float  # share of the deals that come to at least as much; the measured one counts as one


@dataclass(frozen=True, slots=True)
class Place:
    """What came at one place of the continuation. `tokens`: text and counts of the likeliest, [text, eesd, vanilla]; `other` the rest."""

    tokens: list[tuple[str, int, int]]
    other: tuple[int, int]
    distance: Distance


@dataclass(frozen=True, slots=True)
class Comparison:
    drawn: int  # by each method
    wanted: int
    places: tuple[Place, ...]
    together: Distance  # of all places as one
    acceptance: float  # share of tested drafts that were accepted

    def to_json(self) -> dict:
        return asdict(self)


class Drawing:
    """One prompt, read once. Every draw begins behind it anew."""

    def __init__(self, engine: Engine, request: Request):
        """Raises UserError."""
        self.sampling = request.sampling
        self.run = engine.start(replace(request, max_new_tokens=PLACES + DRAFTED), controller=FixedController(DRAFTED))
        self.run.prefill()
        self.tested = self.accepted = 0

    def draw(self, seed: int) -> list[int]:
        """The first PLACES tokens; fewer where the text ends."""
        self.run.rewind(replace(self.sampling, seed=seed))
        while len(self.run.written) < PLACES and not self.run.ended:
            self.run.round()
            verdict = self.run.judged.verdict
            self.tested += len(verdict.path) + len(verdict.rejected)
            self.accepted += verdict.accepted
        return self.run.written[:PLACES]


def same_law(engine: Engine, request: Request, wanted: int, cancelled: Callable[[], bool] = bool) -> Iterator[Comparison]:
    """Draw `wanted` times by each method, and compare now and then, at the end in any case. Raises UserError before the first draw."""
    if not request.sampling.temperature:
        raise UserError("at temperature 0 nothing is drawn: choose a temperature above 0")
    request = replace(request, sampling=replace(request.sampling, acceptance="rejection"))
    drawings = {method: Drawing(engine, replace(request, method=method)) for method in METHODS}
    draws: dict[str, list[list[int]]] = {method: [] for method in METHODS}
    nothing = engine.target.vocab  # in place of a token behind the end of the text
    for number in range(wanted):
        for i, (method, drawing) in enumerate(drawings.items()):
            if cancelled():
                return
            seed = (request.sampling.seed + len(METHODS) * number + i) % 2**63  # every draw has its own: the methods share no numbers
            ids = drawing.draw(seed)
            draws[method].append(ids + [nothing] * (PLACES - len(ids)))
        if (number + 1) % EVERY == 0 or number + 1 == wanted:
            samples = [torch.tensor(draws[method]) for method in METHODS]
            yield compared(samples, wanted, engine.target.codec.piece, nothing, drawings["eesd"])


def compared(samples: list[Tensor], wanted: int, piece: Callable[[int], str], nothing: int, drawing: Drawing) -> Comparison:
    """samples: one of each method, (n, PLACES) token ids."""
    places = []
    for place in range(PLACES):
        eesd, vanilla = (sample[:, place] for sample in samples)
        ids, counts = torch.cat([eesd, vanilla]).unique(return_counts=True)
        best = ids[counts.argsort(descending=True, stable=True)[:SHOWN]].tolist()
        rows = [("" if id == nothing else piece(id), int((eesd == id).sum()), int((vanilla == id).sum())) for id in best]
        other = (len(eesd) - sum(row[1] for row in rows), len(vanilla) - sum(row[2] for row in rows))
        places.append(Place(rows, other, distance(eesd, vanilla)))
    together = [sample @ torch.tensor([(nothing + 1) ** i for i in range(PLACES)]) for sample in samples]
    return Comparison(len(samples[0]), wanted, tuple(places), distance(*together), drawing.accepted / max(1, drawing.tested))


def distance(a: Tensor, b: Tensor) -> Distance:
    """Of two samples of tokens, (n,) and (m,), and of random deals of all of them."""
    kinds, pooled = torch.cat([a, b]).unique(return_inverse=True)
    generator = torch.Generator().manual_seed(0)

    def between(order: Tensor) -> float:
        left, right = (torch.bincount(part, minlength=len(kinds)).double() for part in (order[: len(a)], order[len(a) :]))
        return float((left / len(a) - right / len(b)).abs().sum() / 2)

    measured = between(pooled)
    deals = torch.tensor([between(pooled[torch.randperm(len(pooled), generator=generator)]) for _ in range(DEALS)], dtype=torch.float64)
    at_least = int((deals >= measured - 1e-12).sum())
    return Distance(measured, float(deals.mean()), float(deals.quantile(0.95)), (at_least + 1) / (DEALS + 1))

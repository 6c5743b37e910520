"""A live test of what rejection sampling promises: speculation draws from the target's own distribution.

The same beginning is continued many times, alternately by speculative rejection sampling and plainly, each time with its own random
numbers, and the tokens at each place are counted. Two fair samples of one distribution differ by chance, too. So their distance is shown
next to the distances that result when the same draws are dealt to the two methods at random (a permutation test). Ours.

The rounds are the engine's own, except that the prompt is read only once.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ..control import FixedController
from ..engine import Engine
from ..errors import UserError
from ..request import Request

PLACES = 2  # tokens per draw
DRAFTED = 2  # drafts per round: both places are drafted, and drafts after a rejected one occur
SHOWN = 12  # tokens named at each place; the others are counted as one
DEALS = 200  # random deals of the draws to the two methods
EVERY = 20  # draws of each method between two reports
METHODS = ("eesd", "vanilla")


@dataclass(frozen=True, slots=True)
class Distance:
    """Total variation distance of two samples: half the sum of the absolute differences of shares, 0 to 1."""

    measured: float
    chance: float  # mean of the random deals
    most: float  # 95 % of the random deals stay below
    p: float  # share of the deals that are at least as far apart; the measured one counts as one of them


@dataclass(frozen=True, slots=True)
class Place:
    """The tokens at one place of the continuation. `tokens`: [text, eesd count, vanilla count] of the most frequent; `other`: the rest."""

    tokens: list[tuple[str, int, int]]
    other: tuple[int, int]
    distance: Distance


@dataclass(frozen=True, slots=True)
class Comparison:
    drawn: int  # draws by each method
    wanted: int
    places: tuple[Place, ...]
    together: Distance  # of all places taken as one
    acceptance: float  # share of tested drafts that were accepted

    def to_json(self) -> dict:
        return asdict(self)


class Drawing:
    """One prompt, read once. Every draw starts again after it."""

    def __init__(self, engine: Engine, request: Request):
        """Raises UserError for a request that the engine refuses."""
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
    """Draw `wanted` times by each method. Yields a comparison every EVERY draws and at the end. Raises UserError before the first draw."""
    if not request.sampling.temperature:
        raise UserError("at temperature 0 nothing is drawn: choose a temperature above 0")
    request = replace(request, sampling=replace(request.sampling, acceptance="rejection"))
    drawings = {method: Drawing(engine, replace(request, method=method)) for method in METHODS}
    draws: dict[str, list[list[int]]] = {method: [] for method in METHODS}
    nothing = engine.target.vocab  # stands for a token after the end of the text
    for number in range(wanted):
        for i, (method, drawing) in enumerate(drawings.items()):
            if cancelled():
                return
            seed = (request.sampling.seed + len(METHODS) * number + i) % 2**63  # the methods share no random numbers
            ids = drawing.draw(seed)
            draws[method].append(ids + [nothing] * (PLACES - len(ids)))
        if (number + 1) % EVERY == 0 or number + 1 == wanted:
            samples = [torch.tensor(draws[method]) for method in METHODS]
            yield compared(samples, wanted, engine.target.codec.piece, nothing, drawings["eesd"])


def compared(samples: list[Tensor], wanted: int, piece: Callable[[int], str], nothing: int, drawing: Drawing) -> Comparison:
    """samples: one per method, (n, PLACES) token ids."""
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
    """Distance of two samples of tokens, (n,) and (m,), and of random deals of all of them."""
    kinds, pooled = torch.cat([a, b]).unique(return_inverse=True)
    generator = torch.Generator().manual_seed(0)

    def between(order: Tensor) -> float:
        left, right = (torch.bincount(part, minlength=len(kinds)).double() for part in (order[: len(a)], order[len(a) :]))
        return float((left / len(a) - right / len(b)).abs().sum() / 2)

    measured = between(pooled)
    deals = torch.tensor([between(pooled[torch.randperm(len(pooled), generator=generator)]) for _ in range(DEALS)], dtype=torch.float64)
    at_least = int((deals >= measured - 1e-12).sum())
    return Distance(measured, float(deals.mean()), float(deals.quantile(0.95)), (at_least + 1) / (DEALS + 1))

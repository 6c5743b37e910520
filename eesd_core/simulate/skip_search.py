"""Which sub-layers to skip: a short Bayesian optimisation (Draft & Verify, arXiv 2309.08168, Section 3.3).

A Gaussian process over sets, encoded as 2L zeros and ones, learns the value of the sets tried so far. The next trial is the candidate with
the highest mean + KAPPA standard deviations. As in the paper, a set is evaluated by drafting and verifying a few texts. Ours: costs are
counted instead of timed, so that the result does not depend on machine load (a verify pass counts 1, a draft pass the time share of its
remaining sub-layers); candidates are neighbours of the best set and random sets; dozens of trials instead of a thousand.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..draft.layer_skip import remaining
from ..draft.skip_set import SkipSet
from ..engine import Engine
from ..metrics import Metrics
from ..model.target import Target
from ..request import Request

TRIALS, FIRST, CANDIDATES, KAPPA = 40, 8, 400, 2.0
REACH = 3.0  # the kernel's length scale; the distance of two sets is the square root of the number of sub-layers in which they differ
NEW_TOKENS = 32  # per text


class Trial(NamedTuple):
    """State of a search: the trial's `number`, from 1, the best set so far, and its value `worth`."""

    number: int
    best: SkipSet
    worth: float


def search(worth: Callable[[SkipSet], float], depth: int, trials: int = TRIALS, seed: int = 0) -> Iterator[Trial]:
    """Maximises `worth` over skip sets of a model with `depth` layers. Yields the state after every trial."""
    from sklearn.gaussian_process import GaussianProcessRegressor  # imported here because it takes a second
    from sklearn.gaussian_process.kernels import Matern

    random = np.random.default_rng(seed)
    start = as_row(SkipSet.every_second(depth), depth)
    rows = [start, *(random.random((FIRST - 1, 2 * depth)) < random.uniform(0.1, 0.6, (FIRST - 1, 1)))]
    worths, best = [], 0
    for number in range(trials):
        if number == len(rows):
            process = GaussianProcessRegressor(Matern(REACH, nu=2.5), alpha=1e-2, optimizer=None, normalize_y=True)
            process.fit(np.array(rows, float), worths)
            flips = random.random((CANDIDATES, 2 * depth)) < random.choice([1, 2, 4], (CANDIDATES, 1)) / (2 * depth)
            anywhere = random.random((CANDIDATES // 4, 2 * depth)) < random.uniform(0.1, 0.6, (CANDIDATES // 4, 1))
            tried = {row.tobytes() for row in rows}
            candidates = np.array([row for row in [*(rows[best] ^ flips), *anywhere] if row.tobytes() not in tried])
            mean, deviation = process.predict(candidates.astype(float), return_std=True)
            rows.append(candidates[int(np.argmax(mean + KAPPA * deviation))])
        worths.append(worth(as_set(rows[number])))
        best = int(np.argmax(worths))
        yield Trial(number + 1, as_set(rows[best]), worths[best])


def as_row(skips: SkipSet, depth: int) -> np.ndarray:
    return np.array([i in skips.attention for i in range(depth)] + [i in skips.mlp for i in range(depth)])


def as_set(row: np.ndarray) -> SkipSet:
    attention, mlp = np.split(row, 2)
    return SkipSet(frozenset(np.flatnonzero(attention).tolist()), frozenset(np.flatnonzero(mlp).tolist()))


def search_skips(engine: Engine, prompts: Sequence[str], trials: int = TRIALS) -> Iterator[Trial]:
    """Searches the best skip set for this model, with greedy decoding and Self-SD's adaptive threshold."""
    attention, mlp = shares(engine.target)

    def worth(skips: SkipSet) -> float:
        """Tokens per time of one plain step."""
        if not str(skips):
            return 1.0  # the draft model is the whole model
        cost = 1 - attention * len(skips.attention) - mlp * len(skips.mlp)
        tokens, steps = 0, 0.0
        for prompt in prompts:
            request = Request(prompt, NEW_TOKENS, controller="adaptive-threshold", drafter=f"layer-skip:{skips}")
            metrics = Metrics.fold(engine.run(request), request.method)
            tokens += len(metrics.token_ids)
            steps += metrics.rounds + cost * metrics.drafted
        return tokens / steps

    return search(worth, engine.target.depth, trials)


@torch.inference_mode()
def shares(target: Target, position: int = 64, repeats: int = 30) -> tuple[float, float]:
    """Shares of a plain step's time that one attention and one MLP take. The share of all attentions, and of all MLPs, is rounded to
    tenths, so that small timing noise does not change the result of a search."""
    every = frozenset(range(target.depth))
    kinds = [SkipSet(frozenset(), frozenset()), SkipSet(every, frozenset()), SkipSet(frozenset(), every)]
    stacks, cache = [remaining(target, skips) for skips in kinds], target.new_cache(position + 1)
    best = [float("inf")] * len(stacks)
    for _ in range(repeats):
        for number, layers in enumerate(stacks):
            cache.lengths = [position] * target.depth
            began = time.perf_counter()
            target.logits(target.run(layers, target.embed([0], position), cache, position)).argmax(-1).tolist()
            best[number] = min(best[number], time.perf_counter() - began)
    whole, without_attention, without_mlp = best
    return tuple(round(max(0.0, 1 - rest / whole), 1) / target.depth for rest in (without_attention, without_mlp))

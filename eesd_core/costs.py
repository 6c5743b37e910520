"""The time of each step of a round on this machine. Speedups and draft lengths depend on it.

Times are measured before the first run at one context length and tracked while running, because the context grows and the machine's load
changes. Draft cost c = time of one draft step / time of one plain decoding step. T_v(m) = time of the remaining layers and the head over m
tokens.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from .control import Costs
from .draft.base import Parts, Text
from .draft.early_exit import EarlyExitDrafter
from .fit import Fit
from .heads.base import Head
from .limits import MAX_ROWS
from .model.parallel import first_ones
from .model.span import Segment, Span
from .model.target import Target
from .sampling import Sampler, Sampling

ROWS = (1, 2, 4, 8, MAX_ROWS)  # sizes of verify passes that are measured; T_v(m) is interpolated linearly between them
NOISE = 1.15  # by so much a pass over fewer rows may seem to take longer than one over more
PATIENCE = 1.5  # seconds: for how long times that contradict each other are measured again


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured times, in seconds."""

    plain: float  # one plain decoding step
    shallow: float  # the first N layers over one token
    draft: float  # the first N layers, exit layer, head and choice
    verify: dict[int, float]  # rows -> T_v, of the layers behind the first N and the head
    full: dict[int, float]  # rows -> time of all layers and the head, for drafters that reuse none

    def to_json(self) -> dict:
        """Times in milliseconds, draft cost c and number of threads, as `doctor` prints them."""
        times = {"plain": self.plain, "shallow": self.shallow, "draft": self.draft}
        times |= {f"verify_{rows}": seconds for rows, seconds in self.verify.items()}
        facts = {"c": round(self.draft / self.plain, 3), "threads": torch.get_num_threads()}
        return {name: round(1e3 * seconds, 3) for name, seconds in times.items()} | facts


class CostTracker:
    """The costs of rounds with one drafter: the measured ones at first, then what the run's own rounds tell.

    T_v keeps its measured shape but for two factors: of what a pass of one row takes, and of what further rows add. Otherwise noise in a
    single T_v(m) would look like a step in a draft's price. One factor would not do: a machine that serves others too is now short of
    memory's time, now of the processor's. Draft steps have two factors as well: of a round's first, whose weights no cache holds any more,
    and of later ones.

    If several texts share passes (`texts` of them, together.py), a round of k drafts is priced as if all of them drafted k, because a pass
    has the rows of all texts. Rows beyond the limit of a pass take further passes. All texts wait for a text's draft step. Where they share
    draft steps too, `SharedCosts` takes this class's place.
    """

    WEIGHT = 0.1  # weight of the newest round: the mean covers about ten rounds, a tenth of a second
    FASTER = 0.5  # its weight where it took less than half of the mean: nothing makes a step shorter, so the mean was wrong
    MOST_CHANGE = 2.0  # a step counts as at most this many times its mean, since longer ones were probably interrupted

    def __init__(self, measured: Measured, reuses: int, cost_guess: float = 0.0, at_once: bool = False):
        """`reuses`: number of the target's first layers that drafting runs. `cost_guess`: draft step time / plain step time for a drafter
        that runs none of them; 0: taken from its first round with drafts. `at_once`: one step makes all drafts of a round."""
        little = 0.02 * measured.plain  # a guess for what is not measured at load
        self.shallow, self.draft = (measured.shallow, measured.draft) if reuses else (0.0, cost_guess * measured.plain)
        self.at_once = at_once
        self.idle = self.shallow  # the first layers in a round without drafts
        self.verify = self.measured = Costs.from_points(0.0, measured.verify if reuses else measured.full, 0.0).verify
        self.steps, self.passes = Fit(), Fit()
        self.rest = little  # acceptance, rollback and bookkeeping
        self.tokens, self.seconds = 1, measured.plain  # tokens written so far and their time; starts with one plain step
        self.texts = 1
        self.rows: int | None = None  # rows of all texts in this round's verify passes; None: this text is alone

    def costs(self) -> Costs:
        verify = self.verify if self.texts == 1 else tuple(self._passes(self.texts * rows) for rows in range(1, MAX_ROWS + 1))
        growth, step = self._growth(self.texts), self.texts * self.draft
        begun = self.steps.first * (growth * self.shallow + step)
        later = 0.0 if self.at_once else min(self.steps.second * step, begun)
        return Costs(later, verify, growth * self.idle + self.rest, begun - growth * self.idle - later)

    def _passes(self, rows: float, verify: Sequence[float] = ()) -> float:
        """Time of the verify passes for this many rows in total, in seconds. A part of a row takes a part of its time."""
        verify = verify or self.verify
        whole, rest = divmod(rows, MAX_ROWS)
        low, part = int(rest), rest - int(rest)
        before = verify[low - 1] if low else 0.0
        return whole * verify[-1] + before + (part * (verify[low] - before) if part else 0.0)

    def _growth(self, rows: float) -> float:
        """Time of a draft step with this many rows / with one row. It is assumed to grow like T_v."""
        if rows == 1:
            return 1.0
        low = int(rows)
        more = (rows - low) * (self.verify[low] - self.verify[low - 1]) if rows > low else 0.0
        return (self.verify[low - 1] + more) / self.verify[0]

    @property
    def pace(self) -> float:
        """Tokens per second so far."""
        return self.tokens / self.seconds

    def observe(
        self, drafted: int, draft_seconds: float, verify_seconds: float, rest_seconds: float, siblings: int = 0, written: int = 1
    ) -> None:  # fmt: skip
        """Learn from a round. Times in seconds: drafting (including the first layers over the pending token), the verify pass, and the
        rest. `drafted`: spine nodes. `siblings`: other nodes. `written`: tokens that the round wrote."""
        self.tokens, self.seconds = self.tokens + written, self.seconds + draft_seconds + verify_seconds + rest_seconds
        growth, later = self._growth(self.texts), 0 if self.at_once else drafted - 1
        if drafted and not self.shallow + self.draft:
            self.draft = draft_seconds / (1 + later)
        elif drafted:
            self.steps.learn(growth * self.shallow + self.draft, later * self.draft, draft_seconds)
        elif self.idle:
            self.idle *= self._scale(growth * self.idle, draft_seconds)
        self.rest *= self._scale(self.rest, rest_seconds)
        self._learn_passes(self.rows or self.texts * (1 + drafted + siblings), verify_seconds)

    def _learn_passes(self, rows: int, seconds: float, layers: float = 1.0) -> None:
        """layers: time of the layers that ran / of those that T_v is of."""
        alone = self.measured[0]
        one_row = -(-rows // MAX_ROWS) * alone
        self.passes.learn(layers * one_row, layers * (self._passes(rows, self.measured) - one_row), seconds)
        more, begun = self.passes.second, (self.passes.first - self.passes.second) * alone
        self.verify = tuple([begun + more * seconds for seconds in self.measured])

    def _scale(self, mean: float, seconds: float) -> float:
        """The factor by which a mean changes."""
        ratio = min(seconds / mean, self.MOST_CHANGE)
        return 1 + (self.FASTER if ratio < 0.5 else self.WEIGHT) * (ratio - 1)


class SharedCosts(CostTracker):
    """The costs of rounds of texts that share draft steps and verify passes, one for all of them. It learns from the passes themselves.

    All wait for a step, but it benefits only those that draft in it; so these are charged a multiple of its time. Their number is a running
    mean, for the first step of a round and for later ones. The first one has to fetch its weights from memory, which the verify pass has
    filled with others; so the two kinds have means of their own, and need no fit, because every step is timed by itself. The rows of
    drafts, too, are those of as many texts as draft, or of all if the others have padding.

    A drafter that runs some of the target's layers takes all texts through the first step, and once more through a last step without
    drafts. One that runs none (`reuses` 0) has only steps of texts that draft; `cost_guess` gives their first price, as in CostTracker.

    A round without drafts has no steps: its verify pass runs all layers. The first ones are taken to change with the others.
    """

    def __init__(self, measured: Measured, reuses: int, padded: bool = False, cost_guess: float = 0.0):
        super().__init__(measured, reuses, cost_guess)
        self.padded, self.all_step = padded, reuses > 0 or padded  # whether all texts take part in the first step
        self.early = self.shallow / self.verify[0]  # time of the first layers / of the others
        self.later = self.draft  # a later step with one text
        self.last = self.shallow  # the step behind them, in which no text drafts
        self.joining, self.sharing = float(MAX_ROWS), 1.0  # numbers of texts that draft in the first step of a round, and in a later one
        self.rest = self.beside = 0.1 * measured.plain  # of rounds without and with drafts
        self.known: dict[int, Costs] = {}  # by the number of texts, until the next round is learned

    def costs(self) -> Costs:
        if self.texts not in self.known:
            self.known[self.texts] = self._costs()
        return self.known[self.texts]

    def _costs(self) -> Costs:
        texts, all_of_them = self.texts, self._growth(self.texts)
        joining, sharing = min(self.joining, texts), min(self.sharing, texts)
        plain, rows = self._passes(texts), texts if self.padded else joining  # rows: of one draft more
        verify = tuple(plain + texts / joining * (self._passes(texts + rows * drafts) - plain) for drafts in range(MAX_ROWS))
        step = texts / sharing * self._growth(sharing) * self.later
        first = self._stepping(joining) * self.draft + all_of_them * (self.last - self.shallow) + self.beside - self.rest
        first *= texts / joining
        return Costs(step, verify, all_of_them * self.shallow + self.rest, first - step)

    def _stepping(self, joining: float) -> float:
        """Time of the first step / with one text, if so many draft in it."""
        return self._growth(self.texts if self.all_step else joining)

    def _step_now(self, mean: float, growth: float, seconds: float) -> float:
        """The mean of a step with one text, after one that took so long; growth: its time / with one text."""
        return mean * self._scale(growth * mean, seconds) if mean else seconds / growth

    def observe(self, *_, **__) -> None:
        """A text's own share teaches nothing that `learn` does not."""

    def learn(self, steps: Sequence[tuple[int, float]], rows: int, verify_seconds: float, rest_seconds: float) -> None:
        """Learn from a round of all texts. steps: of every shared draft step, the number of texts that drafted in it, and its seconds.
        rows: of the verify passes, which ran all layers if there were no steps. rest_seconds: what the round took beside."""
        self.known.clear()
        all_of_them = self._growth(self.texts)
        for number, (texts, seconds) in enumerate(steps):
            if not texts:
                self.last = self._step_now(self.last, all_of_them, seconds)
            elif not number:
                self.draft = self._step_now(self.draft, self._stepping(texts), seconds)
                self.joining = min(self.joining, self.texts) + self.WEIGHT * (texts - min(self.joining, self.texts))
            else:
                self.later = self._step_now(self.later, self._growth(texts), seconds)
                self.sharing += self.WEIGHT * (texts - self.sharing)
        self._learn_passes(rows, verify_seconds, 1.0 if steps else 1.0 + self.early)
        self.shallow = self.early * self.verify[0]
        scale = self._scale(self.beside if steps else self.rest, rest_seconds)
        self.rest, self.beside = scale * self.rest, self.beside * (scale if steps else 1.0)  # both where only their difference is known


def disturbed(passes: dict[int, float]) -> bool:
    """Whether passes over fewer rows seem to take longer than passes over more: other programs ran beside some of them. passes: seconds by
    number of rows."""
    rows = sorted(passes)
    return any(passes[few] > NOISE * passes[more] for few, more in itertools.pairwise(rows))


@torch.inference_mode()
def measure_costs(
    target: Target, exit_layer: Head | None, position: int = 128, repeats: int = 4, least_seconds: float = 0.25
) -> Measured:  # fmt: skip
    """Time every step at one context length. Takes the minimum of `repeats` times or more, because interruptions only add time. Steps take
    turns for at least `least_seconds`, so that drift affects all alike and a short interruption not all repeats, and for longer while the
    times contradict each other. Each step ends with a copy to the host, because a GPU works asynchronously."""
    split, depth, position = exit_layer.exit_after if exit_layer else 0, target.depth, min(position, target.context - MAX_ROWS)
    text = Text([0] * (position + 1), target.new_cache(position + MAX_ROWS), Sampler(Sampling(), target.vocab, target.device))
    cache, drafter = text.cache, exit_layer and EarlyExitDrafter(Parts(target, exit_layer.at(0.0), position + MAX_ROWS))
    caches = [cache, *([drafter.cache] if drafter else [])]
    for each in caches:  # times do not depend on the cache's content, so no prompt is computed
        each.randomize()
        each.lengths = [position] * len(each.lengths)
    states = target.run_range(0, split, target.embed([0] * MAX_ROWS, position), cache, position)

    def shallow() -> torch.Tensor:  # (1, 1, D)
        return target.run_range(0, split, target.embed([0], position), cache, position)

    taps = drafter.taps if drafter else ()

    def verify(rows: int) -> None:
        target.verify(split, taps, states[:, :rows], [Segment(cache, Span(position), rows)])[0].argmax(-1).tolist()

    def plain() -> None:
        target.verify(0, (), target.embed([0], position), [Segment(cache, Span(position), 1)])[0].argmax(-1).tolist()

    steps = {"plain": plain, "shallow": lambda: shallow()[0, 0, 0].item()}
    steps |= ({"draft": lambda: drafter.extend(text, [], 1)} if drafter else {}) | {m: partial(verify, m) for m in ROWS}
    times: dict[str | int, list[float]] = {name: [] for name in steps}
    took = 0.0

    def go_on() -> bool:
        """All processes of one model must take as many turns, but their clocks differ."""
        more = len(times["plain"]) < repeats or took < least_seconds
        more = more or (took < PATIENCE and disturbed({m: min(times[m]) for m in ROWS}))
        return bool(first_ones([float(more)])[0]) if target.shards > 1 else more

    while go_on():
        for name, step in steps.items():
            for each in caches:
                each.truncate(position)
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
            took += times[name][-1]
    seconds = {name: min(values) for name, values in times.items()}
    deep = {m: seconds[m] for m in ROWS}
    full = {m: seconds["plain"] + (deep[m] - deep[1]) * depth / (depth - split) for m in ROWS}  # a row costs the same in every layer
    return Measured(seconds["plain"], seconds["shallow"], seconds.get("draft", 0.0), deep, full)

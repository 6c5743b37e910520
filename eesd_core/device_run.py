"""A run whose rounds stay on the device, with one copy to the host at the end of each (model/cuda/graph_steps.py). backends.py says when.

It has the phases and the facts of every run, but the facts come later: `draft` runs the whole round and then yields the drafts. How many
is decided before, because reading a draft's confidence would take a copy per draft. So only controllers that ignore the confidence can be
used. Tests compare the text with that of other runs.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from .candidates import Candidates
from .control import Controller, Decision, Facts
from .costs import CostTracker, Measured
from .draft.base import CERTAIN, MOST_LEAD, Draft, Node
from .draft.none import NoDrafter
from .limits import MAX_ROWS
from .model.cache import KVCache
from .model.cuda.graph_steps import VERIFY_ROWS, DeviceSteps, Guess
from .model.target import Target
from .run import Judgement, Run
from .sampling import Ranked, Sampling
from .verify import by_matching


class OnDevice(NoDrafter):
    """Stands for the exit layer, which drafts within the steps."""

    name = "early-exit"

    def __init__(self, reuses: int):
        self.reuses = reuses


class DeviceRun(Run):
    backend = "device"

    def __init__(
        self, steps: DeviceSteps, ids: Sequence[int], new_tokens: int, controller: Controller, costs: CostTracker,
        candidates: Candidates | None = None, stop: Sequence[str] = (),
    ):  # fmt: skip
        """`steps` may come from an earlier run and keep their recorded graphs. They must have room for this run."""
        self.steps, drafter = steps, OnDevice(steps.split) if steps.split else NoDrafter()
        super().__init__(steps.target, ids, new_tokens, steps.sampling, drafter, controller, costs, candidates, stop)

    def _new_cache(self, capacity: int) -> KVCache:
        return self.steps.cache

    def prefill(self) -> float:
        began = now(self.target.device)
        self.steps.begin(self.text.ids)
        return now(self.target.device) - began

    def draft(self) -> Iterator[tuple[Node, Decision]]:
        """The whole round. Drafts behind an accepted end of the text are dropped: the target says nothing about them."""
        decisions, stop = self._decide()
        with self.clock.standing():
            self.steps.record(len(decisions))  # the graphs that this round is the first to use
        began = time.perf_counter()
        report = self.steps.round(len(decisions))
        self.drafted = Draft([node_of(guess, i) for i, guess in enumerate(report.guesses)], None, stop, report.draft_seconds)
        self.judged = self._judged(report.found)
        self.judged.seconds = time.perf_counter() - began - report.draft_seconds
        if self.judged.ends:
            self.drafted.stop = "eos" if self.drafted.ids[-1] in self.target.end_ids else "stop"
            decisions = decisions[: len(self.drafted.nodes)]
            decisions[-1] = decisions[-1]._replace(go=False)
        yield from zip(self.drafted.nodes, decisions)

    def _decide(self) -> tuple[list[Decision], str]:
        """The controller's decision after each draft, before any is made, and the reason to stop."""
        decisions: list[Decision] = []
        go = self.budget > 0
        while go:
            decision = self.controller.keep_drafting(Facts(len(decisions), *CERTAIN))
            go = decision.go and len(decisions) + 1 < self.budget
            decisions.append(decision._replace(go=go))
        if not self.budget:
            return decisions, "none"
        if len(decisions) < self.budget:
            return decisions, "controller"
        return decisions, "length" if self.budget == self.left - 1 else "limit"

    def _judged(self, found: Ranked) -> Judgement:
        """The verdict on `drafted`, from which it takes the nodes behind an end."""
        verdict = by_matching(self.drafted.nodes, [best[0] for best in found.ids])
        if (end := self._end_of(verdict.path)) is not None:
            self.drafted.nodes = self.drafted.nodes[:end]
            found = Ranked(*(part[: end + 1] for part in found))._replace(asked=found.asked[:end])
            verdict = by_matching(self.drafted.nodes, [best[0] for best in found.ids])
        return self._judgement(verdict, found, found.log_probs[verdict.next_row][0])

    def verify(self) -> Judgement:
        """Nothing is left to do."""
        return self.judged

    def _roll_back(self, start: int) -> None:
        """The device has rolled back. Only the lengths are kept here."""
        self.text.cache.lengths = [self.text.start] * self.target.depth


def node_of(guess: Guess, number: int) -> Node:
    facts = Facts(number, guess.confidence, guess.entropy, min(guess.lead, MOST_LEAD))
    return Node(int(guess.id), number - 1, None, facts, guess.probability)


def now(device: torch.device) -> float:
    """The time when the device has done all its work so far."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Trial(NamedTuple):
    """What came of the steps on this device."""

    measured: Measured
    refused: str  # why CUDA graphs are refused; "": they are not


@torch.inference_mode()
def try_steps(target: Target, exit_layer: nn.Module | None, position: int = 128, repeats: int = 4) -> Trial:
    """Measures the steps on the device, as costs.measure_costs does those of the host. A verify pass takes what its padded size takes. The
    first time of every step is left out, because it includes the recording."""
    position, depth = min(position, target.context - MAX_ROWS), target.depth
    steps = DeviceSteps(target, exit_layer, position + MAX_ROWS, Sampling())
    for cache in (steps.cache, steps.exit_cache):  # times do not depend on the content
        cache.randomize()
    steps.start = position
    reach, split = steps.reach(MAX_ROWS), steps.split
    parts = {"plain": partial(steps.plain, reach)} | {rows: partial(steps.verify, rows, reach) for rows in VERIFY_ROWS}
    parts |= {"shallow": partial(steps.shallow, reach), "draft": partial(steps.draft, reach)} if split else {}
    times: dict = {name: [] for name in parts}
    for _ in range(1 + repeats):
        for name, step in parts.items():
            steps.at.fill_(position)
            steps.place.fill_(position)
            began = now(target.device)
            steps.recorder(name, step)
            times[name].append(now(target.device) - began)
    seconds = {name: min(values[1:]) for name, values in times.items()}
    deep = {rows: seconds[next(size for size in VERIFY_ROWS if size >= rows)] for rows in range(1, MAX_ROWS + 1)}
    full = {rows: seconds["plain"] + (deep[rows] - deep[1]) * depth / (depth - split) for rows in deep}
    measured = Measured(seconds["plain"], seconds.get("shallow", 0.0), seconds.get("draft", 0.0), deep, full)
    return Trial(measured, steps.recorder.note)

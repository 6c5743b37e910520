"""A run whose rounds stay on the device, with one copy to the host at the end of each (model/cuda/graph_steps.py).

It has the phases of every run. The draft length is fixed before a round begins, because reading a draft's confidence would take a copy per
draft. So only controllers that ignore the confidence can be used. The text is the same as any run's; tests compare them.
"""

import time
from collections.abc import Iterator

import torch

from .control import Controller, Decision, Facts
from .costs import CostTracker
from .draft.base import CERTAIN, Draft, Node
from .draft.none import NoDrafter
from .model.cache import KVCache
from .model.cuda.graph_steps import DeviceSteps
from .run import Judgement, Run
from .verify import Verdict

UNSEEN = -1  # placeholder for a draft's id, which stays on the device


class DeviceRun(Run):
    def __init__(self, steps: DeviceSteps, ids: list[int], new_tokens: int, controller: Controller, costs: CostTracker):
        """`steps` may come from an earlier run and keep their recorded graphs. They must have room for this run."""
        self.steps = steps
        super().__init__(steps.target, ids, new_tokens, steps.sampling, NoDrafter(), controller, costs)

    def _new_cache(self, capacity: int) -> KVCache:
        return self.steps.cache

    def prefill(self) -> float:
        began = self._now()
        self.steps.begin(self.text.ids)
        return self._now() - began

    def draft(self) -> Iterator[tuple[Node, Decision]]:
        """Decides only how many tokens to draft; yields nothing."""
        nodes, go = [], self.budget > 0
        while go:
            nodes.append(Node(UNSEEN, len(nodes) - 1, None, Facts(len(nodes), *CERTAIN)))
            go = self.controller.keep_drafting(nodes[-1].facts).go and len(nodes) < self.budget
        self.drafted = Draft(nodes)
        yield from ()

    def verify(self) -> Judgement:
        """Drafts and verifies. Tokens behind one that ends the text are dropped."""
        began = time.perf_counter()
        accepted, choices = self.steps.round(len(self.drafted.nodes))
        end = next((i for i in range(accepted) if choices[i] in self.target.end_ids), None)
        path = range(accepted if end is None else end + 1)
        self.drafted.nodes = [node._replace(id=choices[i]) if i in path else node for i, node in enumerate(self.drafted.nodes)]
        rejected = () if accepted == len(self.drafted.nodes) or end is not None else (accepted,)
        verdict = Verdict(tuple(path), choices[len(path)], len(path), rejected, tuple(choices))
        self.judged = Judgement(verdict, (), 0.0, (), end is not None, time.perf_counter() - began)
        return self.judged

    def _roll_back(self, start: int) -> None:
        """Nothing to do: the device has rolled back."""

    def _learn_costs(self, rest: float, written: int) -> None:
        """Only a round's total time is known, not that of its stages, so the costs stay as measured at load."""

    def _now(self) -> float:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)
        return time.perf_counter()

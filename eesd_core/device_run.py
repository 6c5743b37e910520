"""A run whose rounds happen on the device: a round has one copy to the host, at its end (model/cuda/graph_steps.py).

Its phases are those of every run. Draft lengths are settled before a round begins, since looking at a draft's confidence would need a copy
for every draft: so only controllers that do not look at it can be used. The text is what any run writes; tests compare them.
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

UNSEEN = -1  # in place of a draft's id, which stays on the device


class DeviceRun(Run):
    def __init__(self, steps: DeviceSteps, ids: list[int], new_tokens: int, controller: Controller, costs: CostTracker):
        """`steps` of an earlier run keep their recorded graphs; they must have room for this one."""
        self.steps = steps
        super().__init__(steps.target, ids, new_tokens, steps.sampling, NoDrafter(), controller, costs)

    def _new_cache(self, capacity: int) -> KVCache:
        return self.steps.cache

    def prefill(self) -> float:
        began = self._now()
        self.steps.begin(self.text.ids)
        return self._now() - began

    def draft(self) -> Iterator[tuple[Node, Decision]]:
        """Decides how many, and shows none."""
        nodes, go = [], self.budget > 0
        while go:
            nodes.append(Node(UNSEEN, len(nodes) - 1, None, Facts(len(nodes), *CERTAIN)))
            go = self.controller.keep_drafting(nodes[-1].facts).go and len(nodes) < self.budget
        self.drafted = Draft(nodes)
        yield from ()

    def verify(self) -> Judgement:
        """Drafts and verifies. Behind an end of the text nothing counts."""
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
        """The device has done so."""

    def _learn_costs(self, rest: float, written: int) -> None:
        """Of a round only the whole time is known, and no stage of it: the costs stay those measured at load."""

    def _now(self) -> float:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)
        return time.perf_counter()

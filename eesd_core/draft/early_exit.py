"""The early-exit drafter: the target's first N layers and the exit layer (EESD, Section 3.1 and Figure 2).

Every draft token passes the first N layers once. The hidden states are kept, so that verification starts from them and runs the
remaining layers only. The last draft passes the first N layers too, which is what buys the bonus token.
"""

import time
from collections.abc import Generator

import torch
from torch import Tensor

from ..control import Controller
from ..events import DraftToken
from ..model.exit_layer import ExitLayer
from ..model.split import Target
from .base import Context, Draft


class EarlyExitDrafter:
    name = "early-exit"

    def __init__(self, target: Target, exit_layer: ExitLayer, capacity: int):
        self.target, self.exit_layer = target, exit_layer
        self.shares_layers = exit_layer.exit_after
        self.cache = target.new_cache(capacity, layers=1)
        self.states = torch.zeros(1, capacity, target.config.hidden_size, dtype=target.dtype, device=target.device)

    def begin(self, context: Context, states: Tensor) -> None:
        self.states[:, : states.shape[1]] = states
        if states.shape[1]:
            self.exit_layer(self.target, states, self.cache, 0)

    def propose(self, context: Context, controller: Controller, budget: int) -> Generator[DraftToken, None, Draft]:
        start, token = context.start, context.ids[-1]
        ids: list[int] = []
        laws: list[Tensor] = []
        reason, seconds = ("limit" if budget else "none"), 0.0
        while True:
            began = time.perf_counter()
            position = start + len(ids)
            self._shallow(token, position, context)
            if len(ids) == budget or reason in ("controller", "eos"):
                seconds += time.perf_counter() - began
                q = torch.stack(laws) if ids and context.sampler.sampling.rejects else None
                return Draft(ids, self.states[:, start : position + 1], reason, seconds, q)
            law, token, probability, confidence, entropy = self._draw(position, context)
            seconds += time.perf_counter() - began
            ids.append(token)
            laws.append(law)
            decision = controller.keep_drafting(len(ids) - 1, confidence, entropy)
            if token in self.target.end_ids:
                reason = "eos"
            elif not decision.go and len(ids) < budget:
                reason = "controller"
            go = decision.go and reason != "eos" and len(ids) < budget
            yield DraftToken(
                context.round, len(ids) - 1, position + 1, token, self.target.piece(token),
                probability, confidence, entropy, go, decision.terms,
            )  # fmt: skip

    def _shallow(self, token: int, position: int, context: Context) -> None:
        """One token through the first N layers; its state is kept."""
        hidden = self.target.embed([token])
        self.states[:, position : position + 1] = self.target.run_range(0, self.shares_layers, hidden, context.cache, position)

    def _draw(self, position: int, context: Context) -> tuple[Tensor, int, float, float, float]:
        """Choose the token behind `position`. Returns q (V,), id, its probability, the largest probability, the entropy in nats.

        After a fully accepted draft the exit layer has not seen the last draft's state: every gap is filled in the same pass.
        """
        gap = self.cache.lengths[0]
        logits = self.exit_layer(self.target, self.states[:, gap : position + 1], self.cache, gap)  # (1, V)
        log_probs = context.sampler.log_probs(logits)
        token = context.sampler.draft_scores(logits, log_probs, position + 1, context.round).argmax()
        probs = log_probs[0].exp()  # (V,)
        facts = torch.stack([probs[token], probs.max(), torch.special.entr(probs).sum()])
        return probs, int(token), *facts.tolist()

    def commit(self, length: int) -> None:
        self.cache.truncate(length)

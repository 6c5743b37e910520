"""Drafting one token after the other: the loop that every drafter shares. A drafter says what the next draft token is, and what it hands
over or puts right when drafting has ended.
"""

import time
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Controller
from ..events import DraftToken
from ..model.target import Target
from .base import Context, Draft

MOST_LEAD = 1e4  # stands for "there was no other token", since JSON has no infinity


class Choice(NamedTuple):
    """A draft token. `law` is the distribution it was drawn from, (V,); None: a point mass."""

    id: int
    law: Tensor | None = None
    probability: float = 1.0
    confidence: float = 1.0  # the largest probability
    entropy: float = 0.0  # nats
    lead: float = MOST_LEAD  # of its score over the runner-up's


def choose(context: Context, logits: Tensor, position: int) -> Choice:
    """Draw the token at `position` from the drafter's logits (1, V), with the sampler that the target uses."""
    log_probs = context.sampler.log_probs(logits)
    scores = context.sampler.draft_scores(logits, log_probs, position, context.round)[0]  # (V,)
    best, ids = scores.topk(2)
    logs, probs = log_probs[0], log_probs[0].exp()
    entropy = -probs.dot(logs.clamp(min=-MOST_LEAD))  # 0 x -inf is none
    facts = torch.stack([probs[ids[0]], probs.amax(), entropy, (best[0] - best[1]).clamp(max=MOST_LEAD)])
    return Choice(int(ids[0]), probs, *facts.tolist())


class StepwiseDrafter:
    target: Target

    def propose(self, context: Context, controller: Controller, budget: int) -> Generator[DraftToken, None, Draft]:
        ids: list[int] = []
        laws: list[Tensor] = []
        reason, seconds, go = ("limit" if budget else "none"), 0.0, budget > 0
        while go:
            began = time.perf_counter()
            with torch.inference_mode():
                choice = self.next(context, ids)
            seconds += time.perf_counter() - began
            if choice is None:
                reason = "none"
                break
            ids.append(choice.id)
            laws.append(choice.law)
            decision = controller.keep_drafting(len(ids) - 1, choice.confidence, choice.entropy, choice.lead)
            if choice.id in self.target.end_ids:
                reason = "eos"
            elif not decision.go and len(ids) < budget:
                reason = "controller"
            go = decision.go and reason != "eos" and len(ids) < budget
            yield DraftToken(
                context.round, len(ids) - 1, context.start + len(ids), choice.id, self.target.codec.piece(choice.id),
                choice.probability, choice.confidence, choice.entropy, go, decision.terms, choice.lead,
            )  # fmt: skip
        began = time.perf_counter()
        with torch.inference_mode():
            states = self.finish(context, ids)
        seconds += time.perf_counter() - began
        has_laws = context.sampler.sampling.rejects and ids and laws[0] is not None
        return Draft(ids, states, reason, seconds, torch.stack(laws) if has_laws else None)

    def next(self, context: Context, ids: list[int]) -> Choice | None:
        """The draft token behind the drafts `ids`; None: there is none to propose."""
        raise NotImplementedError

    def finish(self, context: Context, ids: list[int]) -> Tensor | None:
        """Drafting has ended with `ids`. Returns the states from which verification begins (see Draft), or None."""
        return None

"""A drafter made worse on purpose, to see a controller notice: from one new token on, every draft is with some probability a token drawn
uniformly from the whole vocabulary. The text stays what it was, since drafts cost time and never change a text.

What the drafter says of its confidence stays the undisturbed drafter's: it does not know what is done to it.
"""

from torch import Tensor

from ..sampling import DRAFT, random_bits, uniform
from .base import Context
from .stepwise import Choice, StepwiseDrafter

KEY = 0x5EED  # other random numbers than those that choose the text's tokens


class DisturbedDrafter(StepwiseDrafter):
    def __init__(self, drafter: StepwiseDrafter, probability: float, first: int):
        """`first`: the new token, counted from 0, whose draft is the first that may be replaced."""
        self.drafter, self.probability, self.first = drafter, probability, first
        self.name = f"disturbed:{probability:g}:{first}"  # stands in the trace, as it is spelled on the command line
        self.target, self.shares_layers, self.draft_share = drafter.target, drafter.shares_layers, drafter.draft_share

    def begin(self, context: Context, states: Tensor) -> None:
        self.prompt_length = len(context.ids)
        self.drafter.begin(context, states)

    def next(self, context: Context, ids: list[int]) -> Choice | None:
        choice = self.drafter.next(context, ids)
        place = len(context.ids) + len(ids)
        if choice is None or place < self.prompt_length + self.first:
            return choice
        # Keyed by the round too, as all noise of drafts: a place that comes again after a rejection gets new numbers.
        seed, stream, vocab = context.sampler.sampling.seed ^ KEY, DRAFT + context.round, self.target.vocab
        replaced = uniform(seed, place, stream) < self.probability
        token = random_bits(seed, place, 1, stream) % vocab if replaced else choice.id
        if choice.law is None:
            return choice._replace(id=token)
        law = (1 - self.probability) * choice.law + self.probability / vocab  # rejection sampling must know what the draft was drawn from
        return choice._replace(id=token, law=law, probability=float(law[token]))

    def finish(self, context: Context, ids: list[int]) -> Tensor | None:
        return self.drafter.finish(context, ids)

    def commit(self, length: int) -> None:
        self.drafter.commit(length)

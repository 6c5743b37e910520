"""Drives a drafter with a trained head along a given text, in given rounds, as the engine would: what it computes place by place is to be
what the head makes of whole rows (`rows_hidden`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eesd_core.control import Facts
from eesd_core.draft.base import LOGITS, Drafter, Node, Parts, Text
from eesd_core.draft.registry import make_drafter, parse_drafter
from eesd_core.heads.trained import TrainedHead
from eesd_core.model.target import Target
from eesd_core.sampling import Sampler, Sampling
from eesd_core.train.lessons import states_of
from eesd_core.verify import Verdict

ROUNDS = ((3, 3), (4, 0), (0, 0), (2, 1), (1, 1), (5, 5), (3, 2))  # (drafts, how many of them were accepted)


def moved(head: TrainedHead, seed: int = 0) -> TrainedHead:
    """Every weight its own, as training leaves them."""
    for number, parameter in enumerate(head.parameters()):
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1000 * seed + number))
        size = 0.1 * (parameter.abs().mean().item() or 1.0)  # some maps begin with nothing
        parameter.data += size + size * noise
    return head


def starts(prompt: int, rounds: Sequence[tuple[int, int]], length: int) -> Tensor:
    """(1, T): every place of the prompt is a round of its own, then as the rounds went."""
    start, found = prompt - 1, list(range(prompt - 1))
    for _, accepted in rounds:
        found += [start] * (accepted + 1)
        start += accepted + 1
    return torch.tensor([found + list(range(start, length))])[:, :length]


@torch.inference_mode()
def difference(
    target: Target, head: TrainedHead, drafter: str, plain: tuple[Target, TrainedHead] | None = None, prompt: int = 5, rounds=ROUNDS
) -> float:
    """The largest one between what the LM head's rows would be multiplied by, drafting step by step and over whole rows. `plain`: target
    and head for whole rows, where those that draft were made ready to decode."""
    trained_on, trained = plain or (target, head)
    rounds = [(min(drafts, head.longest), min(accepted, head.longest)) for drafts, accepted in rounds]
    length = prompt + sum(accepted + 1 for _, accepted in rounds) + 6
    ids = torch.randint(0, target.vocab, (length,), generator=torch.Generator().manual_seed(2)).tolist()
    states = states_of(trained_on, torch.tensor([ids]), head.taps)
    made, logits = {}, head.logits
    drafting = make_drafter(parse_drafter(drafter), Parts(target, None, length + 8, {head.kind: head}))
    drafting._step_of = lambda *_: None  # a region would not show what is compared here; test_head_steps.py compares regions with this
    text = Text(ids[:prompt], target.new_cache(length + 8), Sampler(Sampling(), target.vocab, target.device))
    run_ahead(target, drafting, text, 0)
    drafting.begin(text, {tap: states[tap][:, : text.start] for tap in head.taps})
    try:
        for drafts, accepted in rounds:
            start, nodes = text.start, []
            for number in range(drafts):
                given = []
                head.logits = lambda target, normed, words, given=given: given.append(normed) or logits(target, normed, words)
                drafting.extend(text, nodes, drafts - number)
                if number <= accepted:  # behind drafts that were right
                    made[start + number] = given[0][0, -1]
                right = ids[start + number + 1] if number < accepted else 0
                nodes.append(Node(right, number - 1, None, Facts(number, 1.0, 0.0, 0.0)))
            drafting.finish(text, nodes)
            kept = torch.cat([torch.arange(start, start + accepted + 1), torch.zeros(drafts - accepted, dtype=torch.long)])
            seen = {tap: states[tap][:, kept] for tap in head.taps} | {LOGITS: torch.zeros(drafts + 1, target.vocab)}
            text.ids += ids[start + 1 : start + accepted + 2]
            text.cache.truncate(start)
            run_ahead(target, drafting, text, start)
            drafting.commit(text, nodes, Verdict(tuple(range(accepted)), text.ids[-1], accepted, (), ()), seen)
    finally:
        head.logits = logits
    whole = trained.rows_hidden(trained_on, torch.tensor([ids]), states, starts(prompt, rounds, length))[0]
    assert len(made) == sum(min(drafts, accepted + 1) for drafts, accepted in rounds)
    return max((whole[at] - normed).abs().max().item() for at, normed in made.items())


def run_ahead(target: Target, drafter: Drafter, text: Text, start: int) -> None:
    """The target's cache has all positions before the pending token."""
    hidden = target.embed(text.ids[start : text.start], start)
    if hidden.shape[1]:
        target.run_range(0, target.depth, hidden, text.cache, start)

"""Simulates what any controller or draft length would have done on a text, without running the model again.

A *course* says for every place of a text whether a draft there would have been right and how sure the drafter would have been. It comes
from a finished run by one teacher-forced pass (`drafts_of`), or it is made up. `replay` runs a real controller over courses at given costs.
It is compared with `best_fixed` and `oracle`, the best choices in hindsight.

The simulation has one limit: a draft behind a rejected one continues from a wrong token, which a course does not cover. No outcome depends
on such drafts, but a controller may use their confidence to decide when to stop. It gets the confidence at that place of the true text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import atanh, exp, log
from random import Random
from types import MappingProxyType

import torch
from torch import Tensor

from ..control import Controller, Costs, Facts, FixedController, Outcome
from ..draft.base import MOST_LEAD
from ..draft.early_exit import EarlyExitDrafter
from ..engine import Engine
from ..errors import UserError
from ..limits import MAX_DRAFT
from ..sampling import Sampler, Sampling

PIECE = 32  # places per pass, which limits the logits in memory


@dataclass(frozen=True, slots=True)
class Course:
    """Simulated drafts, one for every place of a text. A draft at place p that is the i-th of its round (from 0) is right if i < reach[p].

    For the early-exit drafter the number in the round does not matter: reach is MAX_DRAFT or 0.
    """

    reach: Sequence[int]
    confidence: Sequence[float]
    entropy: Sequence[float]  # nats
    lead: Sequence[float]  # score of the choice minus that of the runner-up
    best: Sequence[tuple[float, ...]] = ()  # chances of the drafter's best tokens, the draft first: what siblings are made of (trees.py)
    rank: Sequence[int] = ()  # place of the text's token among them, from 0; -1: none of them is right

    def runs(self) -> list[int]:
        """For every place, how many drafts in a row from there on would be accepted, at most MAX_DRAFT."""
        reach, found = [*self.reach, *[0] * MAX_DRAFT], []
        for place in range(len(self.reach)):
            run = 0
            while run < MAX_DRAFT and run < reach[place + run]:
                run += 1
            found.append(run)
        return found


@torch.inference_mode()
def drafts_of(
    engine: Engine, ids: Sequence[int], prompt_length: int, sampling: Sampling, stopped: Callable[[], bool] = bool
) -> Course | None:  # fmt: skip
    """What the exit layer would have drafted at every place of a finished run. `ids`: prompt and text.

    They are read again in pieces. `stopped` is called before each piece; if it returns True, the result is None. A tested draft follows
    only accepted drafts, which equal the text, so the result holds exactly for tested drafts, up to rounding if passes are not
    row-invariant. (With taps a draft also depends on its place in the round; here every draft is taken as the first of its round.) Raises
    UserError for rejection sampling, because acceptance is random there.
    """
    if sampling.rejects:
        raise UserError("what would have been cannot be told by rejection sampling: run with greedy decoding or shared noise")
    target, layer, tokens = engine.target, engine.exit_layer_at(sampling), len(ids) - 1
    sampler, cache, own = Sampler(sampling, target.vocab, target.device), target.new_cache(tokens), layer.new_cache(target, tokens)
    course: list[list] = [[] for _ in fields(Course)]
    before = dict.fromkeys(layer.taps)  # each tap's last row of the previous piece
    for first in range(0, tokens, PIECE):
        if stopped():
            return None
        hidden, low, seen = target.embed(list(ids[first : min(first + PIECE, tokens)]), first), 0, {}
        for depth in (layer.exit_after, *layer.taps):
            hidden, low = target.run_range(low, depth, hidden, cache, first), depth
            seen[depth] = hidden  # (1, m, D)
        # Every draft is taken as the first of its round, so it sees the deep states of the row before it.
        rows = [torch.cat([last if first else torch.zeros_like(seen[tap][:, :1]), seen[tap]], 1) for tap, last in before.items()]
        before = {tap: row[:, -1:] for tap, row in zip(layer.taps, rows)}
        deep = torch.cat([row[:, :-1] for row in rows], -1) if rows else None  # (1, m, taps D)
        states = layer.hidden(target, seen[layer.exit_after], own, first, deep)
        low = max(first, prompt_length - 1)  # the state at a position drafts the next position's token
        if low < first + states.shape[1]:
            for kept, more in zip(course, _places(sampler, layer.along(target, states[:, low - first :], ids, low), ids, low)):
                kept += more
    return Course(*course)


def _places(sampler: Sampler, logits: Tensor, ids: Sequence[int], low: int) -> tuple[list, ...]:
    """The fields of Course for drafts made from the states at positions low .. ; logits (m, V): the exit layer's."""
    log_probs, written = sampler.log_probs(logits), torch.tensor(ids[low + 1 : low + 1 + len(logits)])
    scores, probs = sampler.scores(logits, log_probs, range(low + 1, low + 1 + len(logits))), log_probs.exp()
    sampler.forget(low + 1 + len(logits))
    values, tokens = scores.topk(EarlyExitDrafter.width)  # (m, w)
    right = tokens.cpu() == written[:, None]
    rank = torch.where(right.any(-1), right.int().argmax(-1), -1).tolist()
    chances = values.softmax(-1) if sampler.sampling.temperature else probs.gather(-1, tokens)  # as in draft/choose.py
    reach = [MAX_DRAFT * (draft == token) for draft, token in zip(scores.argmax(-1).tolist(), written.tolist())]
    lead = (values[:, 0] - values[:, 1]).clamp(max=MOST_LEAD)
    best = [tuple(row) for row in chances.tolist()]
    return reach, probs.amax(-1).tolist(), torch.special.entr(probs).sum(-1).tolist(), lead.tolist(), best, rank


@dataclass(slots=True)
class Replay:
    """The result of a simulation. `seconds` is in the unit of the costs."""

    tokens: int = 0
    seconds: float = 0.0
    accepted: int = 0
    draft_lengths: list[int] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def replay(controller: Controller, courses: Iterable[Course], costs: Costs) -> Replay:
    """Run a controller over one text after another as the engine would. It keeps its state from text to text."""
    result, start_round, keep_drafting = Replay(), controller.start_round, controller.keep_drafting
    for course in courses:
        said, runs, tokens, place = list(zip(course.confidence, course.entropy, course.lead)), course.runs(), len(course.reach), 0
        while place < tokens:
            limit = min(start_round(costs).nodes, tokens - place - 1)
            spine: list[Facts] = []
            go = limit > 0
            while go:
                spine.append(Facts(len(spine), *said[place + len(spine)]))
                go = keep_drafting(spine[-1]).go and len(spine) < limit
            drafted = len(spine)
            accepted = min(drafted, runs[place])
            controller.observe(Outcome.of(spine, accepted))
            result.draft_lengths.append(drafted)
            result.accepted += accepted
            result.seconds += costs.round(drafted)
            place += accepted + 1
        result.tokens += tokens
    return result


def best_fixed(courses: Sequence[Course], costs: Costs) -> tuple[int, Replay]:
    """The draft length that is fastest on these texts, and its replay. This is called often, so the search runs no controller."""
    lengths, runs = range(MAX_DRAFT + 1), [course.runs() for course in courses]
    seconds = [0.0] * len(lengths)
    for length in lengths:
        whole = costs.round(length)
        for run in runs:
            place, last = 0, len(run) - length  # from `last` on, the end of the text shortens the rounds
            while place < last:
                place += min(length, run[place]) + 1
                seconds[length] += whole
            while place < len(run):
                drafted = len(run) - place - 1
                place += min(drafted, run[place]) + 1
                seconds[length] += costs.round(drafted)
    best = min(lengths, key=seconds.__getitem__)
    return best, replay(FixedController(best), courses, costs)


def oracle(courses: Iterable[Course], costs: Costs) -> Replay:
    """The fastest draft length for every round in hindsight: a shortest path through each text. It never drafts a wrong token."""
    result = Replay()
    for course in courses:
        tokens, runs = len(course.reach), course.runs()
        best = [(0.0, 0)] * (tokens + 1)  # per place: seconds from there to the end, drafts of the first round
        for place in reversed(range(tokens)):
            right = min(runs[place], tokens - place - 1)
            best[place] = min((costs.round(k) + best[place + k + 1][0], k) for k in range(right + 1))
        place = 0
        while place < tokens:
            drafted = best[place][1]
            result.draft_lengths.append(drafted)
            result.accepted += drafted
            place += drafted + 1
        result.tokens += tokens
        result.seconds += best[0][0]
    return result


def what_if(
    courses: Sequence[Course], costs: Costs, controllers: dict[str, Controller], others: Mapping[str, Replay] = MappingProxyType({})
) -> list[dict]:  # fmt: skip
    """One row for every controller, for `others`, for the best fixed length and for the oracle. Costs in seconds. `regret_fixed` and
    `regret_oracle`: extra time over these two in milliseconds. Speedup is over this engine without drafts."""
    length, fixed = best_fixed(courses, costs)
    best = oracle(courses, costs)
    replays = {name: replay(controller, courses, costs) for name, controller in controllers.items()}
    replays |= {**others, f"best fixed: {length}": fixed, "oracle": best}
    return [
        {
            "name": name,
            "tokens_per_second": r.speed,
            "speedup": r.speed * costs.round(0),
            "regret_fixed": 1e3 * (r.seconds - fixed.seconds),
            "regret_oracle": 1e3 * (r.seconds - best.seconds),
            "rounds": len(r.draft_lengths),
            "accepted": r.accepted,
            "draft_lengths": r.draft_lengths,
        }
        for name, r in replays.items()
    ]


def made_up(chances: Iterable[float], seed: int, spread: float = 0.0) -> Course:
    """A text whose drafts are right with the given chances, one per place.

    With `spread` 0 the confidence is uniform noise. Otherwise each token's own chance is the given one plus normal noise in log-odds, with
    standard deviation `spread`, and this own chance is the confidence.
    """
    random = Random(seed)
    reach, confidence = [], []
    for chance in chances:
        own = 1 / (1 + exp(-log(chance / (1 - chance)) - random.gauss(0, spread))) if spread else chance
        reach.append(MAX_DRAFT * (random.random() < own))
        confidence.append(own if spread else random.random())
    return _sure_as(reach, confidence)


def constant(tokens: int, chance: float, seed: int, spread: float = 0.0) -> Course:
    return made_up([chance] * tokens, seed, spread)


def switching(tokens: int, easy: float, hard: float, stay: float, seed: int, spread: float = 0.0) -> Course:
    """A text that switches between two chances, `easy` and `hard`, every `stay` tokens on average."""
    random, chances = Random(f"regimes {seed}"), []
    is_easy = random.random() < 0.5
    for _ in range(tokens):
        is_easy ^= random.random() < 1 / stay
        chances.append(easy if is_easy else hard)
    return made_up(chances, seed, spread)


def by_position(tokens: int, chances: Sequence[float], seed: int) -> Course:
    """A drafter that gets worse within a round: its i-th draft is right with chance chances[i] (falling), beyond the list with chance 0."""
    random, reach = Random(seed), []
    for _ in range(tokens):
        u = random.random()
        reach.append(sum(u < chance for chance in chances))
    return _sure_as(reach, [random.random() for _ in range(tokens)])


def _sure_as(reach: Sequence[int], confidence: Sequence[float]) -> Course:
    """A course whose entropy and lead are functions of the confidence."""
    return Course(reach, confidence, [-log(c) for c in confidence], [2 * atanh(min(c, 1 - 1e-9)) for c in confidence])

"""Random streams of records that an engine could have said, and the way back from a fold to events."""

from random import Random

from hypothesis import strategies as st

from eesd_core.events import (
    CostMeasured,
    DrafterLearned,
    DraftStopped,
    DraftToken,
    Event,
    PosteriorUpdated,
    PrefillDone,
    Record,
    RoundStarted,
    RoundVerified,
    RunCancelled,
    RunFinished,
    RunStarted,
    TokensCommitted,
)
from eesd_core.rounds import Lane

PIECES = ("", " a", "the", "\ufffd", "<b>", "\u202e", "\n", " 🙂", "日")
SHAPES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans(), st.booleans()), max_size=4)


def streams(lane: str = "eesd"):
    """Whole runs, and runs that were stopped between two rounds: their shape is drawn, what fills it comes from a seed."""
    return st.builds(stream, st.just(lane), SHAPES, st.booleans(), st.integers(0, 2**32))


def stream(lane: str, shapes: list[tuple[int, int, bool, bool]], finished: bool, seed: int) -> list[Record]:
    """A shape is how many are drafted, how many of them are accepted at most, whether the last of those ends the text, and whether the
    draft is a chain."""
    random = Random(seed)
    prompt_ids = tuple(random.randrange(99) for _ in range(random.randint(1, 3)))
    events: list[Event] = [RunStarted(lane, "m", "cpu", "float32", "exact-as-observed", "p", prompt_ids, {}, {}, (98,), ())]
    events += [PrefillDone(len(prompt_ids) - 1, 0.5), CostMeasured(0.1, (0.5, 0.6), 0.01)]
    position = len(prompt_ids)
    for number, shape in enumerate(shapes):
        events += round_of(random, number, position, *shape)
        position += len(events[-1].ids)
    written = position - len(prompt_ids)
    events.append(RunFinished("length", written, {}) if written and finished else RunCancelled(written))
    t, records = 0.0, []
    for seq, event in enumerate(events):
        t += random.random()
        records.append(Record("r", lane, seq, t, event))
    return records


def round_of(random: Random, number: int, position: int, drafted: int, most: int, ended: bool, chain: bool) -> list[Event]:
    """One round, whole."""
    share = random.random
    belief = {"alpha": 0.5 + share(), "beta": 1.0}
    tokens, depth = [], {-1: 0}
    for i in range(drafted):
        parent = i - 1 if chain else random.randint(-1, i - 1)
        depth[i] = depth[parent] + 1
        said = random.randrange(99), random.choice(PIECES), share(), share(), share()
        tokens.append(DraftToken(number, i, position + depth[parent], *said, i < drafted - 1, {"theta": share()}, parent=parent))
    path, ahead = [], [i for i, token in enumerate(tokens) if token.parent == -1]
    while ahead and len(path) < most:
        path.append(random.choice(ahead))
        ahead = [i for i, token in enumerate(tokens) if token.parent == path[-1]]
    ended = ended and bool(path)
    kind = "none" if ended else "correction" if ahead else "bonus"
    next_id, next_text = (None, "") if ended else (random.randrange(99), random.choice(PIECES))
    verdict = RoundVerified(
        number, drafted, len(path), tuple(random.randrange(99) for _ in range(drafted + 1)), tuple(share() for _ in tokens),
        tuple(share() for _ in range(drafted + 1)), next_id, next_text, share(), kind, share(), share(), path=tuple(path),
    )  # fmt: skip
    ids = [tokens[i].id for i in path] + ([] if ended else [next_id])
    text = "".join(tokens[i].text for i in path) + next_text
    events: list[Event] = [RoundStarted(number, position, 15, belief), *tokens]
    if drafted:
        events.append(DraftStopped(number, drafted, random.choice(["controller", "limit", "eos"])))
    events.append(verdict)
    if drafted:
        events.append(PosteriorUpdated(number, belief | {"beta": 2.0}))
    if share() < 0.3:
        events.append(DrafterLearned(number, {"set": "a1.m2", "trials": random.randrange(9)}))
    return [*events, TokensCommitted(number, tuple(ids), text)]


def unfold(lane: Lane) -> list[Event]:
    """The events that a fold was made of, in their order."""
    events = [lane.started, lane.prefill, lane.costs]
    for round in lane.rounds:
        events.append(RoundStarted(round.number, round.position, round.limit, round.belief))
        events += [node.draft for node in round.nodes]
        if round.stop:
            events.append(DraftStopped(round.number, len(round.nodes), round.stop))
        events.append(round.verdict)
        if round.learned is not None:
            events.append(PosteriorUpdated(round.number, round.learned))
        if round.news is not None:
            events.append(DrafterLearned(round.number, round.news))
        events.append(round.committed)
    return [event for event in [*events, lane.ended] if event is not None]

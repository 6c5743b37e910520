"""Races in shared passes: each is what the race alone is, whoever else is there, comes, goes or cannot be run."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from test_together import DRAWN, GREEDY, PROMPTS, Visitors

from eesd_core.errors import UserError
from eesd_core.events import Record
from eesd_core.racing import race
from eesd_core.racing_together import race_together
from eesd_core.request import Request
from eesd_core.rounds import fold


def together(engine, asked, most, gaps=(), leave=None) -> tuple[dict[int, list[Record]], dict[int, Exception], list[int]]:
    """Records, refusals and ends by number. Race n leaves after leave[n] questions."""
    rounds, records, refused, over = defaultdict(int), defaultdict(list), {}, []

    def cancelled(row: int) -> bool:
        rounds[row] += 1
        return leave is not None and rounds[row] > leave[row]

    visitors = Visitors(asked, [*gaps, *[0] * len(asked)])
    for said in race_together(engine, visitors, most, cancelled, refused.__setitem__):
        if isinstance(said, int):
            over.append(said)
        else:
            assert said.row not in over  # nothing comes behind the end
            records[said.row].append(said)
    return records, refused, over


def ends(records: list[Record]) -> list[str]:
    return [record.event.type for record in records if record.event.type in ("run_finished", "run_cancelled", "race_finished")]


def same(engine, request: Request, records: list[Record]) -> None:
    alone = list(race(engine, request))
    for lane in ("eesd", "vanilla"):
        own = [record for record in records if record.lane == lane]
        assert fold(own, lane, own[0].row).token_ids == fold(alone, lane).token_ids
        assert [record.seq for record in own] == list(range(len(own)))
    assert records[-1].event.identical and records[-1].event.level == alone[-1].event.level and records[-1].event.speedup > 0


def test_races_are_what_each_is_alone(engine):
    asked = [Request(prompt, 5 + number, DRAWN if number % 2 else GREEDY) for number, prompt in enumerate(PROMPTS[:5])]
    records, refused, over = together(engine, asked, 3)
    assert not refused and sorted(over) == list(range(5))
    for number, request in enumerate(asked):
        same(engine, request, records[number])


def test_what_cannot_be_run_fails_alone(engine):
    asked = [Request(PROMPTS[0], 8), Request("x", 100_000), Request(PROMPTS[1], 6)]
    records, refused, over = together(engine, asked, 4)
    assert list(refused) == [1] and isinstance(refused[1], UserError) and not records[1] and sorted(over) == [0, 1, 2]
    same(engine, asked[0], records[0])
    same(engine, asked[2], records[2])


VISIT = st.tuples(st.integers(0, 7), st.integers(1, 10), st.integers(0, 30), st.integers(0, 20), st.booleans())


@given(st.lists(VISIT, min_size=1, max_size=5), st.integers(1, 4))
@settings(max_examples=15)
def test_random_comers_and_leavers_change_no_other_race(engine, visits, most):
    """A visit: prompt, length, records before it comes, questions after which it leaves, can it be run."""
    asked = [Request(PROMPTS[prompt], length if good else 100_000, DRAWN) for prompt, length, _, _, good in visits]
    gaps = [0, *(gap for _, _, gap, _, _ in visits[1:])]
    records, refused, over = together(engine, asked, most, gaps, [rounds for _, _, _, rounds, _ in visits])
    assert over and set(over) == set(records) | set(refused) and not set(records) & set(refused)
    for number, own in records.items():
        if ends(own)[-1] == "race_finished":
            same(engine, asked[number], own)
        else:
            assert "run_cancelled" in ends(own) and len(ends(own)) == 2
            text = fold(own, "vanilla", number).token_ids
            assert text == fold(race(engine, asked[number]), "vanilla").token_ids[: len(text)]

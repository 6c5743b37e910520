"""So many runs a minute from one address, and no memory that grows with visitors."""

from app.rate_limit import MOST_ADDRESSES, Pace


def test_the_most_in_any_minute():
    now = [0.0]
    pace = Pace(2, lambda: now[0])
    assert [pace.ask("a"), pace.ask("a"), pace.ask("b")] == [0, 0, 0]
    now[0] = 20.0
    assert pace.ask("a") == 40.0
    now[0] = 60.0
    assert [pace.ask("a"), pace.ask("a")] == [0, 0]
    assert pace.ask("a") == 60.0  # what was refused did not count


def test_addresses_are_forgotten():
    pace = Pace(1, lambda: 0.0)
    for number in range(MOST_ADDRESSES + 5):
        pace.ask(str(number))
    assert len(pace._asked) == MOST_ADDRESSES
    assert pace.ask(str(MOST_ADDRESSES)) > 0

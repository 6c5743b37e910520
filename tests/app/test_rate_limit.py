"""So many runs and seconds a minute for one address, and no memory that grows with visitors."""

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
    assert len(pace._used) == MOST_ADDRESSES
    assert pace.ask(str(MOST_ADDRESSES)) > 0


def test_seconds_are_waited_for_until_the_oldest_are_forgotten():
    now = [0.0]
    seconds = Pace(45, lambda: now[0])
    seconds.use("a", 30)
    now[0] = 10.0
    seconds.use("a", 40)
    assert (seconds.wait("a"), seconds.wait("b")) == (50.0, 0)  # without the 30 it is 40
    now[0] = 60.0
    assert seconds.wait("a") == 0
    assert seconds.wait("a", 20) == 10.0

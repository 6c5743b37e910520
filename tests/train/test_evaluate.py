import pytest
from hypothesis import given
from hypothesis import strategies as st

from eesd_core.errors import UserError
from eesd_core.events import RoundVerified, TokensCommitted
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.train.evaluate import acceptance_per_position, distinct, evaluate, judge_drafts, loops


def test_loops():
    assert loops([1, 2, 3] * 40) and loops([9] * 64)
    assert not loops(list(range(64))) and not loops([1, 2] * 20)  # the second is too short to tell


@pytest.mark.parametrize("new_tokens", [0, 193])
def test_continuations_beyond_the_context_are_refused(engine, new_tokens):
    with pytest.raises(UserError, match="--max-new-tokens"):
        evaluate(engine.target, engine.exit_layer, None, None, new_tokens)


def test_distinct():
    assert distinct([[1, 1, 1, 1]], 1) == 0.25 and distinct([[1, 2], [2, 3]], 2) == 1.0


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_rounds_of_one_draft(same):
    """A match takes a draft and its bonus, a miss takes a correction."""
    at, tested, accepted = 0, 0, 0
    while at < len(same):
        tested, accepted, at = tested + 1, accepted + same[at], at + 1 + same[at]
    assert acceptance_per_position([same], 1) == [round(accepted / tested, 3)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_one_pass_over_the_text_judges_drafts_as_the_engine_did(engine, temperature):
    sampling = Sampling(temperature, seed=3)
    events = [r.event for r in engine.run(Request("The old clock", 60, sampling, "eesd", "fixed", {"length": 4}))]
    written = [id for e in events if isinstance(e, TokensCommitted) for id in e.ids]
    same, overlap = judge_drafts(engine.target, engine.exit_layer, engine.target.codec.encode("The old clock"), written, sampling)
    at = 0
    for e in events:
        if isinstance(e, RoundVerified):
            expected = next((i for i in range(e.drafted) if not same[at + i]), e.drafted)
            assert e.accepted == expected
            at += e.accepted + 1
    assert len(same) == 60 and all(0 <= value <= 1.0001 for value in overlap)

"""A drafter with stale states or gaps would still be lossless and only slow: so its drafts are checked for themselves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eesd_core.control import CONTROLLERS
from eesd_core.events import DraftToken, RoundVerified
from eesd_core.request import Request
from eesd_core.sampling import Sampling

GREEDY, SAMPLED = Sampling(), Sampling(0.9, 0.95, 11)
CUTS = [{}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"top_p": 0.4, "top_k": 30, "min_p": 0.01}]
RULES = [("fixed", {"length": k}) for k in (0, 1, 2, 5, 15)] + [("beta", {"alpha": 6.0, "seed": 4})] + [(name, {}) for name in CONTROLLERS]


def start(engine, ids: list[int], new_tokens: int, sampling: Sampling, length: int):
    """Events of a run that begins with given token ids."""
    request = Request("-", new_tokens, sampling, "eesd", "fixed", {"length": length})
    return engine.events(engine.start(request, ids=ids), request)


@pytest.mark.parametrize("which", ["engine", "agreeing", "disagreeing"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_drafts_do_not_depend_on_what_was_drafted_before(which, sampling, request):
    """Every round drafts what a fresh run over the text so far drafts: no gap in the exit layer's cache, nothing stale."""
    engine = request.getfixturevalue(which)
    prompt = engine.target.codec.encode("Once upon a time, ")
    text, drafts, compared = list(prompt), [], 0
    for event in start(engine, prompt, 24, sampling, 3):
        if isinstance(event, DraftToken):
            drafts.append((event.id, event.position, event.confidence))
        elif isinstance(event, RoundVerified):
            fresh = [e for e in start(engine, text, 8, sampling, 3) if isinstance(e, DraftToken) and e.round == 0]
            assert [(e.id, e.position) for e in fresh[: len(drafts)]] == [d[:2] for d in drafts]
            assert [e.confidence for e in fresh[: len(drafts)]] == pytest.approx([d[2] for d in drafts], abs=1e-4)
            text += [d[0] for d in drafts[: event.accepted]] + [event.next_id]
            compared, drafts = compared + 1, []
    assert compared >= 6 and len(text) == len(prompt) + 24


@settings(max_examples=40)
@given(
    st.integers(1, 150), st.integers(1, 40), st.sampled_from(RULES), st.sampled_from([0.0, 0.5, 1.0, 1.5]), st.sampled_from(CUTS),
    st.integers(0, 2**40), st.booleans(),
)  # fmt: skip
def test_any_run_is_vanillas(engine, length, new_tokens, controller, temperature, cuts, seed, ends):
    """Prompts of any length (cache blocks end at 64 and 128), any controller, any sampling, with and without an end of the text."""
    sampling, name, controls = Sampling(temperature, seed=seed, **cuts), *controller
    prompt = ("abc def. " * 20)[:length].strip()

    def written(method):
        events = [r.event for r in engine.run(Request(prompt, new_tokens, sampling, method, name, controls if method == "eesd" else {}))]
        return [i for e in events if e.type == "tokens_committed" for i in e.ids], events

    old = engine.target.end_ids
    try:
        plain, _ = written("vanilla")
        if ends:
            engine.target.end_ids = frozenset([plain[len(plain) // 2]])
            plain, _ = written("vanilla")
        ours, events = written("eesd")
        assert ours == plain
        rounds = [e for e in events if isinstance(e, RoundVerified)]
        assert all((r.next_kind == "none") == (r.next_id is None) for r in rounds)
        assert [r.next_kind for r in rounds[:-1]].count("none") == 0  # only the last round can lack a token of the target's own
        assert sum(r.accepted for r in rounds) + sum(r.next_id is not None for r in rounds) == len(ours) == events[-1].new_tokens
        assert all(r.drafted < new_tokens for r in rounds)
    finally:
        engine.target.end_ids = old


def test_a_prompt_of_one_token_and_one_new_token(engine):
    events = [r.event for r in engine.run(Request("a", 1))]
    assert [e.type for e in events] == [
        "run_started",
        "prefill_done",
        "cost_measured",
        "round_started",
        "round_verified",
        "tokens_committed",
        "run_finished",
    ]
    assert events[1].tokens == 0 and events[-1].reason == "length"


@pytest.mark.parametrize("sampling", [Sampling(0.7, 1.0, 3), Sampling(1.5, 1.0, 4), Sampling(1.0, 0.9, 2**40)], ids=str)
def test_draft_and_target_share_their_noise(agreeing, sampling):
    """With equal distributions the same noise gives the same token, however hot: noise of another position or seed would not."""
    rounds = [
        r.event for r in agreeing.run(Request("Once", 60, sampling, "eesd", "fixed", {"length": 4})) if r.event.type == "round_verified"
    ]
    assert all(r.accepted == r.drafted for r in rounds) and sum(r.drafted for r in rounds) == 48

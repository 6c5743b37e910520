"""What the form sends is made a request, or refused in one clear line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.settings import MOST_CHARACTERS, MOST_NEW_TOKENS, number, request_from_form, whole_number
from eesd_core.engine import Request
from eesd_core.errors import UserError

GOOD = {
    "prompt": "Once upon a time", "temperature": 0.8, "top_p": 1, "seed": "7", "new_tokens": 128,
    "controller": "beta", "alpha": 1, "beta": 1, "length": 4,
}  # fmt: skip
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.none()),
    st.sampled_from(["1.5", "1e3", "٣", "inf", "nan", "0x10", "1_0", "9" * 5000, "-1", " 7 ", 10**5000, float("nan"), "²"]),
)  # fmt: skip


def test_the_form_becomes_a_request():
    request = request_from_form(**GOOD)
    assert (request.prompt, request.max_new_tokens, request.sampling.seed) == ("Once upon a time", 128, 7)
    assert request.settings == {"alpha": 1.0, "beta": 1.0, "seed": 7}
    assert request_from_form(**GOOD | {"controller": "fixed", "length": 0}).settings == {"length": 0}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a shared machine
@given(st.fixed_dictionaries({}, optional={name: ANYTHING for name in GOOD}))
def test_any_values_give_a_request_or_one_clear_line(values):
    try:
        request = request_from_form(**GOOD | values)
    except UserError as problem:
        assert "\n" not in repr(str(problem)) and len(str(problem)) < 200
    else:
        assert isinstance(request, Request)
        assert 1 <= request.max_new_tokens <= MOST_NEW_TOKENS and 0 <= request.sampling.temperature <= 2


NOT_WHOLE = ["1.5", "1e3", "٣", "²", "inf", "nan", "abc", "", None, True, 1.5, float("inf"), 1e300, 10**5000, "9" * 5000, [1]]
NOT_A_NUMBER = ["1", None, True, float("nan"), float("inf"), -0.1, 2.1, 10**5000]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=lambda value: type(value).__name__)
def test_not_a_whole_number(value):
    with pytest.raises(UserError, match="seed must be a whole number from 0 to 100, not "):
        whole_number("seed", value, 0, 100)


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 ", "+7", "007"])
def test_a_whole_number(value):
    assert whole_number("seed", value, 0, 100) == 7


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=lambda value: type(value).__name__)
def test_not_a_number(value):
    with pytest.raises(UserError, match="temperature must be a number from 0 to 2, not "):
        number("temperature", value, 0, 2)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": None}, "the prompt must be text"),
        ({"prompt": "x" * (MOST_CHARACTERS + 1)}, "shorten it to 4,000"),
        ({"new_tokens": -5}, "new tokens must be a whole number from 1 to 512, not -5"),
        ({"new_tokens": None}, "not empty"),
        ({"controller": "magic"}, "the controller must be one of beta, throughput, fixed, not magic"),
    ],
)
def test_the_line_says_what_to_do(change, line):
    with pytest.raises(UserError, match=line):
        request_from_form(**GOOD | change)

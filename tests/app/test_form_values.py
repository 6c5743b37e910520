"""What the form sends is made a request, or refused in one clear line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.form import FIELDS, KNOBS, MOST_CHARACTERS, MOST_NEW_TOKENS, NAMES, takers
from app.form_values import number, request_from_form, whole_number
from eesd_core.control import CONTROLLERS, make_controller
from eesd_core.draft.registry import DRAFTERS, Drafting
from eesd_core.errors import UserError
from eesd_core.request import Request

GOOD = {field.name: field.value for field in FIELDS} | {"prompt": "Once upon a time"}
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.none()),
    st.sampled_from(["1.5", "1e3", "٣", "inf", "nan", "0x10", "1_0", "9" * 5000, "-1", " 7 ", 10**5000, float("nan"), "²"]),
)  # fmt: skip


def test_the_form_becomes_a_request():
    request = request_from_form(**GOOD)
    assert (request.prompt, request.max_new_tokens, request.sampling.seed) == ("Once upon a time", 128, 7)
    assert request.settings == {"draw": "token", "seed": 7}  # an empty field leaves the controller's own value
    assert request_from_form(**GOOD | {"alpha": 3}).settings["alpha"] == 3.0
    assert request_from_form(**GOOD | {"controller": "fixed", "length": 0}).settings == {"length": 0}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a shared machine
@given(st.fixed_dictionaries({}, optional={name: ANYTHING for name in GOOD}))
def test_any_values_give_a_request_or_one_clear_line(values):
    try:
        request = request_from_form(**GOOD | values)
    except UserError as problem:
        assert "\n" not in repr(str(problem)) and len(str(problem)) < 250
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
        ({"controller": "magic"}, "controller must be one of beta, calibrated, throughput, .*, not magic"),
        ({"controller": "throughput", "forget": 0.1}, "must be a number from 0.5 to 1"),
        ({"controller": "fixed", "length": 16}, "draft length must be a whole number from 0 to 15"),
        ({"acceptance": "luck"}, "acceptance must be one of shared-noise, rejection, not luck"),
        ({"chat": "yes"}, "chat must be one of True, False, not yes"),
        ({"top_k": 1.5}, "top-k must be a whole number"),
        ({"stop": 7}, "stop text must be text, not 7"),
        ({"stop": "x" * 257}, "stop strings: .* 1 to 256 characters"),
        ({"chat": True, "system": 7}, "the system prompt must be text, not 7"),
        ({"chat": True, "system": "x" * 1001}, "the system prompt has 1,001 characters: shorten it to 1,000"),
        ({"chat": True, "history": 7}, "the conversation must be earlier turns as JSON"),
        ({"chat": True, "history": "[[1, 2]]"}, "the conversation must be earlier turns as JSON"),
        ({"chat": True, "history": "[" * 100_000}, "the conversation must be earlier turns as JSON"),
        ({"chat": True, "history": '[["a"]]'}, "the conversation must be earlier turns as JSON"),
        ({"chat": True, "history": f'[["{"x" * 12_000}", "y"]]'}, "the conversation has 12,001 characters, .* begin a new one with Reset"),
        ({"min_p": 1}, "min-p must be a number from 0 to 0.99"),
    ],
)
def test_the_line_says_what_to_do(change, line):
    with pytest.raises(UserError, match=line):
        request_from_form(**GOOD | change)


def test_in_the_order_of_the_form_and_by_name_are_the_same():
    values = GOOD | {"controller": "ucb", "width": 2, "limit": 4, "top_k": 5, "acceptance": "rejection", "chat": True}
    request = request_from_form(*(values[name] for name in NAMES))
    assert request == request_from_form(**values)
    assert (request.sampling.top_k, request.sampling.acceptance, request.chat) == (5, "rejection", True)
    assert request.settings == {"width": 2.0, "limit": 4}


def test_every_setting_of_every_controller_is_on_the_form():
    from inspect import signature

    for name, kind in CONTROLLERS.items():
        own = set(signature(kind).parameters) - {"seed"}
        assert own <= {field.name for field in KNOBS}, name
        request = request_from_form(**GOOD | {"controller": name})
        make_controller(request.controller, **request.settings)
    assert all(takers(field.name) for field in KNOBS)


def test_drafts_are_made_worse_only_where_asked():
    def drafter(**values) -> str:
        return str(request_from_form(**GOOD | values).drafter)

    assert drafter() == drafter(wrong=0) == drafter(wrong_from=5) == drafter(wrong="") == "early-exit"
    assert drafter(wrong=0.5) == "disturbed:0.5:64"  # from the middle of 128
    assert drafter(wrong=1, wrong_from=0) == "disturbed:1"
    assert drafter(wrong=1, drafter="prompt-lookup") == "prompt-lookup"  # that field is then not on the page
    for bad in ({"wrong": 2}, {"wrong": "x"}, {"wrong": 0.5, "wrong_from": -1}, {"wrong": 0.5, "wrong_from": 1.5}):
        with pytest.raises(UserError, match=r"wrong (drafts|from) must be"):
            drafter(**bad)


def test_drafters_are_the_tables_and_take_their_own_settings():
    """A row of the table is an entry of the page, with those of its settings that are numbers."""
    fields = {field.name: field for field in FIELDS}
    assert set(fields["drafter"].choices) == {name for name, row in DRAFTERS.items() if not row.for_show}
    for name in fields["drafter"].choices:
        given = {"drafter": name, "longest": 2, "successors": 4}
        own = {setting.name for setting in DRAFTERS[name].settings}
        drafting = request_from_form(**GOOD | given).drafter
        assert drafting == Drafting(name, {key: value for key, value in given.items() if key in own})
    for bad in ({"drafter": "disturbed"}, {"drafter": "recycling", "successors": 0}, {"drafter": "prompt-lookup", "longest": 11}):
        with pytest.raises(UserError):
            request_from_form(**GOOD | bad)


def test_a_stop_text_is_taken_as_it_is():
    assert request_from_form(**GOOD).stop == request_from_form(**GOOD | {"stop": None}).stop == ()
    assert request_from_form(**GOOD | {"stop": " The end"}).stop == (" The end",)


def test_a_conversation_belongs_to_chat():
    talk = {"system": "Be brief.", "history": '[["Hi", "Hello <b>"], ["More", ""]]'}
    request = request_from_form(**GOOD | talk | {"chat": True})
    assert (request.system, request.history) == ("Be brief.", (("Hi", "Hello <b>"), ("More", "")))
    request = request_from_form(**GOOD | talk)  # a text is continued: the page shows neither
    assert (request.system, request.history) == ("", ())

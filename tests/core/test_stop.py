"""A text ends in front of its stop string, wherever that ends: in a draft, in a token, in both lanes alike."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import product

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from eesd_core.checks.same_law import Drawing
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.metrics import Metrics
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling
from eesd_core.schema import Check

PROMPT, NEW_TOKENS = "Once", 20
SAMPLINGS = [Sampling(), Sampling(0.8, seed=3)]
REJECTION = Sampling(0.8, seed=3, acceptance="rejection")


def two_letter_tokenizer(parts: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Most tokens write two letters: a string can begin and end inside them. `parts`: tokens that are bytes of longer characters."""
    single = [*map(chr, range(33, 127)), *parts]
    pairs = [f"{a}{b}" for a, b in product("abcdefghijklm", repeat=2)][: 256 - len(single)]
    vocab = {token: id for id, token in enumerate(["<|endoftext|>", *single, *pairs])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(pair) for pair in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module", params=["agreeing", "engine"])
def spelling(request) -> Engine:
    """A tiny model with another tokenizer; its drafts are always right, or sometimes."""
    other = request.getfixturevalue(request.param)
    target = Target(deepcopy(other.target.model), two_letter_tokenizer(), "tiny")
    return Engine(target, ExitLayer(target, other.exit_layer.exit_after).eval(), other.level)


def lane(spelling, sampling, method="eesd", stop=(), length=5, tokens=NEW_TOKENS):
    return fold(spelling.run(Request(PROMPT, tokens, sampling, method, "fixed", {"length": length}, stop=stop)), method)


def expected(spelling, ids: list[int], stops: tuple[str, ...]) -> tuple[list[int], str, str]:
    """The slow plain reference: ids, text and reason that are left of a text, letter by letter. All of it is ASCII."""
    decode = spelling.target.codec.decode
    text = decode(ids)
    for end in range(1, len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            count = next(n for n in range(1, len(ids) + 1) if len(decode(ids[:n])) >= end)
            return ids[:count], text[: end - max(map(len, found))], "stop"
    return ids, text, "length"


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "shared noise"])
def test_a_stop_at_every_place(spelling, sampling):
    whole = lane(spelling, sampling, "vanilla")
    text = whole.text
    stops = [(text[i : i + n],) for i in range(len(text)) for n in (1, 3)]
    stops += [("never",), ("never", text[:2]), (text[9:12], text[7:11]), (text[10:12], text[11:12]), (text,)]
    seen = set()
    for stop in stops:
        ids, left, reason = expected(spelling, whole.token_ids, stop)
        for method in ("vanilla", "eesd"):
            found = lane(spelling, sampling, method, stop)
            assert (found.token_ids, found.text, Metrics.of(found).finish) == (ids, left, reason), (stop, method)
        seen.add((reason, found.round.stop, found.round.verdict.next_kind, found.text == ""))
    assert {kind for _, _, kind, _ in seen} >= {"none", "bonus"}  # at the end of a draft, and with the token behind one
    assert ("length" in {reason for reason, *_ in seen}) and any(empty for *_, empty in seen)


def test_a_stop_string_that_only_the_end_of_the_text_completes(engine):
    """Bytes of unfinished characters are held back to the end; then each of them reads U+FFFD."""
    target = Target(deepcopy(engine.target.model), two_letter_tokenizer([chr(code) for code in range(0xC2, 0xF5)]), "tiny")
    spelling = Engine(target, ExitLayer(target, engine.exit_layer.exit_after).eval(), engine.level)
    for seed in range(20):
        sampling = Sampling(2.0, seed=seed)
        ids = lane(spelling, sampling, "vanilla").token_ids
        if broken := [i for i, id in enumerate(ids) if target.codec.decode([id]) == "\ufffd"]:
            break
    for method in ("vanilla", "eesd"):
        found = lane(spelling, sampling, method, ("\ufffd",), tokens=broken[0] + 1)
        assert (Metrics.of(found).finish, found.text) == ("stop", target.codec.decode(ids[: broken[0]]))


def test_drafting_ends_at_a_stop_string(spelling):
    """As at the end of the text: nothing is drafted behind it, and no token follows a draft that reached it and was accepted."""
    whole = lane(spelling, SAMPLINGS[0], "vanilla")
    for i in range(2, 30):
        found = lane(spelling, SAMPLINGS[0], stop=(whole.text[i : i + 2],), length=15)
        last = found.round
        if last.stop == "stop" and last.accepted == last.drafted:
            assert last.next is None and found.token_ids[-1] == last.nodes[-1].id
            return
    raise AssertionError("no draft reached a stop string")


def test_the_race_is_identical_and_its_trace_checks(spelling):
    stop = lane(spelling, SAMPLINGS[1], "vanilla").text[11:14]
    records = list(race(spelling, Request(PROMPT, NEW_TOKENS, SAMPLINGS[1], stop=stop)))
    assert records[-1].event.identical and [r.event.reason for r in records if r.event.type == "run_finished"] == ["stop"] * 2
    check = Check()
    for record in records:
        check.see({name: list(v) if isinstance(v, tuple) else v for name, v in record.to_json().items()})
    assert {fold(records, name).started.settings["stop"] for name in ("vanilla", "eesd")} == {(stop,)}


def test_a_request_without_stop_strings_says_nothing_of_them(spelling):
    assert "stop" not in lane(spelling, SAMPLINGS[0]).started.settings


@pytest.mark.parametrize("seed", range(5))
def test_rejection_sampling_stops_too(spelling, seed):
    found = lane(spelling, Sampling(0.8, seed=seed, acceptance="rejection"), stop=("a", "b", "c", "d"))
    text = spelling.target.codec.decode(found.token_ids)
    assert (Metrics.of(found).finish == "stop") == any(letter in text for letter in "abcd")
    assert text.startswith(found.text) and not any(letter in found.text for letter in "abcd")
    assert not any(letter in spelling.target.codec.decode(found.token_ids[:-1]) for letter in "abcd")


def test_a_run_that_is_drawn_again_looks_for_its_stop_strings_anew(spelling):
    drawing = Drawing(spelling, Request(PROMPT, sampling=REJECTION, stop="a", controller="fixed", settings={"length": 3}))
    draws = [drawing.draw(seed) for seed in (1, 2, 1)]
    assert draws[0] == draws[2]


@pytest.mark.parametrize("stop", ["", ("a", ""), ("x" * 257,), ("a",) * 17])
def test_bad_stop_strings_are_refused(stop):
    with pytest.raises(UserError, match="stop strings"):
        Request("Once", stop=stop)

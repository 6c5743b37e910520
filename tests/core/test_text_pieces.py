"""Text in pieces: streaming, stop strings, and which token wrote which part. However tokens and rounds are cut, the text is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import byte_level, llama

from eesd_core.errors import UserError
from eesd_core.text.codec import Codec
from eesd_core.text.detokenizer import Detokenizer
from eesd_core.text.shares import shares
from eesd_core.text.stop_strings import StoppedText, StopStrings

CODECS = {kind: Codec(make(), frozenset([1]), 10**6, kind) for kind, make in {"byte-level": byte_level, "llama": llama}.items()}
words = st.lists(st.sampled_from(["once", " upon", " king", "é", "😀", "中文", "\n", " ", "a"]), max_size=12).map("".join)
cuts = st.lists(st.integers(1, 5), max_size=30)


def in_pieces(ids: list[int], cuts: list[int]) -> list[list[int]]:
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(ids[at : at + cut])
        at += cut
    return [*pieces, ids[at:]]


@pytest.mark.parametrize("kind", CODECS)
@given(text=words, before=words, cuts=cuts)
def test_a_stream_is_the_whole_text(kind, text, before, cuts):
    """Also behind a prompt whose last tokens are parts of characters."""
    codec = CODECS[kind]
    begin, ids = codec.encode("the king" + before), codec.encode("the king" + before + text)
    if ids[: len(begin)] != begin:
        return  # the text has grown together with the prompt
    detokenizer = Detokenizer(codec, begin)
    parts = [detokenizer.push(piece) for piece in in_pieces(ids[len(begin) :], cuts)]
    assert "".join([*parts, detokenizer.flush()]) == text
    assert not any("\ufffd" in part for part in parts)


def test_special_tokens_write_nothing():
    codec = CODECS["byte-level"]
    detokenizer = Detokenizer(codec, codec.encode("once"))
    assert detokenizer.push([*codec.encode(" upon"), 1, 3, *codec.encode(" a")]) == " upon a"


@given(words, st.lists(st.text(st.sampled_from("onceup ka"), min_size=1, max_size=4), max_size=3), cuts)
def test_a_stop_string_ends_the_text_where_it_comes_up(text, stops, cuts):
    """A slow reference: the text letter by letter, until it ends with a stop string."""
    expected, stopped = text, False
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            expected, stopped = text[: end - max(map(len, found))], True
            break
    watch = StopStrings(stops)
    parts = [watch.push("".join(piece)) for piece in in_pieces(list(text), cuts)]
    assert "".join([*parts, watch.flush()]) == expected
    assert watch.found == stopped


@pytest.mark.parametrize("kind", CODECS)
@given(cuts=cuts)
def test_a_run_ends_at_the_same_token_however_many_come_at_once(kind, cuts):
    """The string ends inside a token and inside a round: the token belongs to the run, its text is cut."""
    codec = CODECS[kind]
    begin, ids = codec.encode("once"), codec.encode("once upon a time there was a king")[len(codec.encode("once")) :]
    text, count = StoppedText(Detokenizer(codec, begin), ["me th"]), 0
    written = ""
    for piece in in_pieces(ids, cuts):
        if not text.stopped:
            kept, new = text.push(piece)
            count, written = count + kept, written + new
    assert text.stopped and written + text.flush() == " upon a ti"
    assert codec.decode(codec.encode("once") + ids[:count]).startswith("once upon a time th")
    assert not codec.decode(codec.encode("once") + ids[: count - 1]).startswith("once upon a time th")


def test_what_began_like_a_stop_string_is_given_out_at_the_end():
    codec = CODECS["byte-level"]
    text = StoppedText(Detokenizer(codec, [65]), ["king of"])
    assert text.push(codec.encode("a king"))[1] == ""  # as a whole: it is known of tokens, not of letters, when they came
    assert text.flush() == "a king" and not text.stopped


@pytest.mark.parametrize("stops", [[""], ["x"] * 17, ["x" * 257], [3]])
def test_stop_strings_are_checked(stops):
    with pytest.raises(UserError, match="stop strings"):
        StopStrings(stops)


@pytest.mark.parametrize("kind", CODECS)
@given(text=words)
def test_the_shares_are_the_text_and_no_part_of_a_character_shows(kind, text):
    codec = CODECS[kind]
    ids = [*codec.encode(text), 1]
    pieces = [codec.piece(id) for id in ids]
    shared = shares(pieces, codec.decode(ids))
    assert "".join(shared) == codec.decode(ids)
    assert shared[-1] == "" and "\ufffd" not in "".join(shared)
    assert all(share.strip() == piece.strip() for share, piece in zip(shared[:-1], pieces) if "\ufffd" not in piece)


def test_shares_by_hand():
    assert shares([" the", " king"], "the king") == ["the", " king"]  # the space in front of a text is dropped
    assert shares(["\ufffd", "\ufffd", "a", "</s>"], "😀a") == ["", "😀", "a", ""]
    assert shares(["a", "\ufffd"], "a\ufffd") == ["a", "\ufffd"]  # never became whole
    assert shares(["x", "y"], "something else") == ["", "something else"]
    assert shares([], "") == []

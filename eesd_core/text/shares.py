"""Which token wrote which part of a text. Joining the texts of single tokens does not always give the committed text: a character may be
spread over several tokens, a space may be dropped at the beginning of a text, and special tokens write nothing."""

from collections.abc import Sequence


def shares(pieces: Sequence[str], text: str) -> list[str]:
    """Split `text` among the tokens that wrote it; `pieces` are their own texts. The shares joined give `text`.

    A token that is part of a character reads U+FFFD. Of several such tokens in a row the last gets all that they wrote together.
    """
    shared, at, waiting = [""] * len(pieces), 0, None
    for number, piece in enumerate(pieces):
        if "\ufffd" in piece:
            waiting = number
            continue
        place = next((found for found in (_place(text, way, at, waiting) for way in (piece, piece.lstrip(" "))) if found), None)
        if place is None:
            continue  # a special token
        begin, end = place
        if waiting is not None:
            shared[waiting], waiting = text[at:begin], None
        shared[number], at = text[begin:end], end
    if pieces and at < len(text):
        shared[len(pieces) - 1 if waiting is None else waiting] += text[at:]
    return shared


def _place(text: str, piece: str, at: int, waiting: int | None) -> tuple[int, int] | None:
    """Begin and end of a piece: it must stand at `at`, or later if parts of characters (`waiting`) wrote the text in between."""
    begin = text.find(piece, at) if piece else -1
    return (begin, begin + len(piece)) if begin == at or (begin > at and waiting is not None) else None

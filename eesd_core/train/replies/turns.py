"""Turns of a conversation as the chat template writes them, in token ids."""

from ...errors import UserError
from ...model.target import Target


def turn_behind(target: Target, request: str) -> list[int]:
    """Ids that follow a reply and its end token: another request, and the opening of the next reply. Raises UserError."""
    rest, end = _behind(target, request)
    return rest[end + 1 :]


def end_of_turn(target: Target) -> int:
    """The token that ends a reply when another request follows. Raises UserError."""
    rest, end = _behind(target, "c")
    return rest[end]


def _behind(target: Target, request: str) -> tuple[list[int], int]:
    """What the template writes after a first request, and where in it the reply ends."""

    def chat(*turns: str) -> list[int]:
        roles = ("user", "assistant", "user")
        return target.codec.encode_chat([{"role": role, "content": text} for role, text in zip(roles, turns)])

    rest = chat("a", "b", request)[len(chat("a")) :]
    end = next((place for place, id in enumerate(rest) if id in target.end_ids), None)
    if end is None:
        raise UserError(f"the chat template of {target.name} ends a reply with no end token: turns cannot follow each other")
    return rest, end

"""A constant draft length. Length 0 never drafts: that is vanilla decoding."""

from ..errors import UserError
from .base import MAX_DRAFT, Decision


class FixedController:
    name = "fixed"

    def __init__(self, length: int = 4):
        if type(length) is not int or not 0 <= length <= MAX_DRAFT:
            raise UserError(f"the draft length must be a whole number from 0 to {MAX_DRAFT}, not {length!r}")
        self.length = length

    def start_round(self) -> int:
        return self.length

    def keep_drafting(self, i: int, confidence: float, entropy: float) -> Decision:
        return Decision(i + 1 < self.length, {})

    def observe(self, drafted: int, accepted: int) -> None:
        """A constant learns nothing."""

    def snapshot(self) -> dict:
        return {"controller": self.name, "length": self.length}

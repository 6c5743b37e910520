"""No drafts: the engine with this drafter is vanilla decoding."""

from collections.abc import Sequence

from .base import Drafter, Node, Text


class NoDrafter(Drafter):
    name = "none"

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        return []

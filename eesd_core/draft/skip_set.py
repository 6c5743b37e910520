"""The set of sub-layers that a layer-skipping drafter leaves out, and its text form."""

from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True, slots=True)
class SkipSet:
    """Numbers of the layers whose attention is skipped, and of those whose MLP is skipped. Written as `a3.m3.m4`."""

    attention: frozenset[int]
    mlp: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "SkipSet":
        """Raises UserError for text of another form."""
        parts = [part for part in text.split(".") if part]
        if any(part[0] not in "am" or not part[1:].isdecimal() or len(part) > 4 for part in parts):
            raise UserError(f"a skip set is written like a3.m3.m4 (attention of layer 3, MLPs of layers 3 and 4), not {text[:40]!r}")
        return cls(*(frozenset(int(part[1:]) for part in parts if part[0] == kind) for kind in "am"))

    @classmethod
    def every_second(cls, depth: int) -> "SkipSet":
        odd = frozenset(range(1, depth - 1, 2))
        return cls(odd, odd)

    def check(self, depth: int) -> "SkipSet":
        """Raises UserError for a model without these layers."""
        beyond = sorted(layer for layer in self.attention | self.mlp if layer >= depth)
        if beyond:
            raise UserError(f"the skip set names layer {beyond[0]}, but the model has the layers 0 to {depth - 1}")
        return self

    def __str__(self) -> str:
        return ".".join([f"a{layer}" for layer in sorted(self.attention)] + [f"m{layer}" for layer in sorted(self.mlp)])

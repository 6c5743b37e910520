"""The base class of trained heads other than the exit layer: small drafters that read the target's frozen LM head.

All are trained in the same setting. `start` (B, T) gives for every place t the position of its round's pending token: start[t] <= t, start
never decreases, and a round has at most `longest` places. At place t a head sees the ids up to t and the target's states before start[t]
(the verified rows), and predicts the next token. A draft only matters if all drafts before it were accepted, and accepted drafts are the
target's own text, so the ids of the text are the ids that drafting would see (train/distill.py).

draft/ has one file for drafting with each kind. Training and drafting must compute the same; tests compare them.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.target import Target
from . import files
from .fingerprint import base_facts, digest, fits
from .frozen_rows import ReadsFrozenRows
from .shortlist import Shortlist


class TrainedHead(ReadsFrozenRows):
    """A kind of head builds its modules in `__init__(target, weights=None, **settings)`, which must end with `begin`. Without weights it
    is initialised for training. Settings must be JSON values. `layers` are decoder layers of the target's kind; `norm` stands in front of
    the frozen head. All linear layers inside are packed or quantised like the target's (model/cpu/prepare.py)."""

    kind: ClassVar[str]  # its name in files, for `distill --head`, and in the drafters' `needs_head`
    longest: int  # most places of a round, as trained
    cost: float = 0.0  # estimated draft step time / plain step time, from the number of weights read; 0: unknown

    def __init__(self, target: Target, **settings):
        super().__init__()
        self.settings = settings

    def begin(self, target: Target, weights: dict[str, Tensor]) -> None:
        """The last step of `__init__`: loads the weights. Raises RuntimeError for weights that do not fit."""
        self.load_state_dict({name: tensor.to(target.dtype) for name, tensor in weights.items()}, assign=True)
        self.eval()  # also in training: dropout stays off, so training sees the same computation as drafting

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        """The LM head's input at every place of whole texts, for training. ids (B, T); states: depth -> (B, T, D) for every depth of
        `taps`; start (B, T) -> (B, T, D)."""
        raise NotImplementedError

    def share(self, target: Target) -> float:
        """Number of weights that a draft step reads / number that a plain step of the target reads. Only valid before weights are
        packed."""
        width, rows = target.config.hidden_size, len(self.shortlist) if self.shortlist else target.vocab
        layers = sum(parameter.numel() for parameter in target.layers.parameters())
        own = sum(tensor.numel() for tensor in self.own_state().values())
        return (own + rows * width) / (layers + target.vocab * width)

    def save(self, folder: Path, target: Target, facts: dict) -> None:
        """`facts`: facts about its training, for the JSON file."""
        header = base_facts(target) | {"kind": self.kind, "settings": self.settings, "training": facts}
        ids = None if self.shortlist is None else self.shortlist.ids
        files.write_head(folder, header, self.bits, self.own_state(), ids)

    @classmethod
    def load(cls, folder: Path, target: Target, shared: Shortlist | None = None) -> "TrainedHead":
        """`shared`: a shortlist that is already in memory and is reused if the head's is the same. Raises UserError if the files are
        missing, broken, or made for another model or another kind of head."""
        stored = files.read_head(folder)
        if stored.kind != cls.kind:
            raise UserError(f"the head in {folder} is of the kind {stored.kind[:40]!r}, not {cls.kind!r}: give it the folder of its kind")
        if not fits(stored.facts, target):
            known = f"`distill --head {cls.kind}`"
            raise UserError(f"the {cls.kind} head in {folder} was trained for another model: train one for {target.name} with {known}")
        try:
            head = cls(target, stored.weights, **stored.settings)
            if stored.shortlist is not None:
                same = shared is not None and stored.shortlist.tolist() == shared.ids.tolist()
                head.read_only(shared if same else Shortlist(target, stored.shortlist))
        except (RuntimeError, KeyError, IndexError, TypeError, ValueError) as problem:
            why = str(problem).splitlines()[0]
            raise UserError(f"the {cls.kind} head in {folder} does not fit {target.name} ({why}): train it again") from None
        head.facts, head.bits = stored.facts, stored.bits
        head.fingerprint, head.cost = digest(head.own_state()), head.share(target)
        return head.to(target.device)


def linear(target: Target, inputs: int, outputs: int) -> nn.Linear:
    """A linear layer without bias, in the target's dtype and on its device."""
    return nn.Linear(inputs, outputs, bias=False, dtype=target.dtype, device=target.device)


def even(x: Tensor) -> Tensor:
    """Scales vectors to length D^.5: (..., D) -> (..., D)."""
    return nn.functional.rms_norm(x, x.shape[-1:])


def rows_at(source: Tensor, at: Tensor) -> Tensor:
    """Rows of `source` at places `at`: (B, T, D), (B, n) -> (B, n, D)."""
    return source.gather(1, at[..., None].expand(-1, -1, source.shape[-1]))


def random_maps(head: nn.Module) -> dict[str, Tensor]:
    """Initial weights of a head's own linear maps, by name: orthogonal matrices from fixed seeds."""
    maps = [(name, module) for name, module in head.named_children() if type(module) is nn.Linear]
    found = {}
    for seed, (name, module) in enumerate(maps):
        weight = nn.init.orthogonal_(torch.empty(module.weight.shape), generator=torch.Generator().manual_seed(seed))
        found[f"{name}.weight"] = weight.to(module.weight.device)
    return found


def verified_keys(start: Tensor) -> Tensor:
    """Which positions are verified for each place: start (B, T) -> (B, T, T), [b, t, key] = key < start[b, t]."""
    places = places_of(start)
    return places[None, None] < start[:, :, None]


def own_keys(start: Tensor) -> Tensor:
    """Which places of its own round, itself included, each place sees: start (B, T) -> (B, T, T)."""
    places = places_of(start)
    return (start[:, None] == start[:, :, None]) & (places[None, None] <= places[None, :, None])


def places_of(start: Tensor) -> Tensor:
    """The places 0 .. T - 1 of `start` (B, T), as (T,)."""
    return start.new_ones(start.shape[1]).cumsum(0) - 1


def cut_rounds(start: Tensor, longest: int) -> Tensor:
    """Splits rounds of more than `longest` places into rounds of that length: start (B, T) -> (B, T)."""
    behind = places_of(start) - start
    return start + behind // longest * longest


def check_taps(target: Target, taps, kind: str) -> tuple[int, ...]:
    """The taps as a tuple. Raises UserError unless they are rising depths that the target has, at least one."""
    found = tuple(int(tap) for tap in taps)
    if not found or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] <= target.depth:
        told = " ".join(map(str, taps))
        raise UserError(f"a {kind} head reads states at depths from 1 to {target.depth}, rising, at least one of them, not {told}")
    return found

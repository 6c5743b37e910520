"""What heads read of whole texts in training, for rounds that begin at random places or have one fixed length."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ..heads.base import Head, deep_rows
from ..heads.exit_layer import ExitLayer
from ..heads.four_bits import fake_quantize, fits_4_bits
from ..heads.trained import TrainedHead, cut_rounds
from ..model.families import PLAIN
from ..model.target import Target
from .lessons import Batch

Student = ExitLayer | TrainedHead

CUT = 0.35  # chance that a round begins at a place: rounds have about three tokens


def depths_of(head: Student) -> tuple[int, ...]:
    """Depths of the target's states that a head reads."""
    return (head.exit_after, *head.taps) if isinstance(head, Head) else head.taps


def random_rounds(batch: Batch, seed: int) -> Tensor:
    """Where the round of every place began, (B, T): rounds begin at random places of the replies; any other place is a round of its own."""
    rows, width = batch.ids.shape
    begins = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)).to(batch.ids.device) < CUT
    begins |= ~torch.nn.functional.pad(batch.reply[:, 1:], (0, 1))
    places = torch.arange(width, device=batch.ids.device).expand(rows, width)
    return (places * begins).cummax(1).values


def even_rounds(batch: Batch, length: int) -> Tensor:
    """Where the round of every place began, (B, T), for consecutive rounds of `length` places through every reply."""
    rows, width = batch.ids.shape
    places = torch.arange(width, device=batch.ids.device).expand(rows, width)
    begun = (places * ~torch.nn.functional.pad(batch.reply[:, 1:], (0, 1))).cummax(1).values  # the last place before that drafts nothing
    return cut_rounds((begun + 1).clamp(max=places), length)


def deep_of(head: ExitLayer, batch: Batch, seed: int) -> Tensor | None:
    """Deep states as drafting would have them, (B, T, taps D), for rounds that begin at random places of the replies."""
    return deep_rows([batch.states[tap] for tap in head.taps], random_rounds(batch, seed)) if head.taps else None


def rows_of(target: Target, head: Student, batch: Batch, seed: int, start: Tensor | None = None) -> Tensor:
    """The LM head's input when drafting along whole texts, (B, T, D). Rounds begin at random places, or, for heads other than the exit
    layer, where `start` (B, T) says."""
    if isinstance(head, TrainedHead):
        start = cut_rounds(random_rounds(batch, seed), head.longest) if start is None else start
        return head.rows_hidden(target, batch.ids, batch.states, start)
    return head.rows_hidden(target, batch.states[head.exit_after], deep_of(head, batch, seed))


def judged_rows(target: Target, head: Student, batch: Batch, judged: Tensor, seed: int, bits: int) -> Tensor:
    """As `rows_of`, at the judged places (B, T) only and with weights rounded as they will be stored: (n, D)."""
    if isinstance(head, TrainedHead):
        return _rounded(_HeadReader(head, target), head, bits, batch, seed)[judged]
    return hidden_at(target, head, batch.states[head.exit_after], deep_of(head, batch, seed), judged, bits)


def hidden_at(target: Target, layer: ExitLayer, states: Tensor, deep: Tensor | None, judged: Tensor, bits: int) -> Tensor:
    """`judged_rows` of an exit layer: states (B, T, D), judged (B, T) -> (n, D)."""
    return _rounded(_Reader(layer, target, judged), layer, bits, states, deep)


def _rounded(reader: nn.Module, head: Student, bits: int, *told) -> Tensor:
    """Run `reader` with the head's matrices as they will come back from a file; gradients pass straight through the rounding."""
    rounded = {n: fake_quantize(p) for n, p in head.named_parameters() if bits == 4 and fits_4_bits(p)}
    return torch.func.functional_call(reader, {f"layer.{name}": weight for name, weight in rounded.items()}, told)


class _HeadReader(nn.Module):
    def __init__(self, head: TrainedHead, target: Target):
        super().__init__()
        self.layer, self.target = head, (target,)  # in a tuple, so that its weights are no part of this module

    def forward(self, batch: Batch, seed: int) -> Tensor:
        return rows_of(self.target[0], self.layer, batch, seed)


class _Reader(nn.Module):
    """The exit layer at judged places only."""

    def __init__(self, layer: ExitLayer, target: Target, judged: Tensor):
        super().__init__()
        self.layer, self.target, self.judged = layer, (target,), judged

    def forward(self, states: Tensor, deep: Tensor | None) -> Tensor:
        (target,), layer = self.target, self.layer
        if target.config.model_type not in PLAIN:
            return layer.rows_hidden(target, states, deep)[self.judged]
        *before, last = layer.layers
        hidden = target.run_rows(before, layer.mixed(states, deep))
        return layer.norm(target.run_rows([_LastLayer(last, self.judged)], hidden))


class _LastLayer:
    """After its attention, computes the judged rows only: (B, T, D) -> (n, D)."""

    def __init__(self, layer: nn.Module, judged: Tensor):
        self.layer, self.judged, self.kind = layer, judged, layer.kind

    def __call__(self, hidden: Tensor, **told) -> Tensor:
        mixed, _ = self.layer.self_attn(hidden_states=self.layer.input_layernorm(hidden), **told)
        hidden = (hidden + mixed)[self.judged]
        return hidden + self.layer.mlp(self.layer.post_attention_layernorm(hidden))


def computing(target: Target) -> AbstractContextManager:
    """Autocast to bfloat16 where the device has instructions for it."""
    native = target.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(target.device.type, torch.bfloat16, enabled=native)

"""Runs layers that read the target's keys and values over whole texts, for training.

A drafter runs such layers on the target's own cache. They read the target's keys and values of all verified positions and append those of
the round's own rows. In training every place of a text belongs to a round that begins at `start`. It sees the target's keys and values
before `start`, and the layer's own from `start` up to the place.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..model.target import Target
from .trained import own_keys, places_of, verified_keys


class Heard:
    """Replaces transformers' cache and records the keys and values of every layer, (B, heads, T, head_dim) each."""

    def __init__(self):
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def listen(self, target: Target, layers: Sequence[nn.Module], states: Tensor) -> None:
        """Records keys and values of these target layers, run on their input states (B, T, D)."""
        target.run_rows(layers, states.to(target.dtype), self)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        self.kept[layer] = keys, values
        return keys, values


class Beside:
    """Replaces transformers' cache: a layer gets the recorded keys and values of the target's layer of the same number, followed by its
    own, (B, heads, 2 T, head_dim)."""

    def __init__(self, heard: Heard):
        self.heard = heard

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        return tuple(torch.cat(both, 2) for both in zip(self.heard.kept[layer], (keys, values)))


class Memory:
    """Replaces transformers' cache for one layer: keys and values of all rows so far, with gradients."""

    keys = values = None

    def update(self, keys: Tensor, values: Tensor, *_, **__) -> tuple[Tensor, Tensor]:  # (B, heads, n, width) each
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], 2)
        self.values = values if self.values is None else torch.cat([self.values, values], 2)
        return self.keys, self.values


def three_quarters(target: Target) -> int:
    """Number of the layer at three quarters of the depth: it has much context and is not yet specialised to predicting the next token."""
    return max(1, target.depth * 3 // 4)


def run_beside(target: Target, layers: Sequence[nn.Module], hidden: Tensor, heard: Heard, start: Tensor) -> Tensor:
    """hidden (B, T, D): the layers' input at every place; start (B, T): where the place's round begins -> (B, T, D)."""
    length, cache, places = hidden.shape[1], Beside(heard), places_of(start)
    seen = torch.cat([verified_keys(start), own_keys(start)], -1)  # (B, T, 2 T)
    masks: dict[int | None, Tensor] = {}
    for layer in layers:
        window = layer.kind.window
        if window not in masks:
            near = seen if window is None else seen & (places.repeat(2) > places[:, None] - window)
            masks[window] = torch.zeros_like(near, dtype=hidden.dtype).masked_fill_(~near, torch.finfo(hidden.dtype).min)[:, None]
        told = target.tell(layer.kind, 0, length, length) | {target.family.cache: cache, "attention_mask": masks[window]}
        hidden = layer(hidden, **told)
    return hidden

"""What the built model passes to its layers, recorded from the model itself. Ours.

A config.json may hold keys that its architecture ignores (a Llama with a `sliding_window`), or reads unexpectedly (`is_causal`). So the
whole model, as transformers built it, runs on a few tokens while hooks record which mask and which rotary tables each layer receives. The
cache of this run shows how many positions `generate()` keeps.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import UserError
from .families import Family

TOKENS = 6  # length of the recorded run
NEAR = 16  # positions whose rotary rows are compared
OTHERWISE = "{} is no plain decoder: a token sees something else than itself and a number of tokens before it"


class Kind(NamedTuple):
    """What a layer receives besides hidden states. Layers of one kind share masks and rotary tables; a head's layer has the kind of its
    source."""

    rope: str | None  # name of the rotary table, where layers use different ones
    window: int | None  # positions that a token sees, itself included; None: all before it
    kept: int | None = None  # window of tokens after the prompt, where generate()'s cache keeps fewer positions than the mask shows


class LayerFacts(NamedTuple):
    logits: Tensor  # of the input `first_tokens`, computed by transformers: (TOKENS, V) float32
    kinds: list[Kind]  # one per layer
    heads: int  # key-value heads in this process
    width: int  # of one head


@torch.no_grad()
def listen(model: PreTrainedModel, family: Family, context: int, name: str) -> LayerFacts:
    """Run the model and record its layers' facts. `context`: positions over which windows are searched. Raises UserError where a token sees
    anything but itself and a number of tokens before it, and where the layers' caches differ in shape."""
    body, told, turned = getattr(model, family.body), [], {}

    def hear_layer(layer, args, kwargs):
        told.append(inspect.signature(layer.forward).bind(*args, **kwargs).arguments)
        if told[-1].get("attention_mask") is None:
            raise UserError(OTHERWISE.format(name))

    def hear_tables(_, args, kwargs, tables):
        turned[id(tables)] = (args[2:] or (kwargs.get("layer_type"),))[0]

    hooks = [layer.register_forward_pre_hook(hear_layer, with_kwargs=True) for layer in getattr(body, family.layers)]
    if family.learned is None:
        hooks.append(body.rotary_emb.register_forward_hook(hear_tables, with_kwargs=True))
    usual, model.config._attn_implementation = model.config._attn_implementation, "eager"  # transformers' own attention
    try:
        out = model(torch.tensor([first_tokens(model.config.vocab_size)], device=model.device), use_cache=True)
    finally:
        model.config._attn_implementation = usual
        for hook in hooks:
            hook.remove()
    cached = out.past_key_values.layers
    shapes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in cached}
    if len(shapes) > 1 or len(set(*shapes)) > 1:
        raise UserError(f"{name} caches keys and values of several shapes: only models whose layers are all alike can be split here")
    ropes = [turned.get(id(one.get("position_embeddings"))) for one in told]
    masks = [one.get("attention_mask") for one in told]
    windows = {id(mask): window_of(mask.rule, context, name) for mask in masks}
    keeps = [layer.sliding_window if layer.is_sliding else context for layer in cached]
    for mask in masks:
        if len({keep for keep, other in zip(keeps, masks) if other is mask}) > 1:
            raise UserError(f"config.json of {name} has layer types that a {model.config.model_type!r} model does not have: take them out")
    kinds = [Kind(rope, windows[id(mask)], _kept(keep, windows[id(mask)], context, name)) for rope, mask, keep in zip(ropes, masks, keeps)]
    return LayerFacts(out.logits[0].to(model.device, torch.float32), kinds, cached[0].keys.shape[1], cached[0].keys.shape[3])


def first_tokens(vocabulary: int) -> list[int]:
    return [token % vocabulary for token in range(TOKENS)]


def window_of(rule: Callable, context: int, name: str) -> int | None:
    """The window of transformers' mask function (batch, head, query, key) -> visible; None: no window. Tries a few queries against all
    keys. Raises UserError for a mask that is no causal window."""
    keys = torch.arange(context)

    def seen(query: int) -> Tensor:
        return rule(torch.tensor(0), torch.tensor(0), torch.tensor(query), keys)

    window = int(seen(context - 1).sum())
    asked = {0, 1, window - 1, min(window, context - 1), context // 2, context - 1}
    if window < 2 or not all(torch.equal(seen(query), (keys <= query) & (keys > query - window)) for query in asked):
        raise UserError(OTHERWISE.format(name))
    return window if window < context else None


def _kept(keep: int, window: int | None, context: int, name: str) -> int | None:
    """The window that generate()'s cache imposes, None where it keeps all that the mask shows. Raises UserError for a cache that keeps
    nothing: generate() does not run with it."""
    if keep < 2:
        raise UserError(f"config.json of {name} has a sliding window of {keep}: take it out")
    return keep if keep < min(window or context, context) else None


def steady_reach(turn: Callable[[Tensor], tuple[Tensor, ...]], context: int) -> int:
    """The largest number of positions for which the rotary tables stay the same. `longrope` changes its frequencies once a text exceeds the
    original context, and keys that are already cached keep the old ones. `turn`: positions (n,) -> tables (1, n, width)."""
    near = turn(torch.arange(NEAR))

    def steady(reach: int) -> bool:
        tables = zip(turn(torch.arange(reach)), near)
        return all(torch.allclose(table[:, :NEAR], short[:, :reach], rtol=0, atol=1e-4) for table, short in tables)

    if steady(context):
        return context
    low, high = min(NEAR, context), context  # known to be steady, known not to be
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if steady(middle) else (low, middle)
    return low

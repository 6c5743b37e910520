"""Writes many texts at once: a pass holds one row of every text under way, and the prompts of texts that begin.

Ours. There is no padding: linear layers see all rows together, attention runs row by row over each text's own keys and values (numba),
and the next text takes the place of one that ends at once. Products have 8-bit weights and rows (quantized_linear.py), which is three times
as fast as in float32 and changes the loss by less than 0.1 %; everything else is in float32.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numba
import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from ...errors import UserError
from ...model.cpu.kernels import exp
from ...model.cpu.quantized_linear import Int8Linear

PLACES, WIDTH = 112, 640  # texts under way, and the length of the longest in tokens
ROWS = 288  # rows of a pass at most: prompts wait for room
FAST = {"fastmath": True, "cache": True, "nogil": True}


@dataclass
class Text:
    """One text under way. `first`: where the last reply begins."""

    number: int
    ids: list[int]
    temperature: float
    min_p: float
    first: int = 0
    turns: list[tuple[int, int]] = field(default_factory=list)  # (begin, end) of every reply
    read: int = 0  # number of ids that have been through the model


class Writer:
    """`model` is a LlamaForCausalLM in float32 on the CPU. `taps`: depths whose hidden states are kept, (number of taps, D) per token.
    `pack`: makes the product with a weight (N, K). Raises UserError for another kind of model."""

    @torch.no_grad()
    def __init__(self, model, taps: tuple[int, ...], ends: frozenset[int], places: int = PLACES, pack=Int8Linear):
        config, body = model.config, model.model
        plain = type(model) is LlamaForCausalLM and config.rope_parameters["rope_type"] == "default"
        if not plain or config.attention_bias or config.mlp_bias:
            raise UserError("replies are written by Llama models without biases and with plain rotary positions only")
        self.taps, self.ends, self.width_of_texts = taps, ends, min(WIDTH, config.max_position_embeddings)
        self.heads, self.groups, self.width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.eps = config.rms_norm_eps
        self.table, self.norm = body.embed_tokens.weight, body.norm.weight
        self.layers = [Layer(layer, pack) for layer in body.layers]
        self.head = pack(model.lm_head.weight)
        length = self.width_of_texts
        shape = (len(self.layers), places, self.groups, length, self.width)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        angles = torch.arange(length)[:, None] / config.rope_parameters["rope_theta"] ** (torch.arange(0, self.width, 2) / self.width)
        self.cos, self.sin = angles.cos().float().numpy(), angles.sin().float().numpy()  # (length, width / 2)
        self.states = torch.zeros(places, length, len(taps), config.hidden_size, dtype=torch.bfloat16)
        self.places: list[Text | None] = [None] * places

    @torch.inference_mode()
    def step(self) -> list[int]:
        """One pass. Returns the places whose texts have been read completely and got one more token."""
        rows: list[tuple[int, int]] = []  # (place, position)
        complete: list[int] = []
        ends: list[int] = []
        begun = [place for place, text in enumerate(self.places) if text]
        for place in sorted(begun, key=lambda p: len(self.places[p].ids) - self.places[p].read):  # prompts last
            text = self.places[place]
            room = ROWS - len(rows)
            new = min(room, len(text.ids) - text.read)
            rows += [(place, text.read + i) for i in range(new)]
            text.read += new
            if new and text.read == len(text.ids):
                complete.append(place)
                ends.append(len(rows) - 1)
        if not rows:
            return []
        place, position = (np.array(column, np.int64) for column in zip(*rows))
        hidden = self.table[torch.tensor([self.places[p].ids[i] for p, i in rows])]  # (R, D)
        at = torch.from_numpy(place), torch.from_numpy(position)
        for depth, layer in enumerate(self.layers):
            if depth in self.taps:
                self.states[at[0], at[1], self.taps.index(depth)] = hidden.bfloat16()
            mixed = layer.qkv(rms(hidden, layer.before, self.eps))  # (R, (heads + 2 groups) width)
            out = np.empty((len(rows), self.heads * self.width), np.float32)
            attend(mixed.numpy(), self.keys[depth], self.values[depth], place, position, self.cos, self.sin, self.heads, self.groups, out)
            hidden = hidden + layer.out(torch.from_numpy(out))
            gate, up = layer.gate_up(rms(hidden, layer.between, self.eps)).chunk(2, -1)
            hidden = hidden + layer.down(torch.nn.functional.silu(gate).mul_(up))
        depth = len(self.layers)
        if depth in self.taps:
            self.states[at[0], at[1], self.taps.index(depth)] = hidden.bfloat16()
        logits = self.head(rms(hidden[ends], self.norm, self.eps))  # (complete, V)
        for place, id in zip(complete, self.choose(logits, complete)):
            self.places[place].ids.append(id)
        return complete

    @torch.inference_mode()
    def choose(self, logits: Tensor, places: list[int]) -> list[int]:
        texts = [self.places[p] for p in places]
        temperature = torch.tensor([t.temperature for t in texts])[:, None]
        best = logits.argmax(-1)
        drawn = temperature[:, 0] > 0
        if drawn.any():
            scaled = logits[drawn] / temperature[drawn]
            law = (scaled - scaled.amax(-1, keepdim=True)).exp_()  # the most likely token has 1, so min-p is a bound on these numbers
            law[law < torch.tensor([t.min_p for t in texts])[drawn][:, None]] = 0
            sums = law.double().cumsum(-1)
            chances = torch.tensor([np.random.default_rng([9, t.number, len(t.ids)]).random() for t in texts], dtype=torch.float64)[drawn]
            best[drawn] = torch.searchsorted(sums, (chances * sums[:, -1])[:, None], right=True)[:, 0].clamp(max=law.shape[-1] - 1)
        return best.tolist()


class Layer:
    def __init__(self, layer, pack):
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        self.qkv = pack(torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]))
        self.gate_up = pack(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        self.out, self.down = pack(attention.o_proj.weight), pack(mlp.down_proj.weight)


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.nn.functional.rms_norm(x, weight.shape, weight, eps)


@numba.njit(parallel=True, **FAST)
def attend(mixed, keys, values, place, position, cos, sin, heads, groups, out):
    """Rotate queries and keys, store keys and values, and let every row attend to its text up to itself. mixed (R, (heads + 2 groups)
    width), keys and values (places, groups, length, width), out (R, heads width)."""
    rows, half = mixed.shape[0], cos.shape[1]
    width = 2 * half
    for r in numba.prange(rows):  # all keys must be stored before any row reads them
        p, t = place[r], position[r]
        for g in range(groups):
            k, v = (heads + g) * width, (heads + groups + g) * width
            for i in range(half):
                a, b = mixed[r, k + i], mixed[r, k + half + i]
                keys[p, g, t, i] = a * cos[t, i] - b * sin[t, i]
                keys[p, g, t, half + i] = b * cos[t, i] + a * sin[t, i]
            for i in range(width):
                values[p, g, t, i] = mixed[r, v + i]
    scale = np.float32(1 / math.sqrt(width))
    for r in numba.prange(rows):
        p, t = place[r], position[r]
        score, query = np.empty(t + 1, np.float32), np.empty(width, np.float32)
        for h in range(heads):
            g, at = h // (heads // groups), h * width
            for i in range(half):
                a, b = mixed[r, at + i], mixed[r, at + half + i]
                query[i] = (a * cos[t, i] - b * sin[t, i]) * scale
                query[half + i] = (b * cos[t, i] + a * sin[t, i]) * scale
            most = np.float32(-1e30)
            for j in range(t + 1):
                s = np.float32(0)
                for i in range(width):
                    s += query[i] * keys[p, g, j, i]
                score[j] = s
            for j in range(t + 1):
                most = max(most, score[j])
            for j in range(t + 1):
                score[j] = exp(score[j] - most)
            total = np.float32(0)
            for i in range(width):
                query[i] = 0
            for j in range(t + 1):
                e = score[j]
                total += e
                for i in range(width):
                    query[i] += e * values[p, g, j, i]
            for i in range(width):
                out[r, at + i] = query[i] / total


def run(writer: Writer, texts: Iterator[Text], most_new: int, next_turn) -> Iterator[tuple[Text, Tensor]]:
    """Yields every text of `texts`, with the states of all its ids but the last, (T - 1, taps, D). A reply ends with an end token or after
    `most_new` tokens; `next_turn(text)` then gives the ids of another request, or None."""
    waiting = True
    while waiting or any(writer.places):
        for place, under_way in enumerate(writer.places):
            if waiting and under_way is None:
                text = next(texts, None)
                waiting = text is not None
                writer.places[place] = text
        for place in writer.step():
            text = writer.places[place]
            if text.ids[-1] not in writer.ends and len(text.ids) - text.first < most_new and len(text.ids) < writer.width_of_texts:
                continue
            text.turns.append((text.first, len(text.ids)))
            more = next_turn(text) if text.ids[-1] in writer.ends else None
            if more and len(text.ids) + len(more) + most_new // 2 < writer.width_of_texts:
                text.ids += more
                text.first = len(text.ids)
                continue
            yield text, writer.states[place, : len(text.ids) - 1].clone()
            writer.places[place] = None

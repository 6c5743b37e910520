"""Llama-type decoder layers on a CPU without small operations: torch's products, and numba's kernels between them.

They compute the same sums as fused.py's layers. Those remain as the reference, for whole rows (training, transformers' `generate()`) and
for layers that do not fit here. Hidden states are float32 whatever the weights are; activations are rounded only where a product reads
them.

Attention is ours too, row by row, so only the products could depend on how many rows a pass has; the self-check tests those. A row may
follow any other row of its pass (`parents`): a branch of a tree sums as a chain of the same tokens would, bit for bit.
"""

from collections.abc import Sequence
from functools import cached_property
from threading import get_ident
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...limits import MAX_ROWS
from ..cache import RowCache
from ..layer_facts import Kind
from ..span import Segment, Span
from ..target import Target
from .fused import FusedAttention, FusedLayer, FusedMLP, with_twins
from .integers import words
from .kernels import add, add_norm, close_rows, gather, norm, silu_times, turn
from .packed_linear import product_of
from .region import ALL, Program, address, lay_tree, lengthen, product_columns
from .threads import attend_by_threads
from .vectors import LANES

MOST_STEPS = 16  # that are kept for drafting, by thread and head
MOST_PROGRAMS = 128  # that are kept for passes over several texts, by thread, rows and layers


class Pass(NamedTuple):
    """What the sub-layers know of one text's rows in a pass, m tokens. Row r follows the rows paths[r, :depths[r]] of this pass."""

    cache: RowCache
    start: int  # positions cached before the pass
    positions: np.ndarray  # (m,) int64
    slots: np.ndarray  # (m,): the cache place of each row
    paths: np.ndarray  # (m, m), or (1, m) where all rows share a path
    depths: np.ndarray  # (m,)
    known: dict[Kind, np.ndarray]  # windows by kind, filled on demand

    @classmethod
    def of(cls, segment: Segment) -> "Pass":
        cache, (start, parents), rows = segment
        steps = np.arange(rows)
        paths, depths = steps[None], steps
        if parents:
            paths, depths = np.zeros((rows, rows), np.int64), np.zeros(rows, np.int64)
            lay_tree(parents, paths, depths)
        return cls(cache, start, start + depths, start + steps, paths, depths, {})

    def windows(self, kind: Kind) -> np.ndarray:
        """How many places each row sees, itself included: (m,)."""
        if kind not in self.known:
            windows = self.known[kind] = np.full(len(self.depths), kind.window or ALL)
            if kind.kept and self.cache.prompt is not None:
                windows[self.positions >= self.cache.prompt] = kind.kept
        return self.known[kind]


class Linear:
    """A linear layer that reads what one kernel has written, and writes what the next one reads."""

    def __init__(self, module: nn.Module):
        self.product, self.door = product_of(module)
        self.panels = getattr(module, "panels", None)  # a threads.PanelProduct

    def room(self, rows: int, width: int) -> tuple[Tensor, np.ndarray]:
        """An empty input (m, K) or (m, words), as torch and as numba see it."""
        x = torch.empty(rows, width if self.door.is_floating_point else words(width), dtype=self.door)
        return x, _seen(x)

    def __call__(self, x: Tensor) -> np.ndarray:  # (m, K) -> (m, N)
        return _seen(self.product(x))


class Attention:
    def __init__(self, module: nn.Module, norm: nn.Module, kind: Kind, tables: tuple[np.ndarray, np.ndarray]):
        self.into, self.out = Linear(module.qkv_proj), Linear(module.o_proj)
        self.heads, self.groups, self.width, self.index = module.heads, module.groups, module.width, module.layer_idx
        self.scaling, self.kind, self.tables = np.float32(module.scaling), kind, tables
        self.weight, self.eps = _weight(norm)
        sizes = self.index, self.heads, self.groups, self.width, *map(address, tables)
        self.row = _row(self, 0, *sizes, floats=(self.eps, self.scaling))

    def mix(self, x: Tensor, texts: Sequence[Pass]) -> np.ndarray:
        """Normed rows x (m, D) -> what to add to the hidden states, (m, D)."""
        rows, low = len(x), 0
        queries, mixed = np.empty((rows, self.heads, self.width), np.float32), np.empty((rows, self.heads * self.width), np.float32)
        y = self.into(x)
        for at in texts:
            own = slice(low, low := low + len(at.slots))
            keys, values = at.cache.places(self.index, at.start, len(at.slots))
            turn(y[own], at.positions, at.slots, *self.tables, queries[own], keys, values, self.scaling)
            attend_by_threads(queries[own], keys, values, at.start, at.paths, at.depths, at.windows(self.kind), mixed[own])
        if self.out.door == torch.float32:
            return self.out(torch.from_numpy(mixed))
        x, seen = self.out.room(rows, mixed.shape[1])
        close_rows(mixed, seen)
        return self.out(x)


class Feed:
    def __init__(self, module: nn.Module, norm: nn.Module):
        self.into, self.out, self.kind = Linear(module.gate_up_proj), Linear(module.down_proj), None
        self.weight, self.eps = _weight(norm)
        self.row = _row(self, 1, 0, 0, 0, 0, 0, 0, floats=(self.eps, 0.0))

    def mix(self, x: Tensor, texts: Sequence[Pass]) -> np.ndarray:
        y = self.into(x)
        x, seen = self.out.room(len(y), y.shape[1] // 2)
        silu_times(y, seen)
        return self.out(x)


class End:
    """The norm and the LM head."""

    def __init__(self, norm: "StepNorm", head: nn.Module):
        self.into = Linear(head)
        product, (weight, eps) = self.into.panels, norm.own
        sizes = address(weight), *product_columns(product), *[0] * 7, product.reads, *[0] * 8
        self.row = np.array((0, *sizes, *np.array((eps, 0.0), np.float32).view(np.int64), 0), np.int64)


def _row(part: "Attention | Feed", feeds: int, *sizes: int, floats: tuple[float, float]) -> np.ndarray | None:
    """The sub-layer as region.py reads it, (COLUMNS,). `sizes`: the columns from LAYER to SIN. None: region.py cannot run it."""
    both = part.into.panels, part.out.panels
    if None in both or any(product.padded for product in both) or part.into.door != part.out.door:
        return None
    reads = (product.reads for product in both)
    numbers = np.array(floats, np.float32).view(np.int64)
    columns = feeds, address(part.weight), *product_columns(both[0]), *product_columns(both[1]), *reads, *sizes, 0, *numbers, 0
    return np.array(columns, np.int64)


def fits(parts: Sequence[Attention | Feed]) -> bool:
    """Whether region.py can run them together."""
    return bool(parts) and all(part.row is not None for part in parts) and len({part.into.door for part in parts}) == 1


def _can_be_kept(parts: Sequence[Attention | Feed]) -> bool:
    """Whether the passes of a chain, or of a tree, through them differ in nothing but their place and the tree."""
    return fits(parts) and not any(part.kind and part.kind.kept for part in parts)


def run(parts: Sequence[Attention | Feed], hidden: Tensor, texts: Sequence[Pass]) -> Tensor:
    """hidden (1, m, D) float32, the rows of all texts -> (1, m, D)."""
    if not fits(parts):
        return run_apart(parts, hidden, texts)
    program = Program(parts, *hidden.shape[1:], texts)
    for text in texts:
        lengthen(text.cache, program, text.start + len(text.slots))
    return program(hidden)


def run_apart(parts: Sequence[Attention | Feed], hidden: Tensor, texts: Sequence[Pass]) -> Tensor:
    """As `run`, with every kernel and product called from here: for products that region.py does not know, and its reference."""
    x, y = hidden[0].numpy().copy(), None
    for part in parts:
        read, seen = part.into.room(*x.shape)
        if y is None:
            norm(x, part.weight, part.eps, seen)
        else:
            add_norm(x, y, part.weight, part.eps, seen)
        y = part.mix(read, texts)
    if y is not None:
        add(x, y)
    return torch.from_numpy(x)[None]


class StepNorm(nn.Module):
    """RMS norm by the same kernel, before a head: (1, m, D) float32 -> (1, m, D) in the dtype that the head reads. Other inputs go to the
    module that it replaces."""

    def __init__(self, module: nn.Module, head: nn.Module):
        super().__init__()
        door = product_of(head)[1]
        self.door = door if door.is_floating_point else torch.float32
        self.weight, self.variance_epsilon, self._plain = module.weight, module.variance_epsilon, module.forward
        self.own = _weight(module)

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.dtype != torch.float32 or hidden.requires_grad:
            return self._plain(hidden)
        rows = hidden.numpy().reshape(-1, hidden.shape[-1])
        out = np.empty_like(rows)
        norm(rows, *self.own, out)
        return torch.from_numpy(out).view(hidden.shape).to(self.door)


class Steps:
    """Runs fused layers, in place of Target.run and Target.run_together."""

    def __init__(self, target: Target):
        self.target, self.tables, self.drafting, self.shared = target, {}, {}, {}
        body = getattr(target.model, target.family.body)
        positions, probe = torch.arange(target.context)[None], torch.zeros(1, 1)
        for rope in {layer.kind.rope for layer in target.layers}:
            tables = body.rotary_emb(probe, positions, *([rope] if rope else []))
            half = tables[0].shape[-1] // 2  # both halves are equal
            self.tables[rope] = tuple(table[0, :, :half].contiguous().numpy() for table in tables)

    def __call__(self, layers: Sequence[FusedLayer], hidden: Tensor, segments: Sequence[Segment]) -> Tensor:
        """hidden (1, m, D), the rows of all segments -> (1, m, D)."""
        if not hidden.shape[1]:
            return hidden
        if len(segments) == 1:
            return self._alone(layers, hidden, segments[0])
        program = self._shared(layers, segments)
        if program is None:
            return run(self._parts(layers), hidden, [Pass.of(segment) for segment in segments])
        for held, (start, _), rows in segments:
            lengthen(held, program, start + rows)
        return program(hidden)

    def embed(self, ids: Sequence[int]) -> Tensor:
        """As Target.embed, of a model with a table: (1, m, D) float32. torch needs three operations for it, cold ones behind a pass."""
        table = _seen(self.target.table)
        rows = np.empty((len(ids), table.shape[1]), np.float32)
        gather(table, np.array(ids), rows)
        return torch.from_numpy(rows)[None]

    def _parts(self, layers: Sequence[FusedLayer]) -> list[Attention | Feed]:
        return [part for layer in layers for part in layer.parts or self._parts_of(layer)]

    def _alone(self, layers: Sequence[FusedLayer], hidden: Tensor, segment: Segment) -> Tensor:
        cache, (start, parents), rows = segment
        program = self.program(layers, cache, rows, tree=bool(parents)) if rows <= MAX_ROWS else None
        if program is None:
            return run(self._parts(layers), hidden, [Pass.of(segment)])
        program.move(start, parents)
        lengthen(cache, program, start + rows)
        return program(hidden)

    def program(
        self, layers: Sequence[FusedLayer], cache: RowCache, rows: int, ends: tuple[int, ...] | None = None, tree: bool = False
    ) -> Program | None:  # fmt: skip
        """The program of passes over a chain or a tree of so many rows, which the text's cache keeps for the next one; region.py tells what
        a program is. `ends`: the LM head follows, and states behind so many layers are kept. None: these layers have none."""
        key = get_ident(), rows, ends, tree, *map(id, layers)
        if key not in cache.programs:
            fits, span = _can_be_kept(self._parts(layers)), Span(0, (-1,) * rows if tree else ())
            cache.programs[key] = self._made(layers, [Segment(cache, span, rows)], ends) if fits else None, layers
        return cache.programs[key][0]

    def program_of_texts(
        self, layers: Sequence[FusedLayer], segments: Sequence[Segment], ends: tuple[int, ...] | None = None
    ) -> Program:  # fmt: skip
        """The program of one pass over rows of several texts."""
        return self._shared(layers, segments, ends) or self._made(layers, segments, ends)

    def _shared(self, layers: Sequence[FusedLayer], segments: Sequence[Segment], ends: tuple[int, ...] | None = None) -> Program | None:
        """As `program`, for chains of several texts: kept here, for any texts with as many rows in all. None where it cannot be kept."""
        rows = sum(segment.rows for segment in segments)
        if rows > MAX_ROWS or any(segment.span.parents for segment in segments):
            return None
        key = get_ident(), rows, ends, *map(id, layers)
        if key not in self.shared:
            if len(self.shared) >= MOST_PROGRAMS:
                self.shared.clear()  # most are of threads that have ended; the others are made anew
            self.shared[key] = self._made(layers, segments, ends) if _can_be_kept(self._parts(layers)) else None, layers
        program = self.shared[key][0]
        if program:
            program.aim(segments)
        return program

    def _made(self, layers: Sequence[FusedLayer], segments: Sequence[Segment], ends: tuple[int, ...] | None) -> Program:
        parts, rows = self._parts(layers), sum(segment.rows for segment in segments)
        texts, end = [Pass.of(segment) for segment in segments], None if ends is None else self.end
        keeps = [len(self._parts(layers[:number])) for number in ends or ()]
        return Program(parts, rows, self.target.config.hidden_size, texts, keeps, end)

    def verify(self, low: int, taps: Sequence[int], hidden: Tensor, segments: Sequence[Segment]) -> tuple[Tensor, dict[int, Tensor]] | None:
        """As Target.verify, in one region; None where that is not possible."""
        layers, (cache, (start, parents), rows) = self.layers[low:], segments[0]
        ends = tuple(tap - low for tap in taps if low < tap < self.target.depth)
        if not self.end or not layers or hidden.shape[1] > MAX_ROWS:
            return None
        alone = len(segments) == 1
        program = self.program(layers, cache, rows, ends, bool(parents)) if alone else self._shared(layers, segments, ends)
        if program and alone:
            program.move(start, parents)
        elif not program and fits(self._parts(layers)):
            program = self._made(layers, segments, ends)
        elif not program:
            return None
        for held, (start, _), rows in segments:
            lengthen(held, program, start + rows)
        x, kept, logits = program.to_the_end(hidden)
        return logits, {low: hidden, self.target.depth: x} | {low + end: kept[i : i + 1] for i, end in enumerate(ends)}

    @cached_property
    def layers(self) -> list[FusedLayer]:
        return list(self.target.layers)

    @cached_property
    def end(self) -> End | None:
        """Made at the first pass, when linear layers have been packed. None: region.py cannot run it."""
        head = self.target.model.lm_head
        product, part = getattr(head, "panels", None), self._parts(self.layers)[0]
        if product is None or product.padded or self.target.softcap or part.into.door != product_of(head)[1]:
            return None
        return End(self.target.norm, head)

    def text_draft(self, head: nn.Module, ranker, count: int, *memory):
        """A text's part of draft steps (draft_step.py) of an exit layer (heads/base.py), for the `count` best tokens. `memory`: fields of
        draft_step.Memory. None where that is not possible."""
        from .draft_step import DraftStep, Memory, TextDraft

        kept = head.layers and _can_be_kept(self._parts(self.target.layers[: head.exit_after]))
        step = self.draft_step(DraftStep, head, count, [head.mix]) if kept else None
        return step and TextDraft(step, ranker, Memory(*memory))

    def draft_step(self, kind: type, head: nn.Module, count: int, maps: Sequence[nn.Module | None]):
        """This thread's draft step (a choice.ChoiceStep of this kind) of a head, for the `count` best tokens. `maps`: its linear maps
        outside of its layers. None where drafting in one region is not possible."""
        key = get_ident(), head, head.shortlist, count
        step = self.drafting.get(key)
        if step is None and (rows := self._rows_for_drafts(head, maps)):
            if len(self.drafting) >= MOST_STEPS:
                self.drafting.clear()  # most are of threads that have ended; the others are made anew
            step = self.drafting[key] = kind(self, head, rows, count)
        return step

    def _rows_for_drafts(self, head: nn.Module, maps: Sequence[nn.Module | None]):
        """The rows of the LM head that it reads, as a threads.PanelProduct; None if it cannot draft in one region."""
        rows = head.shortlist.product if head.shortlist else self.target.rough or self.target.model.lm_head
        halves = self._parts(head.layers)
        products = [product for half in halves for product in (half.into.panels, half.out.panels)]
        products += [getattr(module, "panels", None) for module in (rows, *maps) if module is not None]
        rough = all(product and product.panels.dtype == np.int8 and not product.padded for product in products)
        kept = not head.layers or _can_be_kept(halves)
        if not rough or not kept or self.target.table is None or not isinstance(head.norm, StepNorm):
            return None
        return rows.panels

    def _parts_of(self, layer: FusedLayer) -> list[Attention | Feed]:
        """Called at the first pass, when linear layers have been packed. Leaves out a sub-layer that drafting skips
        (draft/layer_skip.py)."""
        layer.parts = []
        if isinstance(layer.self_attn, FusedAttention):
            layer.parts.append(Attention(layer.self_attn, layer.input_layernorm, layer.kind, self.tables[layer.kind.rope]))
        if isinstance(layer.mlp, FusedMLP):
            layer.parts.append(Feed(layer.mlp, layer.post_attention_layernorm))
        return layer.parts


def can_step(target: Target) -> bool:
    """Whether the layers are fused, use SiLU, and have heads that are rotated as a whole and fill vectors."""
    config, layers = target.config, target.layers
    plain = all(type(layer) is FusedLayer for layer in layers) and config.hidden_act == "silu"
    widths = [(layer.self_attn.width, target.rope_tables(layer.kind.rope)[0].shape[-1]) for layer in layers] if plain else []
    return plain and all(width == rotated and width % LANES == 0 for width, rotated in widths)


@torch.no_grad()
def take_steps(target: Target, *heads: nn.Module | None) -> None:
    """Where possible, from now on Target.run goes through `Steps`, and hidden states are float32. Changes target and heads in place."""
    if not can_step(target):
        return
    target.steps, target.stream = Steps(target), torch.float32
    target.norm = StepNorm(target.norm, target.model.lm_head)
    setattr(getattr(target.model, target.family.body), target.family.norm, target.norm)
    for head in with_twins(heads):
        if hasattr(head.norm, "variance_epsilon"):
            head.norm = StepNorm(head.norm, target.model.lm_head)


def _seen(x: Tensor) -> np.ndarray:
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def _weight(norm: nn.Module) -> tuple[np.ndarray, np.float32]:
    return norm.weight.detach().float().numpy(), np.float32(norm.variance_epsilon)

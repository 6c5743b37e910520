"""The target, cut into layer ranges that run one by one.

transformers' own modules do the work, so a split forward is the model's forward by construction; what differs between families is in
families.py. Positions and masks are made once: a decoding step must not pay for what never changes.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from ..errors import UserError
from ..text.codec import Codec, end_ids_of
from .attention import NAME
from .cache import SPAN, KVCache, RowCache, SharedCache
from .catalog import Source
from .checkpoint import read_tokenizer, split_revision
from .families import family_of
from .file_rows import FileEmbedding
from .layer_facts import Kind, listen, steady_reach
from .quantize import precision_of
from .span import Segment, Span

MASK_ROWS = 16
DRAWING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "max_length", "max_new_tokens", "use_cache", "transformers_version")
LEAST_CONTEXT, MOST_CONTEXT = MASK_ROWS + 1, 8192  # positions: tables, masks and the self-check cover every position that a run may reach


class Target:
    """embed | layers[lo:hi] | norm + head, batch size 1. Raises UserError for an unknown architecture or too short a context."""

    def __init__(self, model: PreTrainedModel, tokenizer, name: str):
        self.model, self._tokenizer, self.name = model.eval(), tokenizer, name
        self.config = model.config
        self.family = family_of(self.config, name)
        body = getattr(model, self.family.body)
        self.embedding: nn.Embedding | FileEmbedding = getattr(body, self.family.embed)
        self.learned: nn.Embedding | None = getattr(body, self.family.learned) if self.family.learned else None
        self.layers: nn.ModuleList = getattr(body, self.family.layers)
        self.norm: nn.Module = getattr(body, self.family.norm)
        self.depth = len(self.layers)
        self.device, self.dtype = model.device, model.dtype
        self.stream = self.dtype  # dtype of hidden states between layers
        self.steps: Callable[..., Tensor] | None = None  # runs layers as `run` does, where there is a faster way (cpu/step.py)
        self.rough: nn.Module | None = None  # the LM head in 8 bits, for drafts (cpu/prepare.py)
        self.precision = precision_of(model)
        self.vocab = self.config.vocab_size
        self.source: Source | None = None  # the files it was loaded from
        self.fingerprint: str | None = None  # of the weights as loaded (heads/fingerprint.py): packed ones can no longer be read
        self.note = ""  # told to the user where the model runs slower than it could
        self.broken: str | None = None  # name of a tensor that holds NaN or infinity
        self.shards = getattr(model, "tp_size", None) or 1  # processes that share every layer
        plain = type(self.embedding) in (nn.Embedding, FileEmbedding) and not hasattr(self.embedding, "_hf_hook")  # unscaled, and here
        self.table = self.embedding.weight.detach() if plain and self.shards == 1 else None  # (V, D)
        self.softcap: float | None = self.config.final_logit_softcapping if self.family.caps else None
        self.end_ids = end_ids_of(model.generation_config)
        model.generation_config, self.wishes = neutral(model.generation_config)
        self.context = min(self.config.max_position_embeddings, MOST_CONTEXT)
        if self.context < LEAST_CONTEXT:
            raise UserError(f"{name} has room for {self.context} positions (max_position_embeddings): at least {LEAST_CONTEXT} are needed")
        self.whole_logits, kinds, self.kv_heads, self.head_width = listen(model, self.family, self.context, name)
        for layer, kind in zip(self.layers, kinds):
            layer.kind = kind
        self._ropes: dict[str | None, tuple[Tensor, ...]] = {}  # (1, context, rotary width) each
        if self.learned is None:
            self._ropes = self._make_ropes(body.rotary_emb, {kind.rope for kind in kinds})
        # The masks of short passes are slices of one table per window.
        shape = (MASK_ROWS, self.context - 1, self.context + MASK_ROWS + SPAN)
        windows = {window for kind in kinds for window in (kind.window, kind.kept or kind.window)}
        self._steps = {window: self._make_mask(*shape, window) for window in windows}

    @cached_property
    def codec(self) -> Codec:
        """Made when first asked for: a second target of the same model, made for a measurement, needs none."""
        return Codec(self.tokenizer, self.end_ids, self.vocab, self.name)

    @property
    def tokenizer(self):
        """transformers'. Read again if it was let go."""
        self._tokenizer = self._tokenizer or read_tokenizer(*split_revision(self.source.checkpoint))
        return self._tokenizer

    def let_go_of_tokenizer(self) -> None:
        """Decoding uses the codec, and a vocabulary of 49,152 tokens takes 16 MB."""
        self._tokenizer = None if self.codec and self.source else self._tokenizer

    def embed_from(self, rows: Tensor) -> None:
        """Reads embeddings from here from now on: the same numbers, (V, D)."""
        self.embedding, self.table = FileEmbedding(rows, self.dtype), rows
        setattr(getattr(self.model, self.family.body), self.family.embed, self.embedding)

    def no_numbers(self) -> UserError:
        where = f" ({self.broken})" if self.broken else ""
        return UserError(f"the logits of {self.name} are no numbers: its weights are broken{where}, or too large for {self.precision}")

    def new_cache(self, capacity: int, layers: int | None = None) -> KVCache:
        """For `capacity` positions of all the target's layers, or of a head with `layers` layers."""
        heads = self.kv_heads * self.shards if layers else self.kv_heads
        if self.steps:
            return RowCache(layers or self.depth, heads, capacity, self.head_width)
        devices = [self.device] * layers if layers else [_device_of(layer, self.device) for layer in self.layers]
        return KVCache(devices, heads, capacity, self.head_width, self.dtype)

    def embed(self, ids: list[int], start: int, parents: Sequence[int] = ()) -> Tensor:
        """The first layer's input for m tokens, a chain or a tree after `start` positions: (1, m, D), not to be changed in place."""
        if self.steps and self.table is not None and self.table.dtype != torch.float16 and ids:
            hidden = self.steps.embed(ids)
        elif len(ids) == 1 and self.table is not None:
            hidden = self.table[ids[0]].view(1, 1, -1)  # a view of the table, not a gather: saves some 4 % of a draft step
        else:
            hidden = self.embedding(torch.tensor([ids], dtype=torch.long, device=self.device))
        return self._placed(hidden, start, parents).to(self.stream)

    def embed_rows(self, ids: Tensor) -> Tensor:
        """As `embed`, for whole rows from position 0 on: (B, T) -> (B, T, D)."""
        return self._placed(self.embedding(ids), 0)

    def run(self, layers, hidden: Tensor, cache: KVCache, start: int, parents: Sequence[int] = ()) -> Tensor:
        """Run decoder layers over m tokens after `start` positions: hidden (1, m, D) -> (1, m, D). `parents`: for each row, the row that it
        follows, or -1 for the last cached position; (): each row follows the one before it (span.py)."""
        if self.steps and isinstance(cache, RowCache):
            return self.steps(layers, hidden, [Segment(cache, Span(start, tuple(parents)), hidden.shape[1])])
        segment = Segment(cache, Span(start, parents), hidden.shape[1])
        told: dict[Kind, dict] = {}
        for layer in layers:
            if layer.kind not in told:
                told[layer.kind] = {self.family.cache: cache} | self._tell_segment(layer.kind, segment)
            hidden = layer(hidden, **told[layer.kind])
        return hidden

    def run_range(self, low: int, high: int, hidden: Tensor, cache: KVCache, start: int, parents: Sequence[int] = ()) -> Tensor:
        return self.run([self.layers[i] for i in range(low, high)], hidden, cache, start, parents)

    def states(self, low: int, depths: Sequence[int], hidden: Tensor, segments: Sequence[Segment]) -> dict[int, Tensor]:
        """Run the layers from `low` on over rows of one or several texts, hidden (1, m, D). Returns the states at these depths, from `low`
        on and in ascending order, and at the end: depth -> (1, m, D)."""
        found = {}
        for depth in (*depths, self.depth):
            if low < depth and hidden.shape[1]:  # prefill of a one-token prompt has no rows
                if len(segments) > 1:
                    hidden = self.run_together([self.layers[i] for i in range(low, depth)], hidden, segments)
                else:
                    hidden = self.run_range(low, depth, hidden, segments[0].cache, *segments[0].span)
            low, found[depth] = depth, hidden
        return found

    def verify(self, low: int, depths: Sequence[int], hidden: Tensor, segments: Sequence[Segment]) -> tuple[Tensor, dict[int, Tensor]]:
        """A verify pass: `states`, and the logits behind them, (m, V) float32."""
        fast = self.steps and all(isinstance(segment.cache, RowCache) for segment in segments)
        if fast and (found := self.steps.verify(low, depths, hidden, segments)):
            return found
        found = self.states(low, depths, hidden, segments)
        return self.logits(found[self.depth]), found

    def run_together(self, layers, hidden: Tensor, segments: Sequence[Segment]) -> Tensor:
        """As `run`, over rows of several texts, text by text: hidden (1, sum of m, D) -> the same shape. Products, norms and MLPs take all
        rows at once; each text attends to its own cache. With other attention than ours the texts run one by one."""
        if self.steps:
            return self.steps(layers, hidden, segments)
        sizes = [segment.rows for segment in segments]
        if self.config._attn_implementation != NAME:
            parts = zip(hidden.split(sizes, 1), segments)
            return torch.cat([self.run(layers, part, segment.cache, *segment.span) for part, segment in parts], 1)
        cache = SharedCache([segment.cache for segment in segments], sizes)
        told: dict[Kind, dict] = {}
        for layer in layers:
            if layer.kind not in told:
                own = [self._tell_segment(layer.kind, segment) for segment in segments]
                told[layer.kind] = {self.family.cache: cache, "attention_mask": tuple(one["attention_mask"] for one in own)}
                if self.learned is None:
                    tables = zip(*(one["position_embeddings"] for one in own))
                    told[layer.kind]["position_embeddings"] = tuple(torch.cat(parts, 1) for parts in tables)
            hidden = layer(hidden, **told[layer.kind])
        return hidden

    def _tell_segment(self, kind: Kind, segment: Segment) -> dict:
        cache, (start, parents), rows = segment
        facts = kind, start, rows, cache.extent(start + rows), cache.prompt
        return self.tell_tree(*facts, parents) if parents else self.tell(*facts)

    def run_rows(self, layers, hidden: Tensor, cache=None) -> Tensor:
        """Run layers over whole rows without a KV cache, as in training: hidden (B, T, D), from position 0 on -> (B, T, D). `cache`: stands
        in for the KV cache and is given the keys and values of every layer (heads/beside.py)."""
        length, fused = hidden.shape[1], self.config._attn_implementation == "sdpa"  # sdpa is causal without a mask, and then faster
        for layer in layers:
            told = self.tell(layer.kind, 0, length, length)
            if fused and (layer.kind.window or length) >= length:
                told["attention_mask"] = None
            hidden = layer(hidden, **told, **({self.family.cache: cache} if cache else {}))
        return hidden

    def see_whole_rows(self) -> None:
        """Use torch's fused attention from now on, for texts written and read in batches. Not for capped scores, because it ignores the
        cap."""
        if not getattr(self.config, "attn_logit_softcapping", None):
            self.model.set_attn_implementation("sdpa")

    def logits(self, hidden: Tensor) -> Tensor:  # (1, m, D) -> (m, V) float32
        return self.head(self.norm(hidden))

    def head(self, normed: Tensor) -> Tensor:  # (1, m, D) -> (m, V) float32
        return self.head_rows(normed)[0]

    def head_rows(self, normed: Tensor) -> Tensor:  # (B, m, D) -> (B, m, V) float32
        return self._capped(self.model.lm_head(normed))

    def rough_head(self, normed: Tensor) -> Tensor:
        """As `head`, good enough for drafts."""
        return self.head(normed) if self.rough is None else self._capped(self.rough(normed))[0]

    def _capped(self, logits: Tensor) -> Tensor:
        if self.softcap:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.to(self.device, torch.float32)

    def tell(self, kind: Kind, start: int, rows: int, extent: int, prompt: int | None = None) -> dict:
        """Arguments of the layers of a kind besides hidden states: mask and rotary tables. `prompt`: its number of tokens."""
        told: dict = {"attention_mask": self.mask(start, rows, extent, kind.window)}
        if kind.kept and prompt is not None and start + rows > prompt:  # tokens after the prompt see what generate()'s cache has kept
            read = max(0, prompt - start)  # rows that belong to the prompt
            told["attention_mask"] = torch.cat(
                [self.mask(start, read, extent, kind.window), self.mask(start + read, rows - read, extent, kind.kept)], 2
            )
        if self.learned is None:
            told["position_embeddings"] = self.rope(start, rows, kind.rope)
        return told

    def tell_tree(self, kind: Kind, start: int, rows: int, extent: int, prompt: int | None, parents: Sequence[int]) -> dict:
        """As `tell`, for the rows of a tree."""
        span = Span(start, tuple(parents))
        hidden = ~span.visible(extent, kind, prompt).to(self.device)  # (m, extent)
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, torch.finfo(self.dtype).min)
        told: dict = {"attention_mask": mask[None, None]}
        if self.learned is None:
            told["position_embeddings"] = tuple(table[:, span.positions(rows)] for table in self._ropes[kind.rope])
        return told

    def _make_ropes(self, rotary: nn.Module, names: set[str | None]) -> dict[str | None, tuple[Tensor, ...]]:
        """The rotary tables by name. Shortens the context to the positions for which they do not change."""
        probe = torch.zeros(1, 1, dtype=self.dtype, device=self.device)

        def turn(name: str | None, positions: Tensor) -> tuple[Tensor, ...]:
            return rotary(probe, positions[None].to(self.device), *([name] if name else []))

        self.context = min(steady_reach(partial(turn, name), self.context) for name in names)
        return {name: turn(name, torch.arange(self.context)) for name in names}

    def rope(self, start: int, rows: int, name: str | None = None) -> tuple[Tensor, ...]:  # (1, rows, rotary width) each
        return tuple(table[:, start : start + rows] for table in self._ropes[name])

    def rope_tables(self, name: str | None) -> tuple[Tensor, ...]:
        """The tables of all positions."""
        return self._ropes[name]

    def extend_ropes(self, more: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
        """Append to cos and sin what `more` makes of them, computed once for all positions."""
        self._ropes = {name: (*tables, *more(*tables)) for name, tables in self._ropes.items()}

    def mask(self, start: int, rows: int, extent: int, window: int | None = None) -> Tensor:
        """(1, 1, rows, extent), 0 where visible: a query sees its own position and those before it, as far as the window goes."""
        table = self._steps[window]
        if rows > len(table):
            return self._make_mask(rows, start, extent, window)[None, None]
        first = self.context - 1 - start
        return table[None, None, :rows, first : first + extent]

    def _make_mask(self, rows: int, start: int, extent: int, window: int | None) -> Tensor:  # (rows, extent)
        query, key = torch.arange(start, start + rows, device=self.device)[:, None], torch.arange(extent, device=self.device)
        hidden = key > query if window is None else (key > query) | (key <= query - window)
        return torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, torch.finfo(self.dtype).min)

    def _placed(self, hidden: Tensor, start: int, parents: Sequence[int] = ()) -> Tensor:
        """Add learned positions, where the family has them."""
        if self.learned is None:
            return hidden
        positions = Span(start, tuple(parents)).positions(hidden.shape[1])  # empty where the prompt is one token, hence the dtype below
        return hidden + self.learned(torch.tensor(positions, dtype=torch.long, device=self.device))


def neutral(asked: GenerationConfig) -> tuple[GenerationConfig, dict]:
    """The model's generation config reduced to its special tokens, so that generate() writes by the same rule as this engine (no repetition
    penalty, no beams). Also returns the other settings that were dropped, except those in DRAWING."""
    ids = {name: getattr(asked, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    plain = GenerationConfig(**ids)
    usual = plain.to_diff_dict()
    return plain, {key: value for key, value in asked.to_diff_dict().items() if key not in DRAWING and usual.get(key) != value}


def _device_of(module: nn.Module, default: torch.device) -> torch.device:
    """The device on which a module computes. accelerate's hook names it where the weights may be elsewhere."""
    hook = getattr(module, "_hf_hook", None)
    place = getattr(hook, "execution_device", None)
    if place is None:
        return next((p.device for p in module.parameters()), default)
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)

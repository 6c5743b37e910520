"""The target, cut into layer ranges that run one by one.

transformers' own modules do the work, so a split forward is the model's forward by construction. Positions and masks are made
once: a decoding step must not pay for what never changes.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .cache import SPAN, KVCache

MASK_ROWS = 16


class Target:
    """embed | layers[lo:hi] | norm + head, for Llama-type models, batch size 1."""

    def __init__(self, model: PreTrainedModel, tokenizer, name: str):
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self.config = model.config
        self.layers: nn.ModuleList = model.model.layers
        self.depth = len(self.layers)
        self.context = self.config.max_position_embeddings
        self.device, self.dtype = model.device, model.dtype
        self.vocab = self.config.vocab_size
        ends = model.generation_config.eos_token_id
        self.end_ids = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
        positions = torch.arange(self.context, device=self.device)[None]
        probe = torch.zeros(1, 1, dtype=self.dtype, device=self.device)
        self._cos, self._sin = model.model.rotary_emb(probe, positions)  # (1, context, head_dim)
        # Masks of short passes are windows of one table.
        self._steps = self._steps_mask(MASK_ROWS, self.context - 1, self.context + MASK_ROWS + SPAN)
        self._pieces: dict[int, str] = {}

    def new_cache(self, capacity: int, layers: int | None = None) -> KVCache:
        """For `capacity` positions; `layers` defaults to all of the target's."""
        config = self.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = config.num_key_value_heads
        return KVCache(layers or self.depth, heads, capacity, head_dim, self.dtype, self.device)

    def embed(self, ids: list[int]) -> Tensor:  # (1, m, D)
        return self.model.model.embed_tokens(torch.tensor([ids], dtype=torch.long, device=self.device))

    def run(self, layers, hidden: Tensor, cache: KVCache, start: int) -> Tensor:
        """Run decoder layers over the m tokens at positions start .. start + m - 1. hidden (1, m, D) -> (1, m, D)."""
        rows = hidden.shape[1]
        rope = self.rope(start, rows)
        mask = self._mask(start, rows, cache.extent(start + rows))
        for layer in layers:
            hidden = layer(hidden, attention_mask=mask, past_key_values=cache, position_embeddings=rope)
        return hidden

    def run_range(self, low: int, high: int, hidden: Tensor, cache: KVCache, start: int) -> Tensor:
        return self.run(self.layers[low:high], hidden, cache, start)

    def logits(self, hidden: Tensor) -> Tensor:  # (1, m, D) -> (m, V) float32
        return self.head(self.model.model.norm(hidden))

    def head(self, normed: Tensor) -> Tensor:  # (1, m, D) -> (m, V) float32
        return self.model.lm_head(normed)[0].float()

    def rope(self, start: int, rows: int) -> tuple[Tensor, Tensor]:  # (1, rows, head_dim) each
        return self._cos[:, start : start + rows], self._sin[:, start : start + rows]

    def _mask(self, start: int, rows: int, extent: int) -> Tensor:
        """(1, 1, rows, extent), 0 where visible: a query sees its own position and all before it."""
        if rows > len(self._steps):
            return self._steps_mask(rows, start, extent)[None, None]
        first = self.context - 1 - start
        return self._steps[None, None, :rows, first : first + extent]

    def _steps_mask(self, rows: int, start: int, extent: int) -> Tensor:  # (rows, extent)
        query = torch.arange(start, start + rows, device=self.device)[:, None]
        hidden = torch.arange(extent, device=self.device) > query
        return torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, torch.finfo(self.dtype).min)

    def piece(self, id: int) -> str:
        """The text of one token alone, for display; an unfinished UTF-8 character shows as U+FFFD."""
        if id not in self._pieces:
            self._pieces[id] = self.tokenizer.decode([id])
        return self._pieces[id]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the BOS token where the tokenizer wants one; names of special tokens in the text are text."""
        return self.tokenizer(text, split_special_tokens=True)["input_ids"]

    def encode_turn(self, text: str) -> list[int]:
        """Token ids of a request and the opening of its reply, as the model's chat template writes them. What the text holds is text."""
        between = "\uffff"  # no text: stands for the request while the template is written around it
        message = [{"role": "user", "content": between}]
        before, after = self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True).split(between)
        plain = {"add_special_tokens": False}
        ids = (self.tokenizer(before, **plain), self.tokenizer(text, split_special_tokens=True, **plain), self.tokenizer(after, **plain))
        return [id for part in ids for id in part["input_ids"]]

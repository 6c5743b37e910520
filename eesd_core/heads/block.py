"""The block head: SpecDiff's one-shot masked diffusion (arXiv 2408.05636), in the form that block drafters have since 2026.

A round's places are one block, [pending token, mask, mask, ...], and one pass of one decoder layer says all of their tokens at once. The
target's states of the verified text, from a few depths, are brought together by one matrix and stand in front of the block as keys and
values (DFlash, arXiv 2602.06036). Said at once, places do not know what was chosen before them; so the token before each changes its state
by a map of low rank, while tokens are chosen from left to right (DSpark, arXiv 2607.05147, which adds that to the logits).

Ours: the verified rows are rows of the layer as any others, so it is an ordinary decoder layer with an ordinary cache; there is a mask for
every place, and the last verified row and the pending token are added to it, since a mask alone knows nothing to ask with; a place sees
those before it in the block and itself, not those behind, which with one layer are masks that know no more than it does, so a block of any
length is the beginning of a longer one; and the change by the token before depends on the place's own state too. DSpark's confidence head
is left out: controllers are told how sure the law is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from ..errors import UserError
from ..limits import MAX_DRAFT
from ..model.families import PLAIN
from ..model.target import Target
from .beside import Memory
from .copies import copied_norm, empty_layer, layer_weights
from .trained import TrainedHead, check_taps, even, linear, own_keys, places_of, verified_keys

MOST_RANK = 64


class BlockHead(TrainedHead):
    kind = "block"

    def __init__(
        self, target: Target, weights: dict[str, Tensor] | None = None, taps: Sequence[int] = (), longest: int = 6, rank: int = MOST_RANK
    ):  # fmt: skip
        """`taps`: depths of the states that make a verified row (default: a third, three quarters and all of the target's layers);
        `longest`: places of a block; `rank`: of the change by the token before. Without weights the layer is a copy of the target's last
        one, a verified row is the deepest tap's state, and the rest is small and random. Raises UserError for settings that do not fit."""
        third = max(1, target.depth // 3)
        taps = check_taps(target, taps or sorted({third, max(third, target.depth * 3 // 4), target.depth}), self.kind)
        if not 1 <= longest <= MAX_DRAFT or not 1 <= rank <= MOST_RANK:
            raise UserError(f"a block head has 1 to {MAX_DRAFT} places and a rank of 1 to {MOST_RANK}, not {longest} and {rank}")
        super().__init__(target, taps=taps, longest=longest, rank=rank)
        self.taps, self.longest = taps, longest
        source, width = target.layers[-1], target.config.hidden_size
        kind = {"dtype": target.dtype, "device": target.device}
        self.context = linear(target, len(taps) * width, width)
        self.gain = nn.Parameter(torch.ones(width, **kind))  # of tokens
        self.masks = nn.Parameter(torch.empty(longest, width, **kind))  # one a place
        self.layers = nn.ModuleList([empty_layer(target, source, 0)])
        self.norm = copied_norm(target)
        self.by_state, self.by_token = linear(target, width, rank), linear(target, width, rank)
        self.change = nn.Parameter(torch.empty(rank, width, **kind))
        self._reach: Tensor | None = None
        if weights is None:
            weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items() if not name.startswith("layers.")}
            weights |= {f"layers.0.{name}": tensor for name, tensor in layer_weights(target, source).items()}
            weights["context.weight"] = nn.functional.pad(torch.eye(width, **kind), ((len(taps) - 1) * width, 0))
            random, scale = torch.Generator().manual_seed(0), {"masks": 0.1, "change": 0.1}
            for name in ("masks", "change", "by_state.weight", "by_token.weight"):
                drawn = torch.randn(weights[name].shape, generator=random) * scale.get(name, 1.0) * width**-0.5
                weights[name] = drawn.to(target.device)
        self.begin(target, weights)

    def verified(self, states: Sequence[Tensor]) -> Tensor:
        """Rows of verified positions, from the target's states at every tap: (B, n, D) each -> (B, n, D)."""
        return self.context(torch.cat([even(part) for part in states], -1))

    def read(self, embedded: Tensor) -> Tensor:
        """A token as the head reads it, (..., D) -> (..., D)."""
        return nn.functional.rms_norm(embedded, embedded.shape[-1:], self.gain.to(embedded.dtype))

    def block(self, token: Tensor, last: Tensor, places: int) -> Tensor:
        """The rows of a block, (1, k, D). token (1, 1, D): the pending one, as `read` gives it; last (1, 1, D): the last verified row."""
        return last + token + self.masks[:places].to(last.dtype)

    def factors(self, by_state: Tensor, tokens: Tensor) -> Tensor:
        """Of the change's rows, when the token before is known. by_state (..., r): of the place's state; tokens (..., D) -> (..., r)."""
        return nn.functional.silu(by_state + self.by_token(tokens))

    def reach(self, target: Target) -> Tensor:
        """What every row of the change adds to the logits, (r, V) or (r, S) float32. For drafting, when weights no longer change."""
        if self._reach is None:
            self._reach = self.at_once(target, self.change[None].to(self.norm(self.change[None].to(target.stream)).dtype))
        return self._reach

    def at_once(self, target: Target, normed: Tensor) -> Tensor:
        """Logits of several places, (1, k, D) -> (k, V) float32, or over the shortlist alone."""
        return target.head(normed) if self.shortlist is None else self.shortlist(normed)[0]

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        tokens = target.embed_rows(ids)
        verified = self.verified([states[tap].to(tokens.dtype) for tap in self.taps])  # (B, T, D)
        tokens, place = self.read(tokens), places_of(start) - start  # (B, T), within the block
        at = start[..., None].expand_as(tokens)
        last = nn.functional.pad(verified, (0, 0, 1, 0)).gather(1, at)  # before position 0 there is none
        block = last + tokens.gather(1, at) + self.masks[place.clamp(max=self.longest - 1)]  # nothing is drafted further on
        near = self.layers[0].kind.window or ids.shape[1]  # how far a row sees
        seen = torch.cat([verified_keys(start), own_keys(start)], -1)
        seen &= (places_of(start)[:, None] - places_of(start) < near).repeat(1, 2)  # (B, T, 2 T)
        through = self._by_parts if target.config.model_type in PLAIN else self._by_layer
        hidden = self.norm(through(target, verified, block, seen))
        return hidden + self.factors(self.by_state(hidden), tokens) @ self.change

    def _by_layer(self, target: Target, verified: Tensor, block: Tensor, seen: Tensor) -> Tensor:
        """The block's rows, (B, T, D), which see the verified ones and their own as `seen` says."""
        (layer,), length, memory = self.layers, block.shape[1], Memory()
        mask = torch.zeros(seen.shape, dtype=block.dtype, device=block.device).masked_fill_(~seen, torch.finfo(block.dtype).min)[:, None]
        told = {target.family.cache: memory}
        if target.learned is None:
            told["position_embeddings"] = target.rope(0, length, layer.kind.rope)
        layer(verified, **told, attention_mask=mask[..., :length])  # for keys and values alone
        return layer(block, **told, attention_mask=mask)

    def _by_parts(self, target: Target, verified: Tensor, block: Tensor, seen: Tensor) -> Tensor:
        """The same where the layer's parts are known: what verified rows come to is computed for nobody."""
        (layer,), length = self.layers, block.shape[1]
        attention, normed = layer.self_attn, layer.input_layernorm(torch.cat([verified, block], 1))

        def heads(rows: Tensor) -> Tensor:  # (B, n, H d) -> (B, H, n, d)
            return rows.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

        queries = heads(attention.q_proj(normed[:, length:]))
        keys, values = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))
        cos, sin = target.rope(0, length, layer.kind.rope)[:2]  # (1, T, d)
        queries, _ = apply_rotary_pos_emb(queries, queries, cos, sin)
        keys, _ = apply_rotary_pos_emb(keys, keys, cos.repeat(1, 2, 1), sin.repeat(1, 2, 1))
        how = {"attn_mask": seen[:, None], "scale": attention.scaling, "enable_gqa": True}
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, **how)
        hidden = block + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))

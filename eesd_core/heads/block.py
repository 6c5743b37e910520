"""The block head: SpecDiff's one-shot masked diffusion (arXiv 2408.05636), in the form of the block drafters of 2026.

A round's places form one block, [pending token, mask, mask, ...], and one pass of one decoder layer predicts all of their tokens at once.
One matrix combines the target's states of the verified text from a few depths; keys and values in front of the block are made of the
results (DFlash, arXiv 2602.06036). Predicted at once, the places do not know which tokens were chosen before them. So tokens are chosen
from left to right, and the previous token changes each place's state by a low-rank map (DSpark, arXiv 2607.05147, adds it to the logits).

Ours: the row of a position is made of its token and the target's states of the position before, as in the feature head. The block begins
with the pending token's row, and its further places repeat that row with mask vectors of their own, because a mask alone carries no
information for a query. So the layer is an ordinary decoder layer with an ordinary cache, and the first place's row is kept. A place sees
itself and earlier places of the block but not later ones: with one layer those are masks that know nothing more, and so a short block
equals the beginning of a longer one. The correction by the previous token also depends on the place's own state. DSpark's confidence head
is left out, because controllers already see the confidence of the distribution.
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
from .copies import copied_norm, empty_layer, layer_weights, mlp_width
from .trained import TrainedHead, check_taps, even, linear, own_keys, places_of, random_maps, rows_at, verified_keys

MOST_RANK = 64


class BlockHead(TrainedHead):
    kind = "block"

    def __init__(
        self, target: Target, weights: dict[str, Tensor] | None = None, taps: Sequence[int] = (), longest: int = 6, rank: int = MOST_RANK,
        mlp: int = 0,
    ):  # fmt: skip
        """`taps`: depths of the states that make a verified position's context (default: a third, three quarters and all of the target's
        layers). `longest`: places of a block. `rank`: of the correction by the previous token. `mlp`: width of its MLP (default: as in the
        target). Without weights the layer is a copy of the target's middle one, and the rest is random. Raises UserError for invalid
        settings."""
        third = max(1, target.depth // 3)
        taps = check_taps(target, taps or sorted({third, max(third, target.depth * 3 // 4), target.depth}), self.kind)
        if not 1 <= longest <= MAX_DRAFT or not 1 <= rank <= MOST_RANK:
            raise UserError(f"a block head has 1 to {MAX_DRAFT} places and a rank of 1 to {MOST_RANK}, not {longest} and {rank}")
        source, width = target.layers[target.depth // 2], target.config.hidden_size
        mlp = mlp and mlp_width(target, source, mlp)
        super().__init__(target, taps=taps, longest=longest, rank=rank, mlp=mlp)
        self.taps, self.longest = taps, longest
        kind = {"dtype": target.dtype, "device": target.device}
        self.context = linear(target, len(taps) * width, width)
        self.gain = nn.Parameter(torch.ones(width, **kind))  # of the norm on token embeddings
        self.enter = linear(target, width, width)
        self.masks = nn.Parameter(torch.empty(longest, width, **kind))  # one per place
        self.layers = nn.ModuleList([empty_layer(target, source, 0, mlp)])
        self.norm = copied_norm(target)
        self.by_state, self.by_token = linear(target, width, rank), linear(target, width, rank)
        self.change = nn.Parameter(torch.empty(rank, width, **kind))
        self._reach: Tensor | None = None
        if weights is None:
            weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items() if not name.startswith("layers.")}
            weights |= {f"layers.0.{name}": tensor for name, tensor in layer_weights(target, source, mlp).items()}
            weights |= random_maps(self)
            random, scale = torch.Generator().manual_seed(0), {"masks": 0.1, "change": 0.1}
            for name in ("masks", "change", "by_state.weight", "by_token.weight"):
                drawn = torch.randn(weights[name].shape, generator=random) * scale.get(name, 1.0) * width**-0.5
                weights[name] = drawn.to(target.device)
        self.begin(target, weights)

    def verified(self, states: Sequence[Tensor]) -> Tensor:
        """The contexts of verified positions, from the target's states at every tap: (B, n, D) each -> (B, n, D)."""
        return self.context(torch.cat([even(part) for part in states], -1))

    def read(self, embedded: Tensor) -> Tensor:
        """A token's embedding as the head reads it: (..., D) -> (..., D)."""
        return nn.functional.rms_norm(embedded, embedded.shape[-1:], self.gain.to(embedded.dtype))

    def block(self, tokens: Tensor, contexts: Tensor, places: int) -> Tensor:
        """The rows of positions up to the pending token, and behind them those of a block's further places. tokens (1, n, D): after
        `read`; contexts (1, n, D): of the positions before -> (1, n - 1 + k, D)."""
        rows, masks = contexts + self.enter(tokens), self.masks.to(contexts.dtype)
        return torch.cat([rows + masks[0], rows[:, -1:] + masks[1:places]], 1)

    def factors(self, by_state: Tensor, tokens: Tensor) -> Tensor:
        """Weights of the rows of `change`, given the previous token. by_state (..., r): `self.by_state` of the place's state; tokens
        (..., D): previous tokens after `read` -> (..., r)."""
        return nn.functional.silu(by_state + self.by_token(tokens))

    def reach(self, target: Target) -> Tensor:
        """What each row of `change` adds to the logits, (r, V) or (r, S) float32. Computed once, so only for drafting with fixed
        weights."""
        if self._reach is None:
            self._reach = self.at_once(target, self.change[None].to(self.norm(self.change[None].to(target.stream)).dtype))
        return self._reach

    def at_once(self, target: Target, normed: Tensor) -> Tensor:
        """Logits of several places: (1, k, D) -> (k, V) float32, or (k, S) over the shortlist."""
        return target.rough_head(normed) if self.shortlist is None else self.shortlist(normed)[0]

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        tokens, place = target.embed_rows(ids), places_of(start) - start  # place (B, T): number within the block
        contexts = nn.functional.pad(self.verified([states[tap].to(tokens.dtype) for tap in self.taps]), (0, 0, 1, 0))[:, :-1]
        tokens = self.read(tokens)
        rows = contexts + self.enter(tokens)  # (B, T, D)
        verified, block = rows + self.masks[0], rows_at(rows, start) + self.masks[place.clamp(max=self.longest - 1)]
        near = self.layers[0].kind.window or ids.shape[1]  # attention window
        seen = torch.cat([verified_keys(start), own_keys(start)], -1)
        seen &= (places_of(start)[:, None] - places_of(start) < near).repeat(1, 2)  # (B, T, 2 T)
        through = self._by_parts if target.config.model_type in PLAIN else self._by_layer
        hidden = self.norm(through(target, verified, block, seen))
        return hidden + self.factors(self.by_state(hidden), tokens) @ self.change

    def _by_layer(self, target: Target, verified: Tensor, block: Tensor, seen: Tensor) -> Tensor:
        """Runs the layer through its own forward. verified, block (B, T, D); seen (B, T, 2 T): which verified and block rows each block row
        sees -> the block's rows, (B, T, D)."""
        (layer,), length, memory = self.layers, block.shape[1], Memory()
        mask = torch.zeros(seen.shape, dtype=block.dtype, device=block.device).masked_fill_(~seen, torch.finfo(block.dtype).min)[:, None]
        told = {target.family.cache: memory}
        if target.learned is None:
            told["position_embeddings"] = target.rope(0, length, layer.kind.rope)
        layer(verified, **told, attention_mask=mask[..., :length])  # only its keys and values are used
        return layer(block, **told, attention_mask=mask)

    def _by_parts(self, target: Target, verified: Tensor, block: Tensor, seen: Tensor) -> Tensor:
        """Same result for layers whose parts are known; it saves computing outputs for the verified rows, which nobody needs."""
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

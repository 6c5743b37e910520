"""The feature head: a drafter of the EAGLE-3 type (arXiv 2503.01840). `gated` adds ideas of FSPAD (arXiv 2408.15562).

A row reads a token's embedding and the feature of the position before. For a verified position the feature is a linear map of the target's
states at three depths; for a draft it is the head's own output. A mix of both passes one decoder layer of the target's kind, with an MLP of
half the width. The output is the next feature and, after a norm, the frozen LM head's input. As in EAGLE-3 the loss is on the logits only,
and training feeds the head's own outputs back as drafting does.

FSPAD's code is not public. Its abstract says that the embedding samples the feature in a wider space, and that features and logits are
separated. `gated` does both in our form: the feature is mapped to twice the width, multiplied there by a gate computed from the embedding,
and mapped back; and the fed-back feature is a linear map of the output, while logits come from the output itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..limits import MAX_DRAFT
from ..model.cache import KVCache
from ..model.target import Target
from .beside import Memory
from .copies import copied_norm, empty_layer, layer_weights, mlp_width
from .trained import TrainedHead, check_taps, even, linear, places_of, random_maps, rows_at

WIDE = 2  # width of a gated feature / the model's width


class FeatureHead(TrainedHead):
    kind = "feature"

    def __init__(
        self, target: Target, weights: dict[str, Tensor] | None = None, taps: Sequence[int] = (), mlp: int = 0, longest: int = 6,
        gated: int = 0,
    ):  # fmt: skip
        """`taps`: depths of the states that make a verified position's feature (default: a third, three quarters and all of the target's
        layers). `mlp`: width of its MLP (default: half of the target's, if possible). `longest`: drafts per round in training. Raises
        UserError for depths that the target does not have and for other invalid settings."""
        third = max(1, target.depth // 3)
        taps = check_taps(target, taps or sorted({third, max(third, target.depth * 3 // 4), target.depth}), self.kind)
        width, source = target.config.hidden_size, target.layers[target.depth // 2]
        mlp = mlp_width(target, source, mlp)
        if not 1 <= longest <= MAX_DRAFT:
            raise UserError(f"a feature head is trained for rounds of 1 to {MAX_DRAFT} drafts, not {longest}")
        super().__init__(target, taps=taps, mlp=mlp, longest=longest, gated=gated)
        self.taps, self.longest = taps, longest
        self.project = linear(target, len(taps) * width, width)
        if gated:
            self.up, self.gate = linear(target, width, WIDE * width), linear(target, width, WIDE * width)
            self.down, self.branch = linear(target, WIDE * width, width), linear(target, width, width)
        else:
            self.mix = linear(target, 2 * width, width)
        self.gated = bool(gated)
        self.layers = nn.ModuleList([empty_layer(target, source, 0, mlp)])
        self.norm = copied_norm(target)
        if weights is None:
            weights = {n: t.detach().clone() for n, t in self.state_dict().items() if not n.startswith("layers.")}
            weights |= {f"layers.0.{name}": tensor for name, tensor in layer_weights(target, source, mlp).items()}
            weights |= random_maps(self)
        self.begin(target, weights)

    def feature(self, states: Sequence[Tensor]) -> Tensor:
        """The features of verified positions, from their states at every tap: (B, m, D) each -> (B, m, D)."""
        return self.project(torch.cat([even(part) for part in states], -1))

    def entry(self, embedded: Tensor, feature: Tensor) -> Tensor:
        """The decoder layer's input, from a token's embedding and the feature before it: (B, m, D) each -> (B, m, D)."""
        if not self.gated:
            return self.mix(torch.cat([even(embedded), even(feature)], -1))
        return self.down(nn.functional.silu(self.gate(even(embedded))) * self.up(even(feature)))

    def fed_back(self, hidden: Tensor) -> Tensor:
        """The feature of a drafted position, from the layer's output there: (B, m, D) -> (B, m, D)."""
        return self.branch(even(hidden)) if self.gated else hidden

    def run(self, target: Target, embedded: Tensor, feature: Tensor, cache: KVCache, start: int) -> Tensor:
        """Runs the layer over positions start .. of one text: (1, m, D) each -> (1, m, D)."""
        return target.run(self.layers, self.entry(embedded, feature), cache, start)

    def rows_hidden(self, target: Target, ids: Tensor, states: dict[int, Tensor], start: Tensor) -> Tensor:
        """All rounds of a text in parallel. First every place is run as a pending token; a round sees these keys and values up to its own
        pending token. Then the second places of all rounds are run with the features that the first ones gave, then the third, and so on.
        Arguments as in TrainedHead."""
        embedded, (batch, length) = target.embed_rows(ids), ids.shape
        layer, memory, places = self.layers[0], Memory(), places_of(start).expand(batch, -1)
        before = nn.functional.pad(self.feature([states[tap].to(embedded.dtype) for tap in self.taps]), (0, 0, 1, 0))[:, :-1]

        def through(entry: Tensor, at: Tensor, seen: Tensor) -> Tensor:
            """Runs the layer on rows at places `at` (B, n). seen (B, n, keys): which of the keys so far each row sees. (B, n, D) ->
            same."""
            mask = torch.zeros(seen.shape, dtype=target.dtype, device=seen.device).masked_fill_(~seen, torch.finfo(target.dtype).min)
            told = {target.family.cache: memory, "attention_mask": mask[:, None]}
            if target.learned is None:
                told["position_embeddings"] = tuple(table[0][at] for table in target.rope_tables(layer.kind.rope))
            return layer(entry, **told)

        near = layer.kind.window or length  # attention window
        seen = (places[:, None] <= places[:, :, None]) & (places[:, None] > places[:, :, None] - near)
        out = nn.functional.pad(through(self.entry(embedded, before), places, seen), (0, 0, 0, 1))  # (B, T + 1, D): row T is a dummy
        embedded, drafted = nn.functional.pad(embedded, (0, 0, 0, 1)), places[:, :0]  # drafted: places run so far as drafts
        depth, rounds = nn.functional.pad(places - start, (0, 1)), nn.functional.pad(start, (0, 1))  # (B, T + 1)
        for number in range(1, self.longest):
            chosen = depth == number
            count = int(chosen.sum(-1).amax())
            if not count:
                break
            at = chosen.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices[:, :count]  # (B, n): chosen ones first
            at = at.where(chosen.gather(1, at), length)
            begun, shown = rounds.gather(1, at), at.where(at < length, 0)
            feature = self.fed_back(rows_at(out, (at - 1).clamp(min=0)))
            old = (places[:, None] <= begun[:, :, None]) & (places[:, None] > shown[:, :, None] - near)
            drafted = torch.cat([drafted, at], 1)
            keys = drafted[:, None]  # (B, 1, keys)
            own = (rounds.gather(1, drafted)[:, None] == begun[:, :, None]) & (keys <= at[:, :, None]) & (keys < length)
            own &= keys > shown[:, :, None] - near
            made = through(self.entry(rows_at(embedded, at), feature), shown, torch.cat([old, own], -1))
            out = out.scatter(1, at[..., None].expand_as(made), made)
        return self.norm(out[:, :-1])

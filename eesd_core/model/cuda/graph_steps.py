"""The steps of a round with all their state on the device. Nothing is copied to the host before the round is over, so every step can be
recorded once as a CUDA graph and replayed without Python. Tests compare these steps with the engine's own, the reference.

Positions are tensors here. A pass reads a fixed reach of the cache, one of a few sizes, and masks the rest; verify passes are padded to one
of a few sizes. Padding is computed and thrown away, which costs little as long as reading the weights dominates.
So far this has run on a CPU only, without graphs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...limits import MAX_ROWS
from ...sampling import Sampling, gumbel_noise, processed_log_probs
from ..cache import KVCache
from ..layer_facts import Kind
from ..target import Target

VERIFY_ROWS = (1, 2, 3, 5, 9, MAX_ROWS)
SHORTEST_REACH = 256  # positions; each longer reach is twice the one before


class StaticCache(KVCache):
    """Rolls back by length like its parent, but the caller sets where a pass writes and how far it reads."""

    positions: Tensor  # (m,) int64, of the current pass
    reach: int

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        """(1, heads, m, head_dim) -> views of the layer's keys and values, (1, heads, reach, head_dim)."""
        self.keys[layer].index_copy_(3, self.positions, keys.transpose(2, 3))
        self.values[layer].index_copy_(2, self.positions, values)
        return self.keys[layer][:, :, :, : self.reach].transpose(2, 3), self.values[layer][:, :, : self.reach]


class Recorder:
    """Calls functions that read and write fixed buffers; on CUDA each is recorded at its first call and replayed from then on."""

    def __init__(self, buffers: list[Tensor], graphs: bool):
        """`buffers` are restored after the warm-up runs that recording needs."""
        self.buffers, self.graphs, self.note = buffers, graphs, ""
        self._recorded: dict = {}

    def __call__(self, key, function: Callable[[], None]) -> None:
        if not self.graphs:
            return function()
        if key not in self._recorded:
            try:
                self._recorded[key] = self._record(function)
            except RuntimeError as problem:
                self.graphs, self.note = False, f"CUDA graphs are refused here ({str(problem).splitlines()[0][:120]}): running without"
                return function()
        self._recorded[key]()

    def _record(self, function: Callable[[], None]) -> Callable[[], None]:
        before = [buffer.clone() for buffer in self.buffers]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(2):
                    function()
            torch.cuda.current_stream().wait_stream(side)
        finally:
            for buffer, old in zip(self.buffers, before):
                buffer.copy_(old)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        return graph.replay


class DeviceSteps:
    """Drafting, verification and plain steps for one text, greedy or with shared noise, batch size 1."""

    def __init__(self, target: Target, exit_layer: nn.Module | None, capacity: int, sampling: Sampling, graphs: bool | None = None):
        """`capacity`: positions of prompt and text. `graphs`: None means on CUDA, where the model is on one device."""
        device = target.device
        self.target, self.exit_layer, self.sampling = target, exit_layer, sampling
        self.split = exit_layer.exit_after if exit_layer else 0
        self.layers = list(target.layers)
        if any(layer.kind.kept for layer in self.layers):
            raise UserError(f"{target.name} has a sliding window that only generate()'s cache obeys, which is not timed here")
        self.reaches = [SHORTEST_REACH]
        while self.reaches[-1] < capacity + MAX_ROWS:
            self.reaches.append(2 * self.reaches[-1])
        shape = target.kv_heads, self.reaches[-1], target.head_width, target.dtype
        self.cache = StaticCache([device] * target.depth, *shape)
        self.exit_cache = StaticCache([device] * (len(exit_layer.layers) if exit_layer else 1), target.kv_heads * target.shards, *shape[1:])
        self.tokens = torch.zeros(self.reaches[-1] + 1, dtype=torch.long, device=device)  # prompt, text, drafts
        self.states = torch.zeros(1, self.reaches[-1], target.config.hidden_size, dtype=target.dtype, device=device)
        self.at, self.place, self.drafted = (torch.zeros(1, dtype=torch.long, device=device) for _ in range(3))
        self.result = torch.zeros(MAX_ROWS + 1, dtype=torch.long, device=device)  # number accepted, then the target's choices
        self.ids, self.rows = torch.arange(target.vocab, device=device), torch.arange(MAX_ROWS, device=device)
        self.keys = torch.arange(self.reaches[-1], device=device)
        one_device = not hasattr(target.model, "hf_device_map") or len(set(target.model.hf_device_map.values())) == 1
        use = device.type == "cuda" and one_device and target.shards == 1 if graphs is None else graphs
        self.recorder = Recorder([self.tokens, self.at, self.place, self.drafted, self.result], use)

    @torch.inference_mode()
    def begin(self, ids: list[int]) -> None:
        """Read the prompt; its last token is pending, as in the engine."""
        self.tokens[: len(ids)] = torch.tensor(ids, device=self.tokens.device)
        self.at.fill_(len(ids) - 1)
        self.start = len(ids) - 1
        if self.start:
            positions, reach = self.keys[: self.start], self._reach(0)
            hidden = self._run(self.layers[: self.split], self._embed(positions), positions, reach, self.cache)
            self.states[:, : self.start] = hidden
            if self.split:
                self._exit(hidden, positions, reach)
            self._run(self.layers[self.split :], hidden, positions, reach, self.cache)

    @torch.inference_mode()
    def round(self, drafts: int) -> tuple[int, list[int]]:
        """Draft `drafts` tokens and verify them. Returns how many were accepted, and the target's choices at all places: the round's only
        copy to the host. The text continues with choices[: accepted + 1]."""
        if not self.split:
            reach = self._reach(1)
            self.recorder(("plain", reach), lambda: self._plain(reach))
            accepted, *choices = self.result[:2].tolist()
        else:
            reach = self._reach(drafts + 2)
            self.place.copy_(self.at)
            for _ in range(drafts):
                self.recorder(("draft", reach), lambda: self._draft(reach))
            last = self._shallow if drafts else self._draft  # without drafts only to show the exit layer the pending token
            self.recorder(("shallow" if drafts else "draft", reach), lambda: last(reach))
            rows = next(size for size in VERIFY_ROWS if size > drafts)
            self.drafted.fill_(drafts)
            reach = self._reach(rows)
            self.recorder(("verify", rows, reach), lambda: self._verify(rows, reach))
            accepted, *choices = self.result[: drafts + 2].tolist()
        self.start += accepted + 1
        return accepted, choices

    def _plain(self, reach: int) -> None:
        hidden = self._run(self.layers, self._embed(self.at), self.at, reach, self.cache)
        self._judge(self.target.logits(hidden), 1)

    def _draft(self, reach: int) -> None:
        """One draft token after `place`. The exit layer runs over two places, because after a fully accepted draft it has not yet seen the
        last draft's state."""
        self._shallow(reach)
        pair = torch.cat([(self.place - 1).clamp(min=0), self.place])
        logits = self._exit(self.states[:, pair], pair, reach)
        following = self.place + 1
        self.tokens.index_copy_(0, following, self._scores(logits, following).argmax(-1))
        self.place.add_(1)

    def _shallow(self, reach: int) -> None:
        hidden = self._run(self.layers[: self.split], self._embed(self.place), self.place, reach, self.cache)
        self.states.index_copy_(1, self.place, hidden)

    def _verify(self, rows: int, reach: int) -> None:
        positions = self.at + self.rows[:rows]
        hidden = self._run(self.layers[self.split :], self.states[:, positions], positions, reach, self.cache)
        self._judge(self.target.logits(hidden), rows)

    def _judge(self, logits: Tensor, rows: int) -> None:
        """Accept the longest prefix of the drafts that equals the target's choices, and append the target's token after it."""
        places = self.at + 1 + self.rows[:rows]
        choices = self._scores(logits, places).argmax(-1)
        right = (choices == self.tokens[places]) & (self.rows[:rows] < self.drafted)
        accepted = right.long().cumprod(0).sum(0, keepdim=True)
        self.result[:1], self.result[1 : rows + 1] = accepted, choices
        self.tokens.index_copy_(0, self.at + 1 + accepted, choices[accepted])
        self.at.add_(accepted + 1)

    def _scores(self, logits: Tensor, places: Tensor) -> Tensor:
        """As Sampler.scores: logits (m, V) for tokens at places (m,) -> (m, V)."""
        if not self.sampling.temperature:
            return logits
        return processed_log_probs(logits, self.sampling) + gumbel_noise(self.sampling.seed, places[:, None], self.ids)

    def _exit(self, states: Tensor, positions: Tensor, reach: int) -> Tensor:
        """States (1, m, D) -> draft logits after the last one, (1, V)."""
        head = self.exit_layer
        hidden = self._run(head.layers, states, positions, reach, self.exit_cache)
        return self.target.head(head.norm(hidden[:, -1:]))  # all rows: a GPU reads them fast, and a shortlist changes its length

    def _embed(self, positions: Tensor) -> Tensor:
        hidden = self.target.embedding(self.tokens[positions])[None]
        return hidden if self.target.learned is None else hidden + self.target.learned(positions)

    def _run(self, layers, hidden: Tensor, positions: Tensor, reach: int, cache: StaticCache) -> Tensor:
        cache.positions, cache.reach = positions, reach
        told: dict[Kind, dict] = {}
        for layer in layers:
            if layer.kind not in told:
                told[layer.kind] = {self.target.family.cache: cache} | self._tell(layer.kind, positions, reach)
            hidden = layer(hidden, **told[layer.kind])
        return hidden

    def _tell(self, kind: Kind, positions: Tensor, reach: int) -> dict:
        """As Target.tell, with positions as tensors."""
        key, query = self.keys[:reach], positions[:, None]
        hidden = key > query if kind.window is None else (key > query) | (key <= query - kind.window)
        mask = torch.zeros(hidden.shape, dtype=self.target.dtype, device=key.device)
        told: dict = {"attention_mask": mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)[None, None]}
        if self.target.learned is None:
            known = positions.clamp(max=self.target.context - 1)  # padding may lie beyond the context
            told["position_embeddings"] = tuple(table.index_select(1, known) for table in self.target.rope_tables(kind.rope))
        return told

    def _reach(self, rows: int) -> int:
        return next(reach for reach in self.reaches if reach >= self.start + rows)

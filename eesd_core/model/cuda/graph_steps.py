"""The steps of a round with all their state on the device. Nothing is copied to the host before the round is over, so every step can be
recorded once as a CUDA graph and replayed without Python. Tests compare these steps with the engine's own, the reference.

Positions are tensors here. A pass reads a fixed reach of the cache, one of a few sizes, and masks the rest; verify passes are padded to one
of a few sizes. Padding is computed and thrown away, which costs little as long as reading the weights dominates.
So far this has run on a CPU only, without graphs (`python -m tools.gpu_check` runs it on a GPU).
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...candidates import MOST
from ...errors import UserError
from ...limits import MAX_ROWS
from ...sampling import Ranked, Sampling, best_of, gumbel_noise, processed_log_probs
from ..cache import KVCache
from ..layer_facts import Kind
from ..target import Target

VERIFY_ROWS = (1, 2, 3, 5, 9, MAX_ROWS)
SHORTEST_REACH = 256  # positions; each longer reach is twice the one before

Part = tuple[tuple, Callable[[], None]]  # a step of a round: its key for the recorder, and the function


def unfit(target: Target) -> str:
    """Why the rounds of this model cannot stay on the device; "": they can."""
    if any(layer.kind.kept for layer in target.layers):
        return "the model has a sliding window that only generate()'s cache obeys"
    if target.shards > 1 or len(set(getattr(target.model, "hf_device_map", {}).values())) > 1:
        return "the model is spread over several devices"
    return ""


class Guess(NamedTuple):
    """A draft, and what the exit layer says of it."""

    id: float  # a whole number, which float64 holds exactly
    probability: float
    confidence: float  # its largest probability
    entropy: float  # in nats
    lead: float  # of the draft's score over the runner-up's


class Report(NamedTuple):
    """A round, as far as the host is told."""

    found: Ranked  # the target's best tokens in every row of the pass, asked about the draft behind it; without confidence and entropy
    guesses: list[Guess]
    draft_seconds: float  # of the device's work


def moment(device: torch.device) -> "float | torch.cuda.Event":
    """Marks this moment of the device's work."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(one: "float | torch.cuda.Event", other: "float | torch.cuda.Event") -> float:
    """Seconds between two moments. On CUDA the host must have waited for the later one."""
    return other - one if isinstance(one, float) else one.elapsed_time(other) / 1e3


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
        self.prepare(key, function)
        (self._recorded[key] if self.graphs else function)()

    def prepare(self, key, function: Callable[[], None]) -> None:
        """Record the function, unless that is done."""
        if self.graphs and key not in self._recorded:
            try:
                self._recorded[key] = self._record(function)
            except RuntimeError as problem:
                self.graphs, self.note = False, f"CUDA graphs are refused here ({str(problem).splitlines()[0][:120]})"

    def _record(self, function: Callable[[], None]) -> Callable[[], None]:
        before = [buffer.clone() for buffer in self.buffers]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(2):
                    self._restore(before)  # both from the same place: further on, a step could write behind the end of the cache
                    function()
        finally:
            torch.cuda.current_stream().wait_stream(side)
            self._restore(before)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        return graph.replay

    def _restore(self, before: list[Tensor]) -> None:
        for buffer, old in zip(self.buffers, before):
            buffer.copy_(old)


class DeviceSteps:
    """Drafting, verification and plain steps for one text, greedy or with shared noise, batch size 1."""

    def __init__(self, target: Target, exit_layer: nn.Module | None, capacity: int, sampling: Sampling, graphs: bool | None = None):
        """`capacity`: positions of prompt and text. `graphs`: None means on CUDA. Raises UserError for a model that does not fit."""
        device = target.device
        self.target, self.exit_layer, self.sampling = target, exit_layer, sampling
        self.split = exit_layer.exit_after if exit_layer else 0
        self.taps, self.layers = exit_layer.taps if exit_layer else (), list(target.layers)
        if why := unfit(target):
            raise UserError(f"the rounds of {target.name} cannot stay on the device: {why}")
        self.reaches = [SHORTEST_REACH]
        while self.reaches[-1] < capacity + MAX_ROWS:
            self.reaches.append(2 * self.reaches[-1])
        shape = target.kv_heads, self.reaches[-1], target.head_width, target.dtype
        self.cache = StaticCache([device] * target.depth, *shape)
        self.exit_cache = StaticCache([device] * (len(exit_layer.layers) if exit_layer else 1), *shape)
        self.tokens = torch.zeros(self.reaches[-1] + 1, dtype=torch.long, device=device)  # prompt, text, drafts
        self.states = torch.zeros(1, self.reaches[-1], target.config.hidden_size, dtype=target.dtype, device=device)
        # Row t + 1 holds the deep states of position t, as in draft/early_exit.py.
        self.deep = torch.zeros(1, self.reaches[-1] + 1, len(self.taps) * target.config.hidden_size, dtype=target.dtype, device=device)
        self.at, self.place, self.drafted = (torch.zeros(1, dtype=torch.long, device=device) for _ in range(3))
        # All that the host is told is in one tensor. A row of it is a row of the pass: the number of accepted drafts; ids, scores and log p
        # of the target's best tokens; log p of the draft behind it, and the fields of Guess.
        self.best = min(MOST, target.vocab)
        self.result = torch.zeros(MAX_ROWS, 2 + 3 * self.best + len(Guess._fields), dtype=torch.float64, device=device)
        self.guesses = torch.zeros(MAX_ROWS, len(Guess._fields), dtype=torch.float64, device=device)
        self.ids, self.rows = torch.arange(target.vocab, device=device), torch.arange(MAX_ROWS, device=device)
        self.keys = torch.arange(self.reaches[-1], device=device)
        buffers = [self.tokens, self.at, self.place, self.drafted, self.result, self.guesses]
        self.recorder = Recorder(buffers, device.type == "cuda" if graphs is None else graphs)

    @torch.inference_mode()
    def begin(self, ids: list[int]) -> None:
        """Read the prompt; its last token is pending, as in the engine."""
        self.tokens[: len(ids)] = torch.tensor(ids, device=self.tokens.device)
        self.at.fill_(len(ids) - 1)
        self.start = len(ids) - 1
        if self.start:
            positions, reach = self.keys[: self.start], self.reach(0)
            states = self._run(self.layers[: self.split], self._embed(positions), positions, reach, self.cache)
            self.states[:, : self.start] = states
            self._rest(states, positions, reach)
            if self.split:
                self._exit(states, positions, reach)

    @torch.inference_mode()
    def record(self, drafts: int) -> None:
        """Record the steps that a round of `drafts` drafts needs, unless that is done. It takes longer than the round."""
        self.place.copy_(self.at)
        self.drafted.fill_(drafts)  # the warm-up counts on it: a pass has more rows than drafts
        drafting, verifying = self._parts(drafts)
        for part in (*drafting, verifying):
            self.recorder.prepare(*part)

    @torch.inference_mode()
    def round(self, drafts: int) -> Report:
        """Draft `drafts` tokens and verify them. The report is the round's only copy to the host. The text goes on with the target's best
        tokens, up to the first row whose draft is another."""
        device, (drafting, verifying) = self.target.device, self._parts(drafts)
        began = moment(device)
        self.place.copy_(self.at)
        self.drafted.fill_(drafts)
        for part in drafting:
            self.recorder(*part)
        drafted = moment(device)
        self.recorder(*verifying)
        told, many = self.result[: drafts + 1].tolist(), self.best
        ends = 1, 1 + many, 1 + 2 * many, 1 + 3 * many  # columns
        ids, scores, log_probs = ([row[low:high] for row in told] for low, high in pairwise(ends))
        found = Ranked([list(map(int, row)) for row in ids], scores, log_probs, [row[ends[-1]] for row in told[:-1]], [], [])
        self.start += int(told[0][0]) + 1
        return Report(found, [Guess(*row[ends[-1] + 1 :]) for row in told[:-1]], between(began, drafted))

    def _parts(self, drafts: int) -> tuple[list[Part], Part]:
        """The steps of a round: those that draft, and the verify pass."""
        if not self.split:
            reach = self.reach(1)
            return [], (("plain", reach), partial(self.plain, reach))
        reach, rows = self.reach(drafts + 2), next(size for size in VERIFY_ROWS if size > drafts)
        draft, shallow = (("draft", reach), partial(self.draft, reach)), (("shallow", reach), partial(self.shallow, reach))
        drafting = [draft] * drafts + [shallow] if drafts else [draft]  # without drafts only to show the exit layer the pending token
        reach = self.reach(rows)
        return drafting, (("verify", rows, reach), partial(self.verify, rows, reach))

    def plain(self, reach: int) -> None:
        """A step without drafts."""
        hidden = self._run(self.layers, self._embed(self.at), self.at, reach, self.cache)
        self._judge(self.target.logits(hidden), 1)

    def draft(self, reach: int) -> None:
        """One draft token after `place`. The exit layer runs over two places, because after a fully accepted draft it has not yet seen the
        last draft's state."""
        self.shallow(reach)
        pair = torch.cat([(self.place - 1).clamp(min=0), self.place])
        logits = self._exit(self.states[:, pair], pair, reach)
        following = self.place + 1
        log_probs, scores = self._scores(logits, following)  # (1, V)
        best, ids = best_of(scores, 2)
        token, probs = ids[:, 0], log_probs.exp()
        said = token, probs[:, token][0], probs.amax(-1), torch.special.entr(probs).sum(-1), best[:, 0] - best[:, 1]
        self.guesses.index_copy_(0, self.place - self.at, torch.stack([part.double() for part in said], -1))
        self.tokens.index_copy_(0, following, token)
        self.place.add_(1)

    def shallow(self, reach: int) -> None:
        """The layers up to the exit over the token at `place`."""
        hidden = self._run(self.layers[: self.split], self._embed(self.place), self.place, reach, self.cache)
        self.states.index_copy_(1, self.place, hidden)

    def verify(self, rows: int, reach: int) -> None:
        """The verify pass, padded to `rows`, and the verdict."""
        positions = self.at + self.rows[:rows]
        self._judge(self.target.logits(self._rest(self.states[:, positions], positions, reach)), rows)

    def _rest(self, hidden: Tensor, positions: Tensor, reach: int) -> Tensor:
        """The target's layers behind the exit: (1, m, D) -> (1, m, D). Keeps the states that the exit layer wants to see."""
        low, seen = self.split, []
        for depth in (*self.taps, len(self.layers)):
            hidden, low = self._run(self.layers[low:depth], hidden, positions, reach, self.cache), depth
            seen.append(hidden)
        if self.taps:
            self.deep.index_copy_(1, positions + 1, torch.cat(seen[:-1], -1))
        return hidden

    def _judge(self, logits: Tensor, rows: int) -> None:
        """Accept the longest prefix of the drafts that equals the target's choices, and append the target's token after it."""
        places = self.at + 1 + self.rows[:rows]
        log_probs, scores = self._scores(logits, places)
        best, ids = best_of(scores, self.best)
        choices, drafts = ids[:, 0], self.tokens[places]
        right = (choices == drafts) & (self.rows[:rows] < self.drafted)
        accepted = right.long().cumprod(0).sum(0, keepdim=True)
        told = accepted.expand(rows, 1), ids, best, log_probs.gather(-1, ids), log_probs.gather(-1, drafts[:, None]), self.guesses[:rows]
        self.result[:rows] = torch.cat([part.double() for part in told], -1)
        self.tokens.index_copy_(0, self.at + 1 + accepted, choices[accepted])
        self.at.add_(accepted + 1)

    def _scores(self, logits: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities and scores, as Sampler.log_probs and Sampler.scores: logits (m, V) for tokens at places (m,) -> (m, V) each."""
        if not self.sampling.temperature:
            return torch.log_softmax(logits, -1), logits
        log_probs = processed_log_probs(logits, self.sampling)
        return log_probs, log_probs + gumbel_noise(self.sampling.seed, places[:, None], self.ids)

    def _exit(self, states: Tensor, positions: Tensor, reach: int) -> Tensor:
        """States (1, m, D) -> draft logits after the last one, (1, V). A head with taps reads a state that it reads again beside the deep
        states known by now. In run.py it keeps what it read first, so its drafts may differ from those there."""
        head = self.exit_layer
        deep = self.deep[:, positions.clamp(max=self.at)] if self.taps else None
        hidden = self._run(head.layers, head.mixed(states, deep), positions, reach, self.exit_cache)
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

    def reach(self, rows: int) -> int:
        """Positions of the cache that a pass over `rows` more rows reads."""
        return next(reach for reach in self.reaches if reach >= self.start + rows)

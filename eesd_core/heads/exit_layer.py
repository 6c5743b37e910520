"""The exit layer: one decoder layer and a norm on top of the target's first N layers, in front of the target's frozen head.

Stored as `exit_layer.safetensors` beside `exit_layer.json`, which names the base model it was trained for (fingerprints), the exit
depth N and the facts of its training. Sharing the frozen head is ours: the paper trains a head of its own.

Greedy decoding asks for the likeliest token, sampling for the whole distribution, and one small layer can't be best at both. So an exit
layer may have a twin, with weights of its own, that drafts when decoding is greedy (`at`; ours). It is stored as its difference, in 8 bits.

A model without a trained exit layer drafts with its own final norm and head at depth N, as models trained with early-exit loss do
(LayerSkip, arXiv 2404.16710); in others few drafts are accepted, so that is never done without saying so (`note`).
"""

import copy
import hashlib
import json
from pathlib import Path

import torch
from accelerate.hooks import remove_hook_from_module
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError
from ..model.cache import KVCache
from ..model.quantize import dense_state, from_8_bits, is_quantized, to_8_bits
from ..model.target import Target

FORMAT = "eesd-exit-layer/1"
WEIGHTS, FACTS = "exit_layer.safetensors", "exit_layer.json"
TWIN, SCALE = "greedy.", ".scale"  # before and behind the names of the twin's tensors


class ExitLayer(nn.Module):
    """Predicts the next token from the hidden state after N layers. Its KV cache has the one layer and is its own."""

    note = ""  # for whoever looks on, where something is not as one expects
    fingerprint: str | None = None  # of the weights as they were loaded: packed ones cannot be looked at any more

    def __init__(self, target: Target, exit_after: int, facts: dict | None = None, weights: dict[str, Tensor] | None = None):
        """Without weights a copy of the target's last layer and final norm, dense: the starting point of training."""
        super().__init__()
        self.exit_after = _check_depth(target, exit_after)
        self.facts = facts or {}
        last = target.layers[-1]
        with torch.device("meta"):
            self.layer = type(last)(target.config, target.depth - 1)
        self.layer.kind = last.kind
        getattr(self.layer, target.family.attention).layer_idx = 0
        self.norm = remove_hook_from_module(copy.deepcopy(target.norm), recurse=True)
        if weights is None:
            weights = {f"layer.{name}": tensor.to(target.dtype) for name, tensor in dense_state(last).items()}
            weights |= {f"norm.{name}": tensor.clone() for name, tensor in self.norm.state_dict().items()}
        self.load_state_dict(weights, assign=True)
        self.greedy: ExitLayer | None = None
        self.eval()  # also in training: what is trained is what drafts, without dropout

    def at(self, temperature: float) -> "ExitLayer":
        """What drafts at this temperature: the twin, where there is one and decoding is greedy."""
        return self if temperature or self.greedy is None else self.greedy

    def forward(self, target: Target, states: Tensor, cache: KVCache, start: int) -> Tensor:
        """Hidden states after N layers (1, m, D) at positions start .. -> logits behind the last of them, (1, V)."""
        return target.head(self.norm(target.run([self.layer], states, cache, start)[:, -1:]))

    def hidden(self, target: Target, states: Tensor, cache: KVCache, start: int) -> Tensor:
        """What the head reads, at every position: (1, m, D) -> (1, m, D)."""
        return self.norm(target.run([self.layer], states, cache, start))

    def rows(self, target: Target, states: Tensor) -> Tensor:
        """The same over whole rows, without a cache, as in training: (B, T, D) -> (B, T, V) float32."""
        return target.head_rows(self.norm(target.run_rows([self.layer], states)))

    def save(self, folder: Path, target: Target, facts: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.bfloat16().contiguous() for name, tensor in self._own().items()}
        for name, tensor in self.greedy._own().items() if self.greedy else ():
            tensors[TWIN + name], tensors[TWIN + name + SCALE] = to_8_bits(tensor.float() - tensors[name].float())
        save_file(tensors, folder / WEIGHTS)
        header = {"format": FORMAT, "base_fingerprint": fingerprint(target), "norms_fingerprint": norms_fingerprint(target)}
        header |= {"base_model": target.name, "exit_after": self.exit_after}
        (folder / FACTS).write_text(json.dumps(header | {"training": facts}, indent=2) + "\n")

    def _own(self) -> dict[str, Tensor]:
        """State without the twin's."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(TWIN)}

    @classmethod
    def load(cls, folder: Path, target: Target) -> "ExitLayer":
        """Raises UserError if the files are missing, broken or made for another model."""
        try:
            facts = json.loads((folder / FACTS).read_text())
            tensors = load_file(folder / WEIGHTS)
            depth = int(facts["exit_after"])
        except OSError:
            raise UserError(f"no exit layer in {folder} ({FACTS} and {WEIGHTS} are needed): train one with `distill`") from None
        except (SafetensorError, ValueError, KeyError, TypeError) as problem:
            raise UserError(f"the exit layer in {folder} is broken ({problem}): restore the file or train it again") from None
        if facts.get("format") != FORMAT:
            raise UserError(f"the exit layer in {folder} has format {facts.get('format')!r}, this program reads {FORMAT}")
        if not _fits(facts, target):
            raise UserError(f"the exit layer in {folder} was trained for another model: train one for {target.name} with `distill`")
        try:
            own = {name: tensor for name, tensor in tensors.items() if not name.startswith(TWIN)}
            layer = cls(target, depth, facts, {name: tensor.to(target.dtype) for name, tensor in own.items()})
            if len(own) < len(tensors):
                twin = {n: t.float() + from_8_bits(tensors[TWIN + n], tensors[TWIN + n + SCALE]) for n, t in own.items()}
                layer.greedy = cls(target, depth, facts, {name: tensor.to(target.dtype) for name, tensor in twin.items()})
        except (RuntimeError, KeyError) as problem:
            raise UserError(f"the exit layer in {folder} does not fit {target.name}: {str(problem).splitlines()[0]}") from None
        layer.fingerprint = _digest(layer.state_dict())
        return layer.to(target.device)


class FrozenExit(nn.Module):
    """Drafts with the target's own final norm and head at depth N: no layer, nothing trained."""

    fingerprint = "frozen"

    def __init__(self, target: Target, exit_after: int):
        super().__init__()
        self.exit_after, self.facts = _check_depth(target, exit_after), {}
        self.note = f"no exit layer was trained for {target.name}: drafts come from its own norm and head after layer {exit_after}, "
        self.note += "of which few are accepted unless it was trained for early exits; train one with `distill`"

    def at(self, temperature: float) -> "FrozenExit":
        return self

    def forward(self, target: Target, states: Tensor, cache: KVCache, start: int) -> Tensor:
        cache.lengths = [start + states.shape[1]]
        return target.logits(states[:, -1:])

    def hidden(self, target: Target, states: Tensor, cache: KVCache, start: int) -> Tensor:
        return target.norm(states)

    def rows(self, target: Target, states: Tensor) -> Tensor:
        return target.head_rows(target.norm(states))


def _check_depth(target: Target, exit_after: int) -> int:
    if not 0 < exit_after < target.depth:
        raise UserError(f"exit depth {exit_after} does not fit a model of {target.depth} layers: choose 1 to {target.depth - 1}")
    return exit_after


def _fits(facts: dict, target: Target) -> bool:
    """By all weights where both sides know them, else by the norms, which neither quantisation nor parallelism changes."""
    base = fingerprint(target)
    if base and facts.get("base_fingerprint"):
        return facts["base_fingerprint"] == base
    norms = norms_fingerprint(target)
    return facts.get("norms_fingerprint", norms) == norms  # files of the first kind lack it


def fingerprint(target: Target) -> str | None:
    """Names the base weights: a hash over every tensor's name, shape and about 4,000 of its values in bfloat16, spread over all of it.
    None where they are not all there as they were trained: quantised, or spread over processes."""
    if is_quantized(target.model) or target.shards > 1:
        return None
    return _digest(target.model.state_dict())


def norms_fingerprint(target: Target) -> str:
    """The same over the norms of the residual stream."""
    state = target.model.state_dict()
    width = target.config.hidden_size
    return _digest({name: t for name, t in state.items() if t.ndim == 1 and len(t) == width and ("norm" in name or "ln_" in name)})


@torch.no_grad()
def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sample = tensor.flatten()[:: tensor.numel() // 4096 | 1].to(torch.bfloat16)  # an odd step meets every column
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + sample.view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]

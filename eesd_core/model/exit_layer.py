"""The exit layer: one decoder layer and a norm on top of the target's first N layers, in front of the target's frozen head.

Stored as `exit_layer.safetensors` beside `exit_layer.json`, which names the base model it was trained for (fingerprint), the exit
depth N and the facts of its training. Sharing the frozen head is ours: the paper trains a head of its own.
"""

import copy
import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError
from .cache import KVCache
from .split import Target

FORMAT = "eesd-exit-layer/1"
WEIGHTS, FACTS = "exit_layer.safetensors", "exit_layer.json"


class ExitLayer(nn.Module):
    """Predicts the next token from the hidden state after N layers. Its KV cache has the one layer and is its own."""

    def __init__(self, target: Target, exit_after: int, facts: dict | None = None):
        """A copy of the target's last layer and final norm: the starting point of training."""
        super().__init__()
        if not 0 < exit_after < target.depth:
            raise UserError(f"exit depth {exit_after} does not fit a model of {target.depth} layers: choose 1 to {target.depth - 1}")
        self.exit_after = exit_after
        self.facts = facts or {}
        self.layer = copy.deepcopy(target.layers[-1])
        self.layer.self_attn.layer_idx = 0
        self.norm = copy.deepcopy(target.model.model.norm)

    def forward(self, target: Target, states: Tensor, cache: KVCache, start: int) -> Tensor:
        """Hidden states after N layers (1, m, D) at positions start .. -> logits behind the last of them, (1, V)."""
        return target.head(self.norm(target.run([self.layer], states, cache, start)[:, -1:]))

    def save(self, folder: Path, target: Target, facts: dict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().to(torch.bfloat16).contiguous() for name, p in self.state_dict().items()}, folder / WEIGHTS)
        header = {"format": FORMAT, "base_fingerprint": fingerprint(target), "exit_after": self.exit_after}
        (folder / FACTS).write_text(json.dumps(header | {"training": facts}, indent=2) + "\n")

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
        if facts.get("base_fingerprint") != fingerprint(target):
            raise UserError(f"the exit layer in {folder} was trained for another model: train one for {target.name} with `distill`")
        layer = cls(target, depth, facts)
        try:
            layer.load_state_dict({name: tensor.to(target.dtype) for name, tensor in tensors.items()})
        except RuntimeError as problem:
            raise UserError(f"the exit layer in {folder} does not fit {target.name}: {str(problem).splitlines()[0]}") from None
        return layer.to(target.device, target.dtype).eval()


@torch.no_grad()
def fingerprint(target: Target) -> str:
    """Names the base weights: a hash over every tensor's name, shape and about 4,000 of its values in bfloat16, spread over all of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(target.model.state_dict().items()):
        sample = tensor.flatten()[:: tensor.numel() // 4096 | 1].to(torch.bfloat16)  # an odd step meets every column
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + sample.view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]

"""transformers' generate() on the target's own modules: the same weights in the same memory, fused and packed as for this engine. That is
more than anybody gets by default, so one peer, `hf-stock`, runs on the model as from_pretrained loads it.

While a peer runs, attention is transformers' own default (sdpa). A peer gets every advantage: the clock starts when its first tokens come
out, so that its set-up is left out as prefill is left out here; it decodes no token to text; above temperature 0 it chooses with this
project's shared noise, so that all write the same text.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from ..errors import UserError
from ..model.checkpoint import read_config, read_weights
from ..model.placement import weight_bytes
from ..model.target import Target
from ..sampling import Sampler, Sampling
from .written import Written

LOOKUP = 10  # tokens a lookup proposes, as in transformers' documentation
ROOM = 0.5  # share of the free memory that a second copy of the weights may take


class Clock(BaseStreamer):
    """Records when tokens come out, and how many."""

    def __init__(self):
        self.times: list[float] = []
        self.sizes: list[int] = []

    def put(self, value: Tensor) -> None:
        self.times.append(time.perf_counter())
        self.sizes.append(value.numel())

    def end(self) -> None:
        pass


class Passes:
    """Counts passes by hooks on two modules of the target: the last layer runs in passes of the whole model, the head in all passes."""

    def __init__(self, target: Target):
        self.target, self.rows, self.heads = target, [], 0

    def __enter__(self) -> "Passes":
        last, head = self.target.layers[-1], self.target.model.lm_head
        self.hooks = [last.register_forward_pre_hook(self._whole), head.register_forward_pre_hook(self._any)]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()

    def _whole(self, module, args) -> None:
        self.rows.append(args[0].shape[1])

    def _any(self, module, args) -> None:
        self.heads += 1


class SharedNoise(LogitsProcessor):
    """Makes transformers' argmax choose what this engine chooses at that place."""

    def __init__(self, sampler: Sampler):
        self.sampler = sampler

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (1, n), (1, V) -> (1, V)
        logits = scores.float()
        return self.sampler.scores(logits, self.sampler.log_probs(logits), [input_ids.shape[1]])


@contextmanager
def own_attention(target: Target) -> Iterator[None]:
    """Use transformers' own attention. Also restores the number of layers, which transformers' early exit leaves changed if it fails."""
    config, attention, layers = target.config, target.config._attn_implementation, target.config.num_hidden_layers
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation, config.num_hidden_layers = attention, layers


def stock(target: Target) -> Target:
    """The same checkpoint in the same dtype, as AutoModelForCausalLM.from_pretrained loads it. Raises UserError where that would not differ
    from the target, or where memory is too small for a second copy."""
    if target.precision != str(target.dtype).removeprefix("torch."):
        raise UserError(f"a model in {target.precision} is not loaded a second time: see hf")
    if not any(type(module).__module__.startswith("eesd_core.") for module in target.model.modules()):
        raise UserError("this engine runs transformers' own modules here: hf is the model as it is loaded")
    files, needed = target.config.name_or_path, weight_bytes(target.config) * target.dtype.itemsize // 2
    if not files:
        raise UserError("the model was not loaded from files")
    if needed > ROOM * psutil.virtual_memory().available:
        raise UserError(f"a second copy of the weights ({needed / 1e9:.1f} GB) would take more than half of the free memory")
    revision = getattr(target.config, "_commit_hash", None)
    model = read_weights(files, revision, read_config(files, revision), dtype=target.dtype)
    return Target(model.to(target.device), target.tokenizer, target.name)


def arguments_of(peer: str, setting: int | None, exit_after: int) -> dict:
    """Arguments of generate() besides the usual ones."""
    return {
        "hf": {},
        "hf-stock": {},
        "hf-static": {"cache_implementation": "static"},
        "hf-early-exit": {"assistant_early_exit": setting or exit_after},
        "hf-prompt-lookup": {"prompt_lookup_num_tokens": setting or LOOKUP},
    }[peer]


@torch.no_grad()
def write(target: Target, arguments: dict, ids: Sequence[int], new_tokens: int, sampling: Sampling) -> Written:
    """Raises UserError where the peer does not run on this model, or does something other than it says."""
    prompt, clock = torch.tensor([ids], device=target.device), Clock()
    how = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": sorted(target.end_ids) or None, "pad_token_id": 0}
    if sampling.temperature:
        how["logits_processor"] = LogitsProcessorList([SharedNoise(Sampler(sampling, target.vocab, target.device))])
    if target.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    with own_attention(target), Passes(target) as passes:
        try:
            out = target.model.generate(prompt, attention_mask=torch.ones_like(prompt), streamer=clock, **how, **arguments)
        except Exception as problem:  # generate() raises all kinds of exceptions on models that a method was not written for
            reason = " ".join(f"{type(problem).__name__} {problem}".split())[:200]
            raise UserError(f"transformers cannot do this with {target.name}: {reason}") from None
    written = out[0, len(ids) :].tolist()
    first, sizes = clock.times[1], clock.sizes[1:]  # the streamer gets the prompt first
    drafted = [rows - 1 for rows in passes.rows]
    drafted[0] -= len(ids) - 1
    depth = arguments.get("assistant_early_exit", 0)
    drafts = passes.heads - len(passes.rows)
    if depth and len(passes.rows) != len(sizes):
        raise UserError(f"transformers' early exit does nothing on {target.name}: its drafts pass all layers")
    counted = len(written) - sizes[0]
    seconds = clock.times[-1] - first
    if not counted:  # all tokens came at once
        seconds, counted = clock.times[-1] - began, len(written)
    return Written(
        written, [[d, size - 1] for d, size in zip(drafted, sizes)], seconds, counted, first - began, drafts if depth else 0, depth
    )

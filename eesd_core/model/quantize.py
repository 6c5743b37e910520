"""Quantised targets by bitsandbytes: NF4 (4 bits) and LLM.int8 (8 bits), on CUDA and on a CPU.

int8 runs with threshold 0. With bitsandbytes' default threshold, outlier columns are searched over all rows of a pass, so the logits of a
token would depend on the drafts after it, and a verify pass could not repeat plain decoding even in exact arithmetic.
The exit layer, embeddings, norms and the head stay in bfloat16.
"""

import logging
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import UserError
from .checkpoint import meta_model
from .precisions import CHOICES

BYTES = {"none": 2.0, "4bit": 0.56, "8bit": 1.0}  # per weight of a linear layer; 4 bits plus one scale for every 64 weights
BLOCK = 64  # weights that share a scale


def quantization_config(quantize: str) -> BitsAndBytesConfig | None:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns at every product that int8 computes in float16
    if quantize == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_quant_storage=torch.uint8
        )
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0) if quantize == "8bit" else None


def check_quantize(quantize: str, config: PreTrainedConfig, device: torch.device, name: str) -> None:
    """Raises UserError for an unknown choice, a missing package, and what is known to crash."""
    if quantize not in CHOICES:
        raise UserError(f"unknown quantisation {quantize!r}: choose {', '.join(CHOICES)}")
    if quantize != "none" and not find_spec("bitsandbytes"):
        raise UserError(f"{quantize} weights need one more package: pip install bitsandbytes, or leave the model unquantised")
    if quantize != "none" and getattr(config, "quantization_config", None):
        raise UserError(f"{name} is quantised already: leave out --quantize {quantize}")
    if quantize == "4bit" and device.type == "cpu":
        layers = (module for module in meta_model(config).base_model.modules() if isinstance(module, (nn.Linear, Conv1D)))
        inputs = (layer.weight.shape[isinstance(layer, nn.Linear)] for layer in layers)  # a Conv1D's weight is (inputs, outputs)
        if odd := [width for width in inputs if width % BLOCK]:
            raise UserError(
                f"{name} has layers of {odd[0]} inputs, and 4 bits on a CPU need multiples of {BLOCK}: use --quantize 8bit or --device cuda"
            )


def is_quantized(model: nn.Module) -> bool:
    return getattr(model, "quantization_method", None) is not None


def precision_of(model: PreTrainedModel) -> str:
    """The precision as shown to the user: `4bit`, `8bit`, or the dtype."""
    if is_quantized(model):
        return "4bit" if model.config.quantization_config.load_in_4bit else "8bit"
    return str(model.dtype).removeprefix("torch.")


def to_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(..., n) -> integers from -127 to 127, int8 (..., n), and one scale per row, float32 (..., 1)."""
    scale = weight.float().abs().amax(-1, keepdim=True).clamp_min(1e-8) / 127
    return (weight / scale).round().to(torch.int8), scale


def from_8_bits(numbers: Tensor, scale: Tensor) -> Tensor:
    return numbers * scale


@torch.no_grad()
def dense_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters by name, in which quantised weights are dequantised (they keep their rounded values)."""
    state = {}
    for prefix, child in module.named_modules():
        for name, parameter in child.named_parameters(recurse=False):
            state[f"{prefix}.{name}" if prefix else name] = _dense(child, parameter).detach().clone()
    return state


def _dense(owner: nn.Module, parameter: Tensor) -> Tensor:
    if type(parameter).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        owner.state_dict()  # on processors with bf16 a first pass lays the weights out anew; this undoes it
        return dequantize_4bit(parameter.data, parameter.quant_state)
    if type(parameter).__name__ == "Int8Params":
        scales = parameter.SCB if parameter.SCB is not None else owner.state.SCB
        return parameter.data.float() * scales[:, None] / 127.0
    return parameter

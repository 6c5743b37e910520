"""Where weights go: on one device, over all GPUs by layers, or over several processes by parts of every layer."""

import os

import torch
from transformers import PreTrainedConfig
from transformers.distributed import DistributedConfig

from ..errors import UserError
from .checkpoint import meta_model
from .quantize import BYTES

ROOM = 0.85  # share of a GPU's free memory for weights; the rest is for caches and passes


def weight_bytes(config: PreTrainedConfig, quantize: str = "none") -> int:
    """Bytes that all weights will take in memory, without loading any. Embeddings and head are never quantised."""
    empty = meta_model(config)
    kept = {id(m.weight) for m in (empty.get_input_embeddings(), empty.get_output_embeddings())}
    return sum(int(p.numel() * (2 if id(p) in kept or p.ndim == 1 else BYTES[quantize])) for p in empty.parameters())


def place_weights(config: PreTrainedConfig, device: torch.device, quantize: str, name: str, alone: bool) -> dict:
    """Arguments for from_pretrained that say where weights go. `alone`: all of them in this process, on one GPU at most. Raises UserError
    where there is no room for them."""
    if not alone and int(os.environ.get("WORLD_SIZE", "1")) > 1:  # under torchrun: every process holds parts of every layer
        if quantize != "none":
            raise UserError("quantised weights cannot be split over processes: start without torchrun, or with --quantize none")
        return {"distributed_config": DistributedConfig(tp_plan="auto")}
    if device.type == "cpu":
        return {"device_map": {"": "cpu"}} if quantize != "none" else {}
    first, count = device.index or 0, torch.cuda.device_count()
    needed, rooms = weight_bytes(config, quantize), [torch.cuda.mem_get_info(i)[0] for i in ([first] if alone else range(count))]
    if needed < ROOM * rooms[0]:
        return {"device_map": {"": first}}
    if needed < ROOM * sum(rooms):
        return {"device_map": "auto", "max_memory": {i: int(ROOM * room) for i, room in enumerate(rooms)}}
    has = f"{needed / 1e9:.0f} GB of weights, and {sum(rooms) / 1e9:.0f} GB are free on {len(rooms)} GPU"
    raise UserError(f"{name} has {has}: {'try --quantize 4bit' if quantize == 'none' else 'choose a smaller model'}, or --device cpu")

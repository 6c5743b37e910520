"""One model over several processes (tensor parallelism by transformers, started with `torchrun`)."""

import torch.distributed as dist


def is_first() -> bool:
    """Whether this process is the one that prints."""
    return not dist.is_initialized() or dist.get_rank() == 0


def first_ones(value):
    """The first process's value, in all of them."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]

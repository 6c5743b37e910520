"""An embedding whose rows stay in the file.

A step reads the embeddings of a few tokens. With a large vocabulary the whole table is as large as all layers in 4 bits (SmolLM2-135M:
57 MB in bfloat16, 113 MB in float32), and a text needs few of its rows. Where the checkpoint is ours, converted into the cache and never
written again, the system brings in the parts of the file that are read.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoint import WEIGHTS

LENGTH = 8  # bytes in front of a safetensors header that say how long it is


class FileEmbedding(nn.Module):
    """Stands for nn.Embedding. Its rows are bfloat16 in the file and come out in the model's dtype."""

    def __init__(self, weight: Tensor, dtype: torch.dtype):
        """weight (V, D). It is no parameter: moving or converting the model would read all of it."""
        super().__init__()
        self.weight, self.dtype = weight, dtype

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[ids].to(self.dtype)


def rows_in_file(folder: Path, name: str) -> Tensor | None:
    """A matrix of bfloat16 in a checkpoint of one file, (V, D), without reading it. None: it is not there, or in another dtype."""
    file = folder / WEIGHTS
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(LENGTH), "little")
        facts = json.loads(opened.read(length)).get(name, {"dtype": None})
    if facts["dtype"] != "BF16":
        return None
    begin = LENGTH + length + facts["data_offsets"][0]
    rows = np.memmap(file, np.int16, "c", begin, tuple(facts["shape"]))  # "c": torch wants memory that it could write to
    return torch.from_numpy(rows).view(torch.bfloat16)

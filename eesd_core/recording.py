"""Recorded races: a trace preceded by a head line that says where and when it was made. The page opens with one.

The head line has type "recording", format, date, machine (name of the GPU or the processor), cores and versions.
"""

import gzip
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

from .engine import Engine
from .environment import processor, versions
from .errors import UserError
from .events import FORMAT, Record
from .racing import race
from .replacing import replaced
from .request import Request
from .simulate.hindsight import hindsight
from .trace import safe

WARM_UP_TOKENS = 24
DIGITS = 6  # of a number, two more than any panel shows: the other ten are noise, and a third of a page's recording once it is compressed


def record_race(engine: Engine, request: Request) -> list[Record]:
    """Records of one race and of its hindsight. A short warm-up race runs first, because a process's first passes are slow. Raises
    UserError."""
    for _ in race(engine, replace(request, max_new_tokens=min(WARM_UP_TOKENS, request.max_new_tokens))):
        pass
    records = list(race(engine, request))
    return records + list(filter(None, [hindsight(engine, request, records)]))


def head(device: torch.device) -> dict:
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    facts = {"date": date.today().isoformat(), "machine": machine, "cores": os.cpu_count(), "versions": versions()}
    return {"type": "recording", "format": FORMAT} | facts


def write_recording(path: Path, device: torch.device, records: Iterable[Record | dict]) -> None:
    """Write head line and records, packed if the path ends with .gz; a dict among them is a line of another kind. Like every trace it has
    no "<", so a page can embed it in a script. Raises UserError if the file cannot be written."""
    lines = [safe(shortened(line)) for line in (head(device), *(line if isinstance(line, dict) else line.to_json() for line in records))]
    data = "".join(lines).encode("ascii")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part:
            part.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as problem:
        raise UserError(f"the recording cannot be written to {path}: {problem.strerror}") from None


def shortened(value):
    """The same value with DIGITS digits of every number in it. Times in `t` keep theirs: they are whole microseconds already."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: item if name == "t" else shortened(item) for name, item in value.items()}
    return [shortened(item) for item in value] if isinstance(value, list | tuple) else value

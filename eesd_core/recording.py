"""Recorded races: a trace preceded by a head line that says where and when it was made. The page opens with one.

The head line has type "recording", format, date, machine (name of the GPU or the processor), cores and versions.
"""

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
from .request import Request
from .trace import safe, to_line

WARM_UP_TOKENS = 24


def record_race(engine: Engine, request: Request) -> list[Record]:
    """Records of one race. A short warm-up race runs first, because a process's first passes are slow. Raises UserError."""
    for _ in race(engine, replace(request, max_new_tokens=min(WARM_UP_TOKENS, request.max_new_tokens))):
        pass
    return list(race(engine, request))


def head(device: torch.device) -> dict:
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    facts = {"date": date.today().isoformat(), "machine": machine, "cores": os.cpu_count(), "versions": versions()}
    return {"type": "recording", "format": FORMAT} | facts


def write_recording(path: Path, device: torch.device, records: Iterable[Record | dict]) -> None:
    """Write head line and records; a dict among them is a line of another kind. Like every trace it has no "<", so a page can embed it in a
    script. Raises UserError if the file cannot be written."""
    lines = [safe(head(device)), *(safe(line) if isinstance(line, dict) else to_line(line) for line in records)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="ascii")
    except OSError as problem:
        raise UserError(f"the recording cannot be written to {path}: {problem.strerror}") from None

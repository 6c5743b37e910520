"""A trace as exports need it: its head line (if it was recorded), its records, and its lines in a spelling that is safe anywhere."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..events import Record
from .schema import MOST_BYTES, Check, with_whole_numbers

NOT_A_TRACE = "this is no trace: make one with `race ... --trace FILE`, or save it on the page"


@dataclass(frozen=True, slots=True)
class Trace:
    head: dict | None
    records: list[Record]
    text: str  # NDJSON, pure ASCII, free of "<"

    def lane(self, name: str) -> list[Record]:
        return [record for record in self.records if record.lane == name]


def open_trace(path: Path) -> Trace:
    """Raises UserError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise UserError(f"the trace {path} cannot be read: {problem.strerror}") from None
    return parse_trace(data, str(path))


def parse_trace(data: bytes, name: str = "the trace") -> Trace:
    """Raises UserError naming the first line that is broken."""
    if len(data) > MOST_BYTES:
        raise UserError(f"{name} is larger than {MOST_BYTES >> 20} MB: export a shorter run")
    check, head, records, lines = Check(), None, [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"), parse_constant=_refuse)
            check.see(values)
            values = with_whole_numbers(values)
            record = Record.from_json(values) if "lane" in values else None
        except (ValueError, RecursionError) as problem:
            why = NOT_A_TRACE if number == 1 else str(problem)[:200]
            raise UserError(f"{name}, line {number}: {why}") from None
        lines.append(safe(values))
        if values["type"] == "recording":
            head = head or values
        elif record:
            records.append(record)
    if not records:
        raise UserError(f"{name}: {NOT_A_TRACE}")
    return Trace(head, records, "".join(lines))


def safe(values: dict) -> str:
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c") + "\n"


def _refuse(constant: str):
    raise ValueError(f"{constant} is no number")

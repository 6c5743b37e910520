"""Writes and reads traces: records as NDJSON. Traces are untrusted, so reading checks every line (schema.py)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .events import Record
from .replacing import replaced
from .schema import MOST_BYTES, Check, upgraded, with_whole_numbers

NOT_A_TRACE = "this is no trace: make one with `race ... --trace FILE`, or save it on the page"


def to_line(record: Record) -> str:
    """One line of pure ASCII without "<", so no token can break the line format, reorder text around it or open a tag in a page."""
    return json.dumps(record.to_json(), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c") + "\n"


def write_trace(path: Path, records: Iterable[Record]) -> None:
    """Raises UserError if the file cannot be written."""
    try:
        with replaced(path) as part, part.open("w", encoding="ascii") as lines:
            lines.writelines(map(to_line, records))
    except OSError as problem:
        raise UserError(f"the trace cannot be written to {path}: {problem.strerror}") from None


@dataclass(frozen=True, slots=True)
class Trace:
    head: dict | None
    records: list[Record]
    text: str  # NDJSON, pure ASCII without "<"


def open_trace(path: Path) -> Trace:
    """Read a trace file. Raises UserError if it cannot be read or is not a valid trace."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise UserError(f"the trace {path} cannot be read: {problem.strerror}") from None
    return parse_trace(data, str(path))


def parse_trace(data: bytes, name: str = "the trace") -> Trace:
    """Parse a trace. Raises UserError, which names the first invalid line."""
    if len(data) > MOST_BYTES:
        raise UserError(f"{name} is larger than {MOST_BYTES >> 20} MB: export a shorter run")
    check, head, records, lines = Check(), None, [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"), parse_constant=_refuse)
            check.see(values)
            values = upgraded(with_whole_numbers(values))
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

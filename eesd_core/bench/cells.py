"""Cells: the result of every run of every method, one JSON line each, written as soon as it is known and never changed.

The file's name holds a digest of all settings, of the machine and of the model, so an interrupted benchmark finds its own cells and no
others. A line cut off by a kill is dropped.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

FORMAT = "eesd-bench-cells/1"


def digest(settings: dict) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


class Cells:
    """`header`: what all cells have in common. `notes`: facts that are found once and kept, such as a skip set."""

    def __init__(self, path: Path, header: dict):
        """Raises UserError for a file that cannot be read or written, or that belongs to another benchmark."""
        self.path, self.header = path, json.loads(json.dumps(header))
        self.notes: dict[str, str] = {}
        self.sittings = 1  # how often the benchmark was started or resumed
        self._cells: dict[tuple, dict] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read(path.read_bytes() if path.is_file() else b"")
            self._lines = path.open("ab")
            if self.sittings == 1:
                self._append({"format": FORMAT} | self.header)
            else:
                self._append({"sitting": self.sittings})
        except OSError as problem:
            raise UserError(f"results cannot be kept in {path}: {problem.strerror}; give --out another place") from None

    def _read(self, data: bytes) -> None:
        """Nothing is cut off before the first line has shown that the file is this benchmark's: another one stays as it is."""
        whole, header = data[: data.rfind(b"\n") + 1], {"format": FORMAT} | self.header
        try:
            if not whole and not self._line(header).startswith(data):
                raise ValueError("another file")
            first, *rest = map(json.loads, whole.decode("ascii").splitlines() or [self._line(header)])
            if first != header:
                raise ValueError("another benchmark")
            for line in rest:
                if "note" in line:
                    self.notes[line["note"]] = line["value"]
                elif "sitting" in line:
                    self.sittings = line["sitting"]
                else:
                    self._cells[_key(line)] = line
        except (ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{self.path} cannot be taken up ({str(problem)[:80]}): delete it, or give --out another place") from None
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        self.sittings += bool(whole)

    @staticmethod
    def _line(values: dict) -> bytes:
        return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"

    def _append(self, values: dict) -> None:
        self._lines.write(self._line(values))
        self._lines.flush()

    def note(self, name: str, value: str) -> None:
        self.notes[name] = value
        self._append({"note": name, "value": value})

    def add(self, cell: dict) -> None:
        self._cells[_key(cell)] = cell
        self._append(cell)

    def get(self, group: str, method: str, prompt: int, repeat: int) -> dict | None:
        return self._cells.get((group, method, prompt, repeat))

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[dict]:
        return iter(self._cells.values())

    def close(self) -> None:
        """A file in which nothing was found goes: a refused benchmark leaves nothing behind."""
        self._lines.close()
        if not self._cells and not self.notes and self.path.is_file():
            self.path.unlink()


def _key(cell: dict) -> tuple:
    return cell["group"], cell["method"], cell["prompt"], cell["repeat"]

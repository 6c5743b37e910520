"""What a run leaves behind: one offline HTML file, a Perfetto trace, a CSV of its rounds."""

from pathlib import Path

from ..errors import UserError
from .perfetto import to_perfetto
from .rounds import to_csv
from .source import Trace, open_trace, parse_trace

FORMATS = ("html", "perfetto", "csv")


def export(trace: Trace, form: str) -> str:
    if form == "html":
        from .standalone import to_html  # only this one needs plotly.js

        return to_html(trace)
    return {"perfetto": to_perfetto, "csv": to_csv}[form](trace)


def write_export(path: Path, text: str) -> None:
    """Raises UserError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise UserError(f"the export cannot be written to {path}: {problem.strerror}") from None


__all__ = ["FORMATS", "Trace", "export", "open_trace", "parse_trace", "write_export"]

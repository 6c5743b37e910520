"""What a run leaves behind: one offline HTML file (several runs in one, for a lecture), a Perfetto trace, a CSV of its rounds."""

from pathlib import Path

from ..errors import UserError
from ..replacing import replaced
from ..trace import Trace
from .perfetto import to_perfetto
from .rounds_csv import to_csv

FORMATS = ("html", "perfetto", "csv")


def export(trace: Trace, form: str, *more: Trace) -> str:
    """The trace in one of FORMATS; with `more` traces, a page to choose from. Raises UserError for several traces in another format."""
    if form == "html":
        from .standalone import to_html  # only this one needs plotly.js

        return to_html(trace, *more)
    if more:
        raise UserError(f"{form} takes one trace: several make one page with --format html")
    return {"perfetto": to_perfetto, "csv": to_csv}[form](trace)


def write_export(path: Path, text: str) -> None:
    """Raises UserError."""
    try:
        with replaced(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise UserError(f"the export cannot be written to {path}: {problem.strerror}") from None


__all__ = ["FORMATS", "export", "write_export"]

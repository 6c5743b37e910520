"""Compares three forms of writing several texts in shared passes on one device: *ems* drafts without padding (together.py), *padded* drafts
with padding (padded.py), *vanilla* writes the same texts without drafts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .clock import Clock
from .engine import Engine
from .events import Record
from .request import Request
from .rounds import Lane

FORMS = ("ems", "padded", "vanilla")


def race_forms(engine: Engine, requests: Sequence[Request], cancelled: Callable[[], bool] = bool) -> Iterator[Record | dict]:
    """Writes the texts of `requests` (1 to 16, method eesd) in shared passes, once in every form. Yields their records with the form as
    lane, and when all are done {"rows": [...]} with a row per form. The form whose clock is behind takes the next step. Raises UserError
    for a wrong number of requests."""
    clocks, lanes = {form: Clock() for form in FORMS}, {form: [Lane(form, row) for row in range(len(requests))] for form in FORMS}
    plain = [replace(request, method="vanilla") for request in requests]
    streams = {
        form: engine.run_together(
            plain if form == "vanilla" else requests, len(requests), "forms", lambda row: cancelled(), clocks[form], form == "padded"
        )
        for form in FORMS
    }
    while streams:
        form = min(streams, key=lambda name: clocks[name].seconds)
        record = next(streams[form], None)
        if record is None:
            del streams[form]
            continue
        record = replace(record, lane=form)
        lanes[form][record.row].add(record)
        yield record
    if all(lane.finished for form in FORMS for lane in lanes[form]):
        yield {"rows": [_row(form, clocks[form].seconds, lanes[form], lanes["vanilla"]) for form in FORMS]}


def _row(form: str, seconds: float, lanes: list[Lane], plain: list[Lane]) -> dict:
    """`identical`: same tokens as vanilla; None if only the distribution is the same."""
    tokens = sum(len(lane.token_ids) for lane in lanes)
    drawn = any(lane.started.level == "same-distribution" for lane in lanes)
    same = None if drawn else all(lane.token_ids == other.token_ids for lane, other in zip(lanes, plain))
    return {"form": form, "seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds, "identical": same}

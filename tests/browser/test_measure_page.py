"""The trace that `tools.measure --page` scrubs is a trace like any other. What the page costs is measured there, not here."""

from app.page import OPENING
from eesd_core.metrics import Metrics
from eesd_core.trace import parse_trace
from tools.measure_page import lengthened


def test_a_lengthened_trace_is_a_trace():
    trace = parse_trace(lengthened(OPENING.read_text("ascii"), 1000).encode())
    eesd, vanilla = (Metrics.fold(trace.records, lane) for lane in ("eesd", "vanilla"))
    assert len(eesd.token_ids) == len(vanilla.token_ids) >= 1000

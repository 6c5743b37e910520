"""A trace as CSV: one row a round. Numbers and words of our own only: no text of a model may become a spreadsheet's formula."""

from ..events import DraftStopped, DraftToken, RoundStarted, RoundVerified, TokensCommitted
from ..trace import Trace

COLUMNS = (
    "lane", "round", "position", "start_s", "end_s", "draft_ms", "verify_ms", "overhead_ms", "limit", "drafted", "accepted", "rejected",
    "untested", "next", "stop", "alpha", "beta", "theta", "token_ids",
)  # fmt: skip


def to_csv(trace: Trace) -> str:
    rows = [",".join(COLUMNS)]
    for lane in ("eesd", "vanilla"):
        rows += [",".join(row[name] for name in COLUMNS) for row in rounds_of(trace, lane) if "token_ids" in row]
    return "\n".join(rows) + "\n"


def rounds_of(trace: Trace, lane: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    start = 0.0
    for record in trace.lane(lane):
        row = rows[-1] if rows else {}
        match record.event:
            case RoundStarted() as e:
                start = record.t
                belief = {name: fixed(e.posterior.get(name), 4) for name in ("alpha", "beta")}
                row = {"lane": lane, "round": str(e.round + 1), "position": str(e.position), "limit": str(e.limit)}
                rows.append(row | {"start_s": fixed(start, 6), "theta": "", "stop": ""} | belief)
            case DraftToken() as e:
                row["theta"] = fixed(e.terms.get("theta"), 4)  # the last draw
            case DraftStopped() as e:
                row["stop"] = e.reason
            case RoundVerified() as e:
                rejected = int(e.accepted < e.drafted)
                counts = {"drafted": e.drafted, "accepted": e.accepted, "rejected": rejected, "untested": e.drafted - e.accepted - rejected}
                overhead = record.t - start - e.draft_seconds - e.verify_seconds
                times = {"draft_ms": e.draft_seconds, "verify_ms": e.verify_seconds, "overhead_ms": overhead}
                row |= {name: str(value) for name, value in counts.items()} | {"next": e.next_kind}
                row |= {name: fixed(1e3 * value, 3) for name, value in times.items()}
            case TokensCommitted() as e:
                row |= {"end_s": fixed(record.t, 6), "token_ids": " ".join(map(str, e.ids))}
    return rows


def fixed(value, digits: int) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.{digits}f}" if is_number else ""

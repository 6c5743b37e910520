"""A trace as CSV, one row per round. It holds only numbers and words of our own: no text of a model may become a spreadsheet's formula."""

from ..rounds import Round, fold_all
from ..trace import Trace

COLUMNS = (
    "lane", "text", "round", "position", "start_s", "end_s", "draft_ms", "verify_ms", "overhead_ms", "limit", "drafted", "spine",
    "accepted", "rejected", "untested", "next", "stop", "alpha", "beta", "theta", "token_ids",
)  # fmt: skip


def to_csv(trace: Trace) -> str:
    lines = [",".join(COLUMNS)]
    for lane in fold_all(trace.records):
        for round in lane.rounds:
            if round.told or (round.committed and round.verdict):
                row = (told_row(round) if round.told else row_of(round)) | {"lane": lane.name, "text": str(lane.row + 1)}
                lines.append(",".join(row[name] for name in COLUMNS))
    return "\n".join(lines) + "\n"


def row_of(round: Round) -> dict[str, str]:
    """`spine`: number of drafts on the first path, which in a chain are all drafts; `theta`: the round's last draw."""
    verdict, states = round.verdict, [node.state for node in round.nodes]
    times = {"draft": verdict.draft_seconds, "verify": verdict.verify_seconds}
    times["overhead"] = round.end - round.start - sum(times.values())
    counts = {"round": round.number + 1, "position": round.position, "limit": round.limit, "drafted": round.drafted}
    counts["spine"] = len(round.spine)
    counts |= {state: states.count(state) for state in ("accepted", "rejected", "untested")}
    row = {name: str(count) for name, count in counts.items()} | {f"{name}_ms": fixed(1e3 * value, 3) for name, value in times.items()}
    row |= {"start_s": fixed(round.start, 6), "end_s": fixed(round.end, 6), "next": verdict.next_kind, "stop": round.stop or ""}
    row |= {name: fixed(round.belief.get(name), 4) for name in ("alpha", "beta")}
    row["theta"] = fixed(round.spine[-1].draft.terms.get("theta"), 4) if round.nodes else ""
    return row | {"token_ids": " ".join(map(str, round.committed.ids))}


def told_row(round: Round) -> dict[str, str]:
    """The row of another program's round: its counts, and its times if they are known."""
    told, empty = round.told, dict.fromkeys(COLUMNS, "")
    counts = {"round": round.number + 1, "drafted": told.drafted, "accepted": told.accepted}
    counts |= {"rejected": round.tested - told.accepted, "untested": told.drafted - round.tested}
    times = {} if told.seconds is None else {"start_s": fixed(round.start, 6), "end_s": fixed(round.end, 6)}
    return empty | {name: str(count) for name, count in counts.items()} | times | {"token_ids": " ".join(map(str, told.ids or ()))}


def fixed(value, digits: int) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.{digits}f}" if is_number else ""

"""A trace as Chrome trace events (JSON), which ui.perfetto.dev and chrome://tracing open.

Each lane is a process on its own clock: EESD with tracks for draft, verify and controller, vanilla with one. Draft tokens and verify passes
are slices, the draft length and the belief are counters, a rejection is an instant, and an arrow leads from every draft to its pass.
"""

import json

from ..events import DraftToken, PosteriorUpdated, Record, RoundStarted, RoundVerified, TokensCommitted
from ..trace import Trace

PROCESSES = {"eesd": 1, "vanilla": 2}
DRAFT, VERIFY, CONTROLLER = 1, 2, 3
TRACKS = {"eesd": {DRAFT: "draft", VERIFY: "verify", CONTROLLER: "controller"}, "vanilla": {VERIFY: "steps"}}


def to_perfetto(trace: Trace) -> str:
    events = []
    for lane, process in PROCESSES.items():
        events.append({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": f"{lane}, own clock"}})
        for track, name in TRACKS[lane].items():
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": track, "args": {"name": name}})
        events += Lane(process).events(trace.lane(lane))
    whole = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"source": "EESD Live"}}
    return json.dumps(whole, separators=(",", ":"))


class Lane:
    def __init__(self, process: int):
        self.process = process
        self.out: list[dict] = []

    def events(self, records: list[Record]) -> list[dict]:
        before, start, arrows, flow = 0, 0, [], 0  # microseconds; arrows of the round at hand, and of all
        for record in records:
            now = micro(record.t)
            match record.event:
                case RoundStarted() as e:
                    start, arrows = now, []
                    self.believe(now, e.posterior)
                case DraftToken() as e:
                    judged = {"position": e.position, "q": e.probability, "entropy": e.entropy, "go": e.go}
                    self.slice(DRAFT, e.text, before, now - before, judged | {"terms": e.terms})
                    flow += 1
                    arrows.append(flow)
                    self.add("s", DRAFT, "verified by", before, {"id": flow, "cat": "draft"})
                case RoundVerified() as e:
                    took = min(micro(e.verify_seconds), now - start)
                    args = {"round": e.round + 1, "drafted": e.drafted, "accepted": e.accepted, "next": e.next_kind, "token": e.next_text}
                    self.slice(VERIFY, f"verify {e.drafted + 1}" if e.drafted else "step", now - took, took, args)
                    for arrow in arrows:
                        self.add("f", VERIFY, "verified by", now - took, {"id": arrow, "cat": "draft", "bp": "e"})
                    if e.accepted < e.drafted:
                        self.add("i", VERIFY, "rejection", now, {"s": "t", "args": {"draft": e.accepted + 1}})
                    if self.process == PROCESSES["eesd"]:
                        self.count("draft length", start, e.drafted)
                        self.count("accepted", start, e.accepted)
                case PosteriorUpdated() as e:
                    self.believe(now, e.posterior)
                case TokensCommitted() as e:
                    self.slice(CONTROLLER if self.process == 1 else VERIFY, f"round {e.round + 1}", start, now - start, {"text": e.text})
            before = now
        return self.out

    def believe(self, now: int, posterior: dict) -> None:
        alpha, beta = posterior.get("alpha"), posterior.get("beta")
        if alpha and beta:
            self.count("belief", now, alpha / (alpha + beta))

    def count(self, name: str, now: int, value: float) -> None:
        self.add("C", 0, name, now, {"args": {name: value}})

    def slice(self, track: int, name: str, start: int, took: int, args: dict) -> None:
        self.add("X", track, name or "(empty)", start, {"dur": max(0, took), "args": args})

    def add(self, phase: str, track: int, name: str, now: int, more: dict) -> None:
        self.out.append({"ph": phase, "pid": self.process, "tid": track, "name": name, "ts": now} | more)


def micro(seconds: float) -> int:
    return round(1e6 * seconds)

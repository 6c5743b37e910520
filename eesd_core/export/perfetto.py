"""A trace as Chrome trace events (JSON), which ui.perfetto.dev and chrome://tracing open.

Each lane is a process on its own clock: EESD with tracks for draft, verify and controller, vanilla with one. Draft tokens and verify passes
are slices, the draft length and the belief are counters, a rejection is an instant, and an arrow leads from every draft to its pass.
"""

import json

from ..rounds import Lane, Round, fold_all
from ..trace import Trace

DRAFT, VERIFY, CONTROLLER = 1, 2, 3
TRACKS = {"eesd": {DRAFT: "draft", VERIFY: "verify", CONTROLLER: "controller"}, "vanilla": {VERIFY: "steps"}}


def to_perfetto(trace: Trace) -> str:
    events = []
    for process, lane in enumerate(fold_all(trace.records), 1):
        events += Process(process, lane).events()
    whole = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"source": "EESD Live"}}
    return json.dumps(whole, separators=(",", ":"))


class Process:
    def __init__(self, number: int, lane: Lane):
        self.number, self.lane, self.arrows = number, lane, 0
        self.out: list[dict] = []

    def events(self) -> list[dict]:
        name = f"{self.lane.name}, own clock" + (f", text {self.lane.row + 1}" if self.lane.row else "")
        self.name(0, "process_name", name)
        for track, name in TRACKS[self.lane.name].items():
            self.name(track, "thread_name", name)
        for round in self.lane.rounds:
            self.round(round)
        return self.out

    def round(self, round: Round) -> None:
        if round.told:
            return self.told(round)
        self.believe(micro(round.start), round.belief)
        first = self.arrows
        for node in round.nodes:
            said, start = node.draft, micro(node.start)
            judged = {"position": node.position, "q": said.probability, "entropy": said.entropy, "go": said.go, "terms": said.terms}
            judged["parent"] = node.parent + 1  # counted from 1; 0 is the text before the round
            self.slice(DRAFT, node.text, start, micro(node.end), judged)
            self.arrows += 1
            self.add("s", DRAFT, "verified by", start, {"id": self.arrows, "cat": "draft"})
        if verdict := round.verdict:
            now = micro(round.verified)
            start = now - min(micro(verdict.verify_seconds), now - micro(round.start))
            args = {"round": round.number + 1, "drafted": round.drafted, "accepted": round.accepted}
            args |= {"next": verdict.next_kind, "token": verdict.next_text}
            self.slice(VERIFY, f"verify {round.drafted + 1}" if round.drafted else "step", start, now, args)
            for arrow in range(first + 1, self.arrows + 1):
                self.add("f", VERIFY, "verified by", start, {"id": arrow, "cat": "draft", "bp": "e"})
            rejected = [number for number, node in enumerate(round.nodes, 1) if node.state == "rejected"]
            if rejected:
                self.add("i", VERIFY, "rejection", now, {"s": "t", "args": {"draft": rejected[0]}})
            if self.lane.name == "eesd":
                self.count("draft length", micro(round.start), round.drafted)
                self.count("accepted", micro(round.start), round.accepted)
            if round.learned:
                self.believe(now, round.learned)
        if round.committed:
            track = CONTROLLER if self.lane.name == "eesd" else VERIFY
            self.slice(track, f"round {round.number + 1}", micro(round.start), micro(round.end), {"text": round.committed.text})

    def told(self, round: Round) -> None:
        """A slice for another program's round, if its time is known."""
        if round.told.seconds is not None:
            start, end = micro(round.start), micro(round.end)
            self.count("draft length", start, round.drafted)
            self.count("accepted", start, round.accepted)
            self.slice(CONTROLLER, f"round {round.number + 1}", start, end, {"text": round.told.text or ""})

    def believe(self, now: int, posterior: dict) -> None:
        alpha, beta = posterior.get("alpha"), posterior.get("beta")
        if alpha and beta:
            self.count("belief", now, alpha / (alpha + beta))

    def name(self, track: int, kind: str, name: str) -> None:
        self.out.append({"ph": "M", "name": kind, "pid": self.number, "tid": track, "args": {"name": name}})

    def count(self, name: str, now: int, value: float) -> None:
        self.add("C", 0, name, now, {"args": {name: value}})

    def slice(self, track: int, name: str, start: int, end: int, args: dict) -> None:
        self.add("X", track, name or "(empty)", start, {"dur": max(0, end - start), "args": args})

    def add(self, phase: str, track: int, name: str, now: int, more: dict) -> None:
        self.out.append({"ph": phase, "pid": self.number, "tid": track, "name": name, "ts": now} | more)


def micro(seconds: float) -> int:
    return round(1e6 * seconds)

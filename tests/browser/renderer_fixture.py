"""A made-up race with everything the renderer must survive: hostile tokens, split characters, every token state.

Deterministic, no model: the target's text is fixed, a draft is right with a probability that follows the place, and
the clocks are constants. The expected counts are taken from the events, without the renderer's code.
"""

import json
from collections import Counter
from dataclasses import dataclass
from random import Random

from eesd_core import events as ev

PROMPT = "Once upon a time <b>there</b> was ${window.__x=1} a"
STORY = (
    "little lantern on a hill above the sea. Every night it watched the boats come home, and every night it wondered "
    "where they had been. One evening a small grey gull landed beside it and said that the lantern ought to come along. "
    "But who will keep the light, asked the lantern. The gull thought about it for a while. We will bring the sea to you."
)
HOSTILE = {
    5: "<img src=x onerror=window.__x=1>",
    11: "${window.__x=1}",
    17: "{{7*7}}",
    22: "`backticks`",
    27: " \u202eright to left",
    33: "\ufffd",
    38: "\n",
    46: "x" * 300,
    52: "</script><script>window.__x=1</script>",
}
SPLIT = {58: [b" caf", b"\xc3", b"\xa9"]}  # a character over two tokens
WRONG = [" cloud", " under", " which", " slowly", " green", "ing", " and", " moon"]
END = b"<|endoftext|>"
MOST_DRAFTS = 8
DRAFT_SECONDS, STEP_SECONDS, VERIFY_SECONDS, OVERHEAD = 0.0021, 0.0104, 0.0112, 0.0006


def target_tokens(tokens: int) -> list[bytes]:
    """The text that both lanes write, as the bytes of its tokens; the last one ends it."""
    words = STORY.split()
    text: list[bytes] = []
    place = 0
    while len(text) < tokens - 1:
        if place in HOSTILE:
            text.append(HOSTILE[place].encode())
        elif place in SPLIT:
            text += SPLIT[place]
        text.append(f" {words[place % len(words)]}".encode())
        place += 1
    return [*text[: tokens - 1], END]


def visible(token: bytes) -> str:
    return token.decode(errors="replace")


@dataclass
class Lane:
    """Writes the records of one lane on its own clock."""

    run: str
    name: str
    target: list[bytes]

    def __post_init__(self):
        self.records: list[ev.Record] = []
        self.clock = 0.0
        self.held = b""
        self.written = 0

    def say(self, event: ev.Event) -> None:
        self.records.append(ev.Record(self.run, self.name, len(self.records), self.clock, event))

    def begin(self, controller: str) -> None:
        settings = {"controller": controller, "temperature": 0.8, "seed": 7}
        versions = {"eesd_core": "0"}
        level = "exact-by-construction"
        self.say(ev.RunStarted(self.name, "fixture", "cpu", "float32", level, PROMPT, (1, 2, 3), settings, versions))
        self.say(ev.PrefillDone(3, 0.031))

    def commit(self, number: int, ids: list[int]) -> None:
        """As the engine's detokenizer: nothing while the end may be an unfinished character, and no special tokens."""
        self.held += b"".join(self.target[i] for i in ids if self.target[i] != END)
        text = visible(self.held)
        text = "" if text.endswith("\ufffd") else text
        self.held = b"" if text else self.held
        self.written += len(ids)
        self.say(ev.TokensCommitted(number, tuple(ids), text))

    def end(self) -> None:
        self.say(ev.RunFinished("eos", self.written))


def vanilla_lane(run: str, target: list[bytes]) -> list[ev.Record]:
    lane = Lane(run, "vanilla", target)
    lane.begin("none")
    for i, token in enumerate(target):
        lane.say(ev.RoundStarted(i, 3 + i, 0, {}))
        lane.clock += STEP_SECONDS
        step = ev.RoundVerified(i, 0, 0, (i,), (), (1.2,), i, visible(token), 0.7, "bonus", 0.0, STEP_SECONDS)
        lane.say(step)
        lane.clock += OVERHEAD / 2
        lane.commit(i, [i])
    lane.end()
    return lane.records


def draft(lane: Lane, number: int, limit: int, belief: tuple[float, float], rng: Random) -> tuple[int, int]:
    """Drafts until chi is 0. Returns how many were drafted and how many of them are right."""
    right, drafted, go = 0, 0, True
    reason = "limit"
    while go and drafted < limit:
        is_right = right == drafted and rng.random() < 0.8
        right += is_right
        theta, u = rng.betavariate(*belief), rng.random()
        go = u < theta
        at = lane.written + drafted
        text = visible(lane.target[at]) if is_right else rng.choice(WRONG)
        confidence = round(0.45 + 0.5 * rng.random(), 4)
        lane.clock += DRAFT_SECONDS
        terms = {"theta": round(theta, 4), "chi": int(go), "u": round(u, 4)}
        lane.say(ev.DraftToken(number, drafted, 3 + at, at, text, confidence, confidence, 1 - confidence, go, terms))
        drafted += 1
        reason = "limit" if go else "controller"
    lane.say(ev.DraftStopped(number, drafted, reason if drafted else "length"))
    return drafted, right


def eesd_lane(run: str, target: list[bytes], rng: Random, controller: str) -> list[ev.Record]:
    lane = Lane(run, "eesd", target)
    lane.begin(controller)
    alpha, beta, number = 4.0, 1.0, 0
    while lane.written < len(target):
        posterior = {"controller": "beta", "alpha": alpha, "beta": beta, "mean": alpha / (alpha + beta)}
        shown = posterior if controller == "beta" else {"controller": "fixed", "length": 4}
        limit = min(MOST_DRAFTS, len(target) - lane.written - 1)
        lane.say(ev.RoundStarted(number, 3 + lane.written, limit, shown))
        started = lane.clock
        drafted, accepted = draft(lane, number, limit, (alpha, beta), rng)
        drafting, next_id = lane.clock - started, lane.written + accepted
        lane.clock += VERIFY_SECONDS
        kind = "bonus" if accepted == drafted else "correction"
        chances = tuple(0.9 if i < accepted else 0.1 for i in range(drafted))
        ids = tuple(range(lane.written, lane.written + drafted + 1))
        margins = tuple(1.5 for _ in ids)
        text = visible(target[next_id])
        lane.say(ev.RoundVerified(
            number, drafted, accepted, ids, chances, margins, next_id, text, 0.8, kind, drafting, VERIFY_SECONDS
        ))  # fmt: skip
        alpha, beta = alpha + accepted, beta + (accepted < drafted)
        learned = posterior | {"alpha": alpha, "beta": beta, "mean": alpha / (alpha + beta)}
        lane.clock += OVERHEAD
        lane.say(ev.PosteriorUpdated(number, learned if controller == "beta" else shown))
        lane.commit(number, list(range(lane.written, next_id + 1)))
        number += 1
    lane.end()
    return lane.records


def trace(tokens: int = 128, run: str = "run-1", seed: int = 7, controller: str = "beta") -> list[ev.Record]:
    """Both lanes, merged as the race steps them (the lane whose clock is behind goes first), and the verdict."""
    target = target_tokens(tokens)
    lanes = [eesd_lane(run, target, Random(seed), controller), vanilla_lane(run, target)]
    merged = sorted((record for lane in lanes for record in lane), key=lambda record: record.t)
    speedup = lanes[1][-1].t / lanes[0][-1].t
    verdict = ev.RaceFinished(True, "exact-by-construction", None, speedup)
    return [*merged, ev.Record(run, "race", 0, merged[-1].t, verdict)]


def ndjson(records: list[ev.Record]) -> str:
    return "".join(json.dumps(record.to_json()) + "\n" for record in records)


def line(**values) -> str:
    """One line of the app's own."""
    return json.dumps(values) + "\n"


def expected_counts(records: list[ev.Record]) -> dict[str, int]:
    """How many tokens of each state the EESD lane shows."""
    counts = Counter(pending=0)
    for record in records:
        event = record.event
        if record.lane == "eesd" and isinstance(event, ev.RoundVerified):
            wrong = event.accepted < event.drafted
            untested = event.drafted - event.accepted - wrong
            counts.update({"accepted": event.accepted, "rejected": wrong, "untested": untested})
            if event.drafted:  # a token written without drafts is plain text
                counts.update({event.next_kind: 1})
    return dict(counts)


def expected_text(records: list[ev.Record], lane: str) -> str:
    committed = (r.event.text for r in records if r.lane == lane and isinstance(r.event, ev.TokensCommitted))
    return "".join(committed)


def arms_of(posterior: dict) -> dict:
    """A posterior as the controller `throughput` has it: one belief more for every bin of confidence."""
    alpha, beta = posterior["alpha"], posterior["beta"]
    bins = [(f"confidence {i / 10:.1f} to {(i + 1) / 10:.1f}", alpha * (i + 1) / 10 + 0.5, beta * (10 - i) / 10 + 0.5) for i in range(10)]
    return posterior | {"controller": "throughput", "arms": [{"label": label, "alpha": a, "beta": b} for label, a, b in bins]}


def with_arms(records: list[ev.Record]) -> str:
    """The same race, led by a controller with several beliefs."""
    lines = [record.to_json() for record in records]
    for values in lines:
        if values.get("posterior", {}).get("controller") == "beta":
            values["posterior"] = arms_of(values["posterior"])
    return "".join(json.dumps(values) + "\n" for values in lines)


def with_costs(records: list[ev.Record]) -> list[ev.Record]:
    """With what a round costs, as the engine says it when a lane of EESD begins."""
    verify = tuple(VERIFY_SECONDS * (0.8 + 0.02 * i) for i in range(MOST_DRAFTS + 1))
    costs = ev.Record(records[0].run, "eesd", 2, 0.0, ev.CostMeasured(DRAFT_SECONDS, verify, OVERHEAD))
    at = next(i for i, record in enumerate(records) if record.lane == "eesd" and record.event.type == "round_started")
    return [*records[:at], costs, *records[at:]]

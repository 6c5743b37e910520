"""The schema of traces: the fields of every record type, derived from the event classes, and the allowed order of records.

Traces are untrusted until `Check` has passed them. The browser applies the same rules with the same table (assets/web/lib/trace.js), and
tests check that both agree. Both formats are read: `upgraded` converts a line of eesd-trace/1 to eesd-trace/2.
"""

from collections.abc import Callable
from math import isfinite
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

from .events import EVENT_TYPES, FORMAT, OLDER

MOST_BYTES = 32 * 2**20  # enough for a race of about 18,000 tokens
MOST_TOLD = 256  # most drafts in a round of another program
LANES = ("eesd", "vanilla", "race")
NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}
HEAD = {"run": "string", "lane": list(LANES), "row": "integer", "seq": "integer", "t": "number"}
NOTES = {  # lines that belong to no lane
    "recording": {"format": "string", "date": "string", "machine": "string", "cores": "integer", "versions": "object"},
    "queue": {"place": "integer", "waiting": "integer"},
    "stopped": {"message": "string"},
    "error": {"message": "string"},
}
ROW = dict.fromkeys(("tokens_per_second", "speedup", "regret_fixed", "regret_oracle", "rounds", "accepted"), "number") | {"name": "string"}

FORK = {"position": "integer", "margin": "number?", "vanilla_id": "integer?", "eesd_id": "integer?"}
CANDIDATE = {"id": "integer", "text": "string", "probability": "number", "behind": "number"}

# Fields that eesd-trace/1 lacks, at least in its earlier files, and functions that compute their values from the line.
LATER: dict[str, dict[str, Callable[[dict], object]]] = {
    "run_started": {"special_ids": lambda line: None, "end_ids": lambda line: None},
    "draft_token": {"parent": lambda line: line["i"] - 1, "lead": lambda line: None},
    "round_verified": {
        "path": lambda line: list(range(line["accepted"])),
        "accept_probabilities": lambda line: None,
        "uniforms": lambda line: None,
    },
    "run_finished": {"speculative_decoding": lambda line: None},
    "race_finished": {"cache_difference": lambda line: None},
}

SINCE = {"race_finished": {"cache_difference"}}  # fields added after eesd-trace/2, so its earlier files lack them too


def kind_of(annotation) -> str | list[str]:
    """The kind of a field: string, integer, number, boolean, object, integers, numbers, objects, or a list of allowed words. A trailing "?"
    allows null."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) is UnionType:
        (inner,) = [part for part in get_args(annotation) if part is not NoneType]
        return f"{kind_of(inner)}?"
    if get_origin(annotation) is tuple:
        return f"{kind_of(get_args(annotation)[0])}s"
    return NAMES[annotation]


def fields_of(event: type) -> dict:
    """Kinds of an event's fields, by name. A trailing "*": eesd-trace/1 may lack the field; "**": any file may."""
    hints, later, since = get_type_hints(event), LATER.get(event.type, ()), SINCE.get(event.type, ())
    marks = {name: "*" * ((name in later) + (name in since)) for name in event.__slots__}
    return {name: f"{kind_of(hints[name])}{mark}" if mark else kind_of(hints[name]) for name, mark in marks.items()}


SCHEMA = {name: HEAD | fields_of(event) for name, event in EVENT_TYPES.items()} | NOTES


def fits(value, kind: str | list[str]) -> bool:
    if isinstance(kind, list):
        return isinstance(value, str) and value in kind
    if kind.endswith("*"):
        return fits(value, kind[:-1])
    if kind.endswith("?"):
        return value is None or fits(value, kind[:-1])
    if kind in ("integers", "numbers", "objects"):
        return isinstance(value, list) and all(fits(item, kind[:-1]) for item in value)
    if kind in ("integer", "number"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 and isfinite(value)
        return is_number and (kind == "number" or value == int(value))
    return isinstance(value, {"string": str, "boolean": bool, "object": dict}[kind])


def believable(posterior: dict) -> bool:
    """Whether all alpha and beta in a posterior and its arms are positive numbers."""
    arms = posterior.get("arms", [])
    if not isinstance(arms, list) or not all(isinstance(arm, dict) and fits(arm.get("label"), "string") for arm in arms):
        return False
    counts = [beta.get(name) for beta in (posterior, *arms) for name in ("alpha", "beta") if beta is not posterior or name in posterior]
    return all(fits(count, "number") and count > 0 for count in counts)


def whole(values, table: dict) -> bool:
    return isinstance(values, dict) and all(name in values and fits(values[name], wanted) for name, wanted in table.items())


def is_fork(difference: dict) -> bool:
    """Whether `difference` has a position, the fields of FORK and, if given, well-formed candidates of each lane."""
    candidates = difference.get("candidates", {})
    if not whole(difference, FORK) or difference["position"] < 0 or not isinstance(candidates, dict):
        return False
    return all(isinstance(rows, list) and all(whole(row, CANDIDATE) for row in rows) for rows in candidates.values())


def with_whole_numbers(line: dict) -> dict:
    """A checked line with integer fields converted to int, as JSON may hold 2.0 for 2."""
    found = whole_numbers(line, SCHEMA[line["type"]])
    if line["type"] == "race_finished" and (fork := line["first_difference"]):
        found["first_difference"] = fork | whole_numbers(fork, FORK)
    return line | found


def whole_numbers(values: dict, table: dict) -> dict:
    found = {}
    for name, kind in table.items():
        if str(kind).startswith("integer") and values.get(name) is not None:
            found[name] = list(map(int, values[name])) if str(kind).startswith("integers") else int(values[name])
    return found


def upgraded(line: dict) -> dict:
    """A checked line converted to eesd-trace/2: missing fields are added, and drafts are chains."""
    later = {name: value(line) for name, value in LATER.get(line["type"], {}).items() if name not in line}
    return line | later | ({"format": FORMAT} if "format" in line else {})


class Check:
    """Checks the lines of one trace in order. `see` raises ValueError for a line that is malformed or out of place."""

    def __init__(self):
        self.lanes: dict[tuple[str, int], LaneOrder] = {}

    def see(self, line: dict) -> None:
        kind = line.get("type") if isinstance(line, dict) else None
        if not isinstance(kind, str) or kind not in SCHEMA:
            raise ValueError("not a record of a trace")
        if "format" in line and line["format"] not in (FORMAT, OLDER):
            raise ValueError(f"the format is neither {FORMAT} nor {OLDER}")
        order = None
        if kind not in NOTES:
            require(kind, line, HEAD)
            order = self.lanes.setdefault((line["lane"], line["row"]), LaneOrder())
            order.format = line.get("format", order.format)
        require(kind, line, SCHEMA[kind], order is not None and order.format == OLDER)
        if "posterior" in line and not believable(line["posterior"]):
            raise ValueError("the posterior holds no belief")
        if kind == "what_if" and not all(whole(row, ROW) for row in line["rows"]):
            raise ValueError("a row of what_if is incomplete")
        if kind == "race_finished" and line["first_difference"] is not None and not is_fork(line["first_difference"]):
            raise ValueError("the first difference is incomplete")
        if order:
            order.see(kind, line)


def require(kind: str, line: dict, table: dict, older: bool = False) -> None:
    for name, wanted in table.items():
        if name not in line and wanted[-1] == "*" and (older or wanted[-2] == "*"):
            continue
        if name not in line or not fits(line[name], wanted):
            raise ValueError(f"{kind} needs {name} as {' or '.join(wanted) if isinstance(wanted, list) else wanted.rstrip('*')}")


class LaneOrder:
    """Checks the order within a lane: consecutive rounds, drafts only inside a round, and a verdict over exactly these drafts."""

    def __init__(self):
        self.seq, self.t, self.rounds, self.format = 0, 0.0, 0, FORMAT
        self.parents: list[int] | None = None  # parents of the open round's drafts; None: no round is open
        self.arms = 0  # number of arms in the posterior at the start of the round

    def see(self, kind: str, line: dict) -> None:
        if line["seq"] != self.seq or line["t"] < self.t or line["row"] < 0:
            raise ValueError(f"records of lane {line['lane']} are missing or out of order")
        if (line["lane"] == "race") != (kind in ("race_finished", "what_if")) or (self.seq == 0) != (
            kind in ("run_started", "race_finished")
        ):
            raise ValueError(f"{kind} cannot stand there")
        self.seq, self.t = self.seq + 1, line["t"]
        if kind == "round_told":
            self.rounds, self.parents = self.rounds + 1, None
            if line["round"] != self.rounds - 1 or not self._told(line):
                raise ValueError("round_told does not fit its run")
            return
        if kind == "round_started":
            self.rounds, self.parents, self.arms = self.rounds + 1, [], len(line["posterior"].get("arms", []))
        in_round = "round" not in line or (self.parents is not None and line["round"] == self.rounds - 1)
        if not in_round or not self._adds_up(kind, line):
            raise ValueError(f"{kind} does not fit its round")

    def _told(self, line: dict) -> bool:
        """Whether the counts of a `round_told` are possible: at most MOST_TOLD drafts, at most one token more than were accepted."""
        few = 0 <= line["accepted"] <= line["drafted"] <= MOST_TOLD
        return few and len(line["ids"] or ()) <= line["accepted"] + 1 and (line["seconds"] or 0) >= 0

    def _adds_up(self, kind: str, line: dict) -> bool:
        if kind == "draft_token":
            number, parent = len(self.parents), line.get("parent", line["i"] - 1)
            self.parents.append(parent)
            return line["i"] == number and -1 <= parent < number
        if kind == "draft_stopped":
            return line["drafted"] == len(self.parents)
        if kind == "round_verified":
            ended = (line["next_kind"] == "none") == (line["next_id"] is None)
            judged = line["drafted"] == len(self.parents) == len(line["probabilities"])
            return ended and judged and 0 <= line["accepted"] <= line["drafted"] and self._is_path(line) and self._coins(line)
        if kind == "posterior_updated":
            return len(line["posterior"].get("arms", [])) == self.arms
        return True

    def _is_path(self, line: dict) -> bool:
        """Whether the path starts at the pending token, each node is the parent of the next, and there is a margin for each node and behind
        the last."""
        last, path = -1, line.get("path", range(int(line["accepted"])))
        for node in path:
            if not 0 <= node < len(self.parents) or self.parents[int(node)] != last:
                return False
            last = node
        return len(path) == line["accepted"] and len(line["margins"]) > last + 1

    def _coins(self, line: dict) -> bool:
        """Whether there is an acceptance probability and a random number for every tested draft, or neither. (Only chains have them.)"""
        tested, coins = min(len(self.parents), line["accepted"] + 1), [line.get("accept_probabilities"), line.get("uniforms")]
        return coins == [None, None] or all(numbers is not None and len(numbers) == tested for numbers in coins)

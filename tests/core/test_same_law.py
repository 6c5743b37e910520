"""The live test of distributions: its draws are the engine's, it finds nothing where the law is right, and it finds a broken rule."""

import json
from dataclasses import replace

import pytest
import torch

from eesd_core import run as run_module
from eesd_core.checks.same_law import DRAFTED, PLACES, Drawing, distance, same_law
from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.request import Request
from eesd_core.sampling import Sampling
from eesd_core.verify import Verdict

REQUEST = Request("Once upon", sampling=Sampling(0.7, seed=5, top_k=20))


@pytest.mark.parametrize("method", ["eesd", "vanilla"])
def test_a_draw_is_what_the_engine_writes_with_that_seed(engine, method):
    sampling = replace(REQUEST.sampling, acceptance="rejection")
    drawing = Drawing(engine, replace(REQUEST, sampling=sampling, method=method))
    for seed in range(20):
        settings = {"length": DRAFTED}
        whole = Request(REQUEST.prompt, 2 * (PLACES + DRAFTED), replace(sampling, seed=seed), method, "fixed", settings)
        ids = [id for r in engine.run(whole) if r.event.type == "tokens_committed" for id in r.event.ids]
        assert drawing.draw(seed) == ids[:PLACES]


def test_the_same_law_is_found_to_be_the_same(engine):
    *_, last = same_law(engine, REQUEST, 200)
    assert last.drawn == last.wanted == 200 and 0.05 < last.acceptance < 0.95
    for found in (*(place.distance for place in last.places), last.together):
        assert found.p > 0.01 and found.measured < 1.5 * found.most
    for place in last.places:
        for column, rest in enumerate(place.other):
            assert sum(row[1 + column] for row in place.tokens) + rest == 200


def test_a_broken_rule_is_found(disagreeing, monkeypatch):
    """Drafts are accepted whatever the target says."""

    def accept_all(draft_ids, p, q, uniforms, noise):
        drafted, next_id = len(draft_ids), int((p[-1].log() + noise).argmax())
        return Verdict(tuple(range(drafted)), next_id, drafted, (), (*draft_ids, next_id))

    monkeypatch.setattr(run_module, "by_rejection", accept_all)
    *_, last = same_law(disagreeing, REQUEST, 200)
    assert last.together.p < 0.01 and last.together.measured > last.together.most


def test_a_drafter_that_reads_the_text_forgets_the_last_draw(agreeing):
    """Prompt lookup would look for its copy behind the end of the new text."""
    *_, last = same_law(agreeing, replace(REQUEST, prompt="abab", drafter="prompt-lookup"), 100)
    assert last.drawn == 100 and last.together.p > 0.01


def test_it_stops_when_told_and_reports_on_the_way(engine):
    asked = iter([False] * 100 + [True] * 10)
    reports = list(same_law(engine, REQUEST, 1000, lambda: next(asked)))
    assert [report.drawn for report in reports] == [20, 40]


def test_what_cannot_be_drawn_is_refused(engine):
    with pytest.raises(UserError, match="temperature above 0"):
        next(same_law(engine, Request("Once"), 10))
    with pytest.raises(UserError, match="context"):
        next(same_law(engine, replace(REQUEST, prompt="x" * 190), 10))


def test_distance_of_samples():
    same, other = torch.tensor([1, 2, 3, 4] * 25), torch.tensor([5, 6] * 50)
    assert distance(same, same).measured == 0 and distance(same, same).p == 1
    apart = distance(same, other)
    assert apart.measured == 1 and apart.p < 0.01 and apart.chance < apart.most < 0.5


def test_the_command_prints_what_the_page_shows(model_folder, capsys):
    where = ["--model", str(model_folder), "--dtype", "float32"]
    assert main(["same-law", "Once", "--temperature", "0.8", "--draws", "30", "--json", *where]) == 0
    said = capsys.readouterr().out.splitlines()
    assert json.loads(said[-1])["drawn"] == 30 and "total variation" in said[0]
    assert main(["same-law", "Once", *where]) == 2
    assert "temperature above 0" in capsys.readouterr().err
    assert main(["same-law", "Once", "--draws", "0", *where]) == 2
    assert "--draws must be at least 1" in capsys.readouterr().err

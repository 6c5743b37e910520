"""The comparison over many prompts: it finds forks, goes on where it stopped, and refuses what belongs to another comparison."""

import copy
import json
from types import SimpleNamespace

import pytest

from eesd_core.checks.identity import identity, prompts_that_fit
from eesd_core.errors import UserError
from eesd_core.heads.frozen import FrozenExit

PROMPTS = ["Once upon a time", "The old clock"]


def test_all_identical_and_taken_up_again(engine, tmp_path, capsys):
    out = tmp_path / "found.ndjson"
    report = identity(engine, PROMPTS, [0.0, 0.8], ["beta", "fixed:4"], 12, out)
    assert report["unexplained"] == 0
    assert [(row["temperature"], row["runs"], row["tokens"]) for row in report["rows"]] == [(0.0, 2, 24)] * 2 + [(0.8, 2, 24)] * 2
    lines = out.read_text().splitlines()
    assert len(lines) == 1 + 8 and "2 of 2" in capsys.readouterr().out
    out.write_text("\n".join(lines[:-2]) + '\n{"gro')  # killed while writing
    assert identity(engine, PROMPTS, [0.0, 0.8], ["beta", "fixed:4"], 12, out)["rows"] == report["rows"]
    assert out.read_text().splitlines() == [*lines[:-2], '{"sitting":2}', *lines[-2:]]
    for prompts, temperatures in ((PROMPTS, [0.0]), (PROMPTS[::-1], [0.0, 0.8])):
        with pytest.raises(UserError, match="--out"):
            identity(engine, prompts, temperatures, ["beta", "fixed:4"], 12, out)
    other = copy.copy(engine)
    other.exit_layer = FrozenExit(engine.target, 1)
    beside = copy.copy(engine)
    beside.heads = {"feature": SimpleNamespace(fingerprint="another")}
    for changed in (other, beside):
        with pytest.raises(UserError, match="--out"):
            identity(changed, PROMPTS, [0.0, 0.8], ["beta", "fixed:4"], 12, out)


@pytest.mark.parametrize(("level", "explained"), [("exact-as-observed", 1), ("exact-by-construction", 0)])
def test_a_fork_is_found_and_its_margin_told(engine, tmp_path, level, explained):
    """Pretend that an earlier comparison found one. By construction there is none to explain."""
    engine = copy.copy(engine)
    engine.level = level
    out = tmp_path / "found.ndjson"
    report = identity(engine, PROMPTS[:1], [0.0], ["beta"], 8, out)
    facts, cell = map(json.loads, out.read_text().splitlines())
    for margin, unexplained in ((1e-6, 1 - explained), (0.5, 1), (None, 1)):
        cell["fork"] = {"position": 3, "margin": margin}
        out.write_text(json.dumps(facts) + "\n" + json.dumps(cell) + "\n")
        report = identity(engine, PROMPTS[:1], [0.0], ["beta"], 8, out)
        assert report["unexplained"] == unexplained and len(report["rows"][0]["forks"]) == 1


def test_a_broken_file_is_said(engine, tmp_path):
    out = tmp_path / "found.ndjson"
    out.write_text("{nonsense\n")
    with pytest.raises(UserError, match="--out"):
        identity(engine, PROMPTS, [0.0], ["beta"], 8, out)


def test_prompts_that_are_too_long_are_left_out(engine, tmp_path, capsys):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("short", "long " * 5000)))
    assert prompts_that_fit(engine, [path], None, 8) == ["short"]
    assert "1 of 2" in capsys.readouterr().out
    with pytest.raises(UserError):
        prompts_that_fit(engine, [path], None, 10**6)

"""The benchmark with a tiny model: what it counts, that it goes on where it was killed, that it finds forks and broken rules."""

import json
from pathlib import Path

import pytest
import torch
from test_engine import PROMPTS as TEXTS
from tiny_families import tiny
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from eesd_core.bench import Benchmark, Prompt, bench, latest_report, peers, plan
from eesd_core.bench import measure as measuring
from eesd_core.bench.cells import Cells
from eesd_core.bench.measure import check
from eesd_core.bench.suites import SUITES
from eesd_core.bench.written import Written
from eesd_core.draft.skip_set import SkipSet
from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.frozen import FrozenExit
from eesd_core.loading import load_engine
from eesd_core.model.target import Target
from eesd_core.sampling import Sampling
from eesd_core.simulate.skip_search import Trial

PROMPTS = [Prompt(f"p{number}", "odd" if number % 2 else "even", text) for number, text in enumerate(TEXTS)]
OURS = ["fixed:3", "beta", "prompt-lookup", "layer-skip:a1.m2+fixed:2", "frozen-exit", "untrained-exit:1+fixed:2"]
PEERS = ["hf", "hf-static", "hf-early-exit:2", "hf-prompt-lookup"]
GREEDY, DRAWN = Sampling(), Sampling(0.8, seed=7)


def groups_of(engine, methods, sampling=GREEDY, tokens=12, repeats=2, prompts=PROMPTS):
    return plan(engine, "default", prompts, methods, sampling, tokens, repeats)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_all_methods_write_vanillas_text(engine, tmp_path, capsys, sampling):
    report = bench(engine, "default", groups_of(engine, [*OURS, *PEERS], sampling, repeats=1), tmp_path)
    rows = report["groups"][0]["methods"]
    assert list(rows) == ["vanilla", *OURS, *PEERS]
    for name, row in rows.items():
        assert (row["identical"], row["compared"], row["forks"]) == (3, 3, []), name
        assert row["new_tokens"] == 36 and row["speedup"]["prompts"] == 3
        assert {c: s["prompts"] for c, s in row["categories"].items()} == {"even": 2, "odd": 1}
        low, high = row["mean_accepted_interval"]
        assert 1 <= low <= row["mean_accepted_length"] <= high, name
        assert row["rounds"] + row["accepted"] >= 36 and sum(row["draft_lengths"]) == row["rounds"]
        assert row["drafted"] == sum(k * n for k, n in enumerate(row["draft_lengths"]))
        accepted = sum(a * n for a, n in zip(row["acceptance_per_position"], row["tested_per_position"]))
        assert accepted == pytest.approx(row["accepted"], abs=0.01)
    assert all(rows[name]["target_passes_per_token"] == 1.0 for name in ("vanilla", "hf", "hf-static"))
    assert all(rows[name]["draft_passes_per_token"] == 0 for name in ("vanilla", "hf", "prompt-lookup", "hf-prompt-lookup"))
    assert rows["hf-early-exit:2"]["draft_passes_per_token"] > 0 and rows["hf-early-exit:2"]["draft_layers"] == 2
    assert rows["layer-skip:a1.m2+fixed:2"]["draft_layers"] == 3 and rows["untrained-exit:1+fixed:2"]["draft_layers"] == 2
    assert rows["fixed:3"]["regret"]["speed"] == {"overall": 1, "interval": [1, 1], "median": 1, "prompts": 3}
    speed, (low, high) = rows["beta"]["regret"]["speed"], rows["beta"]["regret"]["speed"]["interval"]
    assert rows["beta"]["regret"]["over_beta"] is None
    assert low <= speed["overall"] <= high and rows["fixed:3"]["regret"]["over_beta"]["prompts"] == 3
    assert rows["beta"]["regret"]["against"] == "fixed:3" and rows["fixed:3"]["regret"]["percent"] == 0 and rows["hf"]["regret"] is None
    shown = capsys.readouterr()
    assert "3 of 3" in shown.out and "times fixed:3's" in shown.out and "min left" in shown.err


def test_by_rejection_there_is_no_text_to_compare(engine, tmp_path):
    rows = bench(engine, "default", groups_of(engine, ["fixed:3@rejection", "fixed:3"], DRAWN), tmp_path)["groups"][0]["methods"]
    assert rows["fixed:3@rejection"]["identical"] is None and rows["fixed:3"]["identical"] == 3


class Killed(Exception):
    pass


def run_for(engine, groups, folder, cells: int) -> int:
    """How many cells a sitting began with; it is killed when there are so many of them."""
    work, began = Benchmark(engine, "default", groups, folder), None
    for progress in work.run():
        began = progress.done if began is None else began
        if progress.done == cells:
            break
    return began


def test_a_killed_benchmark_goes_on_without_losing_a_cell(engine, tmp_path):
    """Also in the middle of writing a line. A controller goes on with what it had learned: draft lengths are as in one go."""
    methods = ["beta", "calibrated", "fixed:2"]
    groups = groups_of(engine, methods)
    run_for(engine, groups, tmp_path / "a", 7)
    path = next((tmp_path / "a").glob("unfinished-*.ndjson"))
    before = path.read_bytes()
    path.write_bytes(before + b'{"group":"default","method":"be')
    assert run_for(engine, groups, tmp_path / "a", 15) == 7
    assert path.read_bytes().startswith(before)
    taken_up = bench(engine, "default", groups, tmp_path / "a")
    whole = bench(engine, "default", groups, tmp_path / "b")
    assert (taken_up["sittings"], whole["sittings"]) == (3, 1)
    for name in ("beta", "calibrated", "fixed:2"):
        ours, theirs = (report["groups"][0]["methods"][name] for report in (taken_up, whole))
        assert ours["draft_lengths"] == theirs["draft_lengths"] and ours["identical"] == 3
    assert not list((tmp_path / "a").glob("unfinished-*"))
    assert len(next((tmp_path / "a").glob("*/cells.ndjson")).read_text().splitlines()) == 1 + 2 + 3 * 2 * 4  # header, two more sittings


def test_other_settings_do_not_meet(engine, tmp_path):
    run_for(engine, groups_of(engine, ["fixed:2"]), tmp_path, 3)
    assert run_for(engine, groups_of(engine, ["fixed:2"], tokens=13), tmp_path, 5) == 0
    assert len(list(tmp_path.glob("unfinished-*"))) == 2


def test_another_dtype_is_said(model_folder, tmp_path, capsys):
    """`--dtype auto` may pick another one when an interrupted benchmark is taken up."""
    engines = [load_engine(str(model_folder), device="cpu", dtype=dtype) for dtype in ("bfloat16", "float32")]
    groups = groups_of(engines[0], ["fixed:2"], repeats=1)
    run_for(engines[0], groups, tmp_path, 2)
    (tmp_path / "unfinished-x.ndjson").write_text("[]")
    bench(engines[1], "default", groups, tmp_path)
    assert "--dtype bfloat16" in capsys.readouterr().err


HEADER = b'{"format":"eesd-bench-cells/1","a":1}\n'


@pytest.mark.parametrize("content", [b"nonsense\n", b'{"format":"other"}\n', HEADER + b'{"group":1}\n', b"\xff\n"])
def test_broken_cells_are_said(tmp_path, content):
    (tmp_path / "cells").write_bytes(content)
    with pytest.raises(UserError, match="--out"):
        Cells(tmp_path / "cells", {"a": 1})


@pytest.mark.parametrize("content", [b"notes of mine", b'{"a": 1}', HEADER[:9] + b"x", HEADER + b"[1,2]\n{", b"a\nb"])
def test_somebody_elses_file_stays_as_it_is(tmp_path, content):
    """`identity --out FILE` may name any file, and few end with a line break: all behind the last one counted as cut off by a kill."""
    (tmp_path / "cells").write_bytes(content)
    with pytest.raises(UserError, match="cannot be taken up"):
        Cells(tmp_path / "cells", {"a": 1})
    assert (tmp_path / "cells").read_bytes() == content


@pytest.mark.parametrize("content", [b"", HEADER[:9], HEADER, HEADER + b'{"note":"x","val'])
def test_a_file_that_was_cut_off_is_taken_up(tmp_path, content):
    (tmp_path / "cells").write_bytes(content)
    cells = Cells(tmp_path / "cells", {"a": 1})
    cells.note("x", "y")
    cells.close()
    assert Cells(tmp_path / "cells", {"a": 1}).notes == {"x": "y"}


def test_a_refused_benchmark_leaves_nothing_behind(engine, tmp_path):
    with pytest.raises(UserError):
        bench(engine, "default", groups_of(engine, ["vanilla"]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_not_read(tmp_path):
    """/dev/full and /dev/zero can be read for ever."""
    with pytest.raises(UserError, match="No space left"):
        Cells(Path("/dev/full"), {"a": 1})


def test_the_order_is_reversed_on_every_second_repeat(engine, tmp_path):
    work = Benchmark(engine, "default", groups_of(engine, ["fixed:1", "fixed:2"], prompts=PROMPTS[:1]), tmp_path)
    list(work.run())
    found = [json.loads(line).get("method") for line in (work.folder / "cells.ndjson").read_text().splitlines()[1:]]
    assert found == ["vanilla", "fixed:1", "fixed:2", "fixed:2", "fixed:1", "vanilla"]


def test_a_fork_is_told_with_its_margin(engine, tmp_path, monkeypatch):
    """A peer that writes something else."""
    plain = measuring.Runner.write

    def other(runner, *arguments):
        written = plain(runner, *arguments)
        if runner.method.peer:
            written.ids[5] ^= 1
        return written

    monkeypatch.setattr(measuring.Runner, "write", other)
    row = bench(engine, "default", groups_of(engine, ["hf"]), tmp_path)["groups"][0]["methods"]["hf"]
    assert row["identical"] == 0 and [fork["position"] for fork in row["forks"]] == [5, 5, 5] and row["forks"][0]["margin"] > 0


@pytest.mark.parametrize("ids", [[1] * 13, [1] * 11, [1] * 5 + [9] + [1] * 6], ids=["too many", "too few", "beyond the end"])
def test_a_broken_stop_rule_stops_the_benchmark(ids):
    check(Written([1] * 12, [[0, 0]] * 12, 1.0, 12, 0.0, 0, 0), 12, frozenset([9]), "x")
    check(Written([1] * 5 + [9], [[0, 0]] * 6, 1.0, 6, 0.0, 0, 0), 12, frozenset([9]), "x")
    with pytest.raises(RuntimeError, match="stop rule"):
        check(Written(ids, [[0, 0]] * 20, 1.0, 12, 0.0, 0, 0), 12, frozenset([9]), "x")


def test_a_peer_that_cannot_run_is_left_out_and_said(engine, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("not for this model")

    monkeypatch.setattr(engine.target.model, "generate", refuse)
    report = bench(engine, "default", groups_of(engine, ["hf", "fixed:2"]), tmp_path)
    assert list(report["groups"][0]["methods"]) == ["vanilla", "fixed:2"] and "not for this model" in report["notes"]["default: hf"]


def test_transformers_as_one_has_it(model_folder, engine, tmp_path, monkeypatch):
    """The same text from a second copy that nobody has touched; left out where there is no file to load, or no room."""
    ours = load_engine(str(model_folder), device="cpu", dtype="float32")
    stock = peers.stock(ours.target)
    assert type(stock.layers[0]) is LlamaDecoderLayer and stock.dtype == torch.float32 and stock.config._attn_implementation == "sdpa"
    report = bench(ours, "default", groups_of(ours, ["hf", "hf-stock"], repeats=1), tmp_path / "a")
    assert report["groups"][0]["methods"]["hf-stock"]["identical"] == 3
    monkeypatch.setattr(peers, "ROOM", 0.0)
    for target, reason in ((ours.target, "free memory"), (stock, "own modules")):
        with pytest.raises(UserError, match=reason):
            peers.stock(target)
    report = bench(engine, "default", groups_of(engine, ["hf", "hf-stock"], repeats=1), tmp_path / "b")
    assert "hf-stock" not in report["groups"][0]["methods"] and "left out" in report["notes"]["default: hf-stock"]


@pytest.mark.parametrize("variant", ["gpt2", "gpt_neox", "gemma3"])
def test_other_families(engine, tmp_path, variant):
    """transformers' early exit passes all layers of some families, or fails: then it is left out and said."""
    target = Target(tiny(variant), engine.target.tokenizer, variant)
    theirs = Engine(target, FrozenExit(target, 2), "exact-as-observed")
    report = bench(theirs, "default", groups_of(theirs, ["hf", "hf-early-exit", "hf-prompt-lookup", "fixed:2"], repeats=1), tmp_path)
    rows, left_out = report["groups"][0]["methods"], [note for note in report["notes"] if "hf-early-exit" in note]
    assert all(row["identical"] == 3 for row in rows.values()) and {"hf", "hf-prompt-lookup", "fixed:2"} <= rows.keys()
    assert ("hf-early-exit" in rows) == (variant == "gemma3") and len(left_out) == (variant != "gemma3")


def test_the_skip_set_is_searched_for_once(engine, tmp_path, monkeypatch):
    calls = []
    trials = [Trial(1, SkipSet.parse("a0"), 0.5), Trial(2, SkipSet.parse("a1.m2"), 1.25)]
    monkeypatch.setattr(measuring, "search_skips", lambda *_: calls.append(1) or iter(trials))
    groups = groups_of(engine, ["layer-skip", "layer-skip+fixed:1"], tokens=6)
    run_for(engine, groups, tmp_path, 1)
    report = bench(engine, "default", groups, tmp_path)
    assert len(calls) == 1 and report["groups"][0]["methods"]["layer-skip"]["drafter"] == "layer-skip:a1.m2"


def test_a_search_says_how_far_it_is_and_can_be_stopped(engine, tmp_path, monkeypatch):
    trials = [Trial(n, SkipSet.parse("a1"), 1.0) for n in (1, 2, 3)]
    monkeypatch.setattr(measuring, "search_skips", lambda *_: iter(trials))
    said, work = [], Benchmark(engine, "default", groups_of(engine, ["layer-skip"]), tmp_path)
    for progress in work.run(lambda: len(said) > 1):
        said.append(progress.line())
    assert len(said) == 2 and "1 of 40 sets" in said[1] and work.report is None


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "default"])
def test_every_suite_can_be_planned(engine, suite):
    groups = plan(engine, suite, PROMPTS, None, GREEDY, 16, 2)
    assert groups and all(group.methods[0] == "vanilla" and len(set(group.methods)) == len(group.methods) for group in groups)
    assert max(group.new_tokens for group in groups) <= engine.target.context
    with pytest.raises(UserError):
        plan(engine, suite, PROMPTS, ["beta"], GREEDY, 16, 2)


def test_a_suite_with_an_axis_runs(engine, tmp_path):
    groups = [group for group in plan(engine, "temperature", PROMPTS, None, GREEDY, 6, 1) if group.x in (0.0, 1.0)]
    report = bench(engine, "temperature", tuple(groups), tmp_path)
    assert [group["x"] for group in report["groups"]] == [0.0, 1.0]


def test_the_latest_report_is_found(engine, tmp_path):
    assert latest_report(tmp_path, tmp_path / "shipped") is None
    groups = groups_of(engine, ["fixed:1"], tokens=4, repeats=1)
    bench(engine, "default", groups, tmp_path)
    found = latest_report(tmp_path, tmp_path / "shipped")
    assert found.data["suite"] == "default" and not found.recorded
    (tmp_path / "9999-broken").mkdir()
    (tmp_path / "9999-broken" / "report.json").write_text("{")
    assert latest_report(tmp_path, tmp_path / "shipped") == found
    (folder,) = tmp_path.glob("*-default")
    folder.rename(tmp_path / "shipped")
    assert latest_report(tmp_path, tmp_path / "shipped").recorded


def test_several_processes_are_refused(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.target, "shards", 2)
    with pytest.raises(UserError, match="torchrun"):
        Benchmark(engine, "default", groups_of(engine, ["fixed:1"]), tmp_path)


def test_a_prompt_that_does_not_fit_is_said_before_the_work(engine, tmp_path):
    with pytest.raises(UserError, match=r"^prompt p\d: .*context"):
        bench(engine, "default", groups_of(engine, ["fixed:1"], tokens=190), tmp_path)
    with pytest.raises(UserError, match="--out"):
        (tmp_path / "file").write_text("")
        bench(engine, "default", groups_of(engine, ["fixed:1"]), tmp_path / "file" / "x")

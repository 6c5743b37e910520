"""The command line: --json as design says, and one clear line for every mistake."""

import errno
import json
import os
import shutil
import subprocess
import sys
from itertools import islice

import pytest

from eesd_core import racing
from eesd_core.cli import COMMANDS, main
from eesd_core.engine import Engine
from eesd_core.trace import open_trace

HOSTILE = ["<img src=x onerror=alert(1)>", "${1+1}", "a <|endoftext|> b", "\x1b[31mred", "\u202etxet", "{{7*7}}"]


@pytest.fixture
def call(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(list(arguments))
        except SystemExit as exit:
            status = exit.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


def last_json(out: str) -> dict:
    return json.loads(out.splitlines()[-1])


def test_race_json(call, model_folder, tmp_path):
    trace = tmp_path / "race.ndjson"
    status, out, _ = call("race", "Once", "--model", str(model_folder), "--max-new-tokens", "24", "--json", "--trace", str(trace))
    report = last_json(out)
    assert status == 0 and report["identical"] is True and report["first_difference"] is None and report["speedup"] > 0
    assert report["level"] in ("exact-by-construction", "exact-as-observed")
    assert report["vanilla"]["token_ids"] == report["eesd"]["token_ids"] and len(report["eesd"]["token_ids"]) == 24
    assert "verdict  identical" in out and trace.read_text().count("\n") > 24


def test_generate_json(call, model_folder):
    arguments = ["generate", "Once", "--model", str(model_folder), "--max-new-tokens", "16", "--temperature", "0.8", "--json"]
    status, out, _ = call(*arguments, "--draft-length", "3")
    report = last_json(out)
    fields = "method controller token_ids text new_tokens rounds drafted accepted acceptance_rate mean_accepted_length"
    assert status == 0 and {*fields.split(), "draft_lengths", "seconds", "tokens_per_second"} <= set(report)
    assert report["controller"] == {"name": "fixed", "length": 3} and max(report["draft_lengths"]) == 3
    plain = last_json(call(*arguments, "--method", "vanilla")[1])
    assert plain["token_ids"] == report["token_ids"] and plain["drafted"] == 0


def test_stop(call, model_folder):
    arguments = ["generate", "Once", "--model", str(model_folder), "--max-new-tokens", "16", "--json"]
    whole = last_json(call(*arguments)[1])
    assert whole["finish"] == "length"
    letter = next(c for c in whole["text"][3:] if c.isascii() and c.isprintable())
    status, out, _ = call(*arguments, "--stop", "never", "--stop", letter)
    report = last_json(out)
    assert status == 0 and report["finish"] == "stop" and report["text"] == whole["text"][: whole["text"].index(letter)]
    assert report["token_ids"] == whole["token_ids"][: report["new_tokens"]]
    report = last_json(call("race", *arguments[1:], "--stop", letter)[1])
    assert report["identical"] and report["vanilla"]["finish"] == report["eesd"]["finish"] == "stop"


@pytest.mark.parametrize("prompt", HOSTILE)
def test_hostile_prompts_are_text(call, model_folder, prompt):
    status, out, _ = call("race", prompt, "--model", str(model_folder), "--max-new-tokens", "8", "--json")
    assert status == 0 and last_json(out)["identical"]
    assert "\x1b" not in out and "\u202e" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", ""], ["generate", " \n"], ["generate", "a" * 100_000], ["generate", "x", "--seed", "abc"],
        ["generate", "x", "--seed", "-1"],
        ["generate", "x", "--max-new-tokens", "-5"], ["generate", "x", "--max-new-tokens", "5000"],
        ["generate", "x", "--temperature", "nan"],
        ["generate", "x", "--top-p", "0"], ["generate", "x", "--draft-length", "99"], ["generate", "x", "--prior", "0", "1"],
        ["generate", "x", "--draft-length", "2", "--prior", "1", "1"], ["generate", "x", "--trace", "/nowhere/x.ndjson"],
        ["generate", "x", "--quantize", "q4", "--dtype", "bfloat16"],
        ["generate", "x", "--stop", ""], ["generate", "x", "--stop", "x" * 257],
        ["generate", "x", "--colour"], ["generate"], ["fly"], [], ["bench", "--prompts", "nowhere.jsonl"], ["bench", "--methods", "magic"],
        ["bench", "--limit", "0"], ["bench", "--methods", ""], ["train-base", "--data", "x", "--tokens", "nan"],
        ["sizes", "2x64", "--data", "x", "--validation", "x", "--out", "x", "--tokens", "0"],
    ],
    ids=lambda a: " ".join(a)[:40],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(call, model_folder, arguments):
    where = ["--model", str(model_folder)] if arguments[:1] in (["generate"], ["bench"]) else []
    status, _, err = call(*arguments, *where)
    assert status == 2 and err.count("\n") == 1 and err.startswith("error: ")


def test_a_folder_that_cannot_be_made_is_one_clear_line(call, model_folder, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = call("mix", str(model_folder), str(model_folder), "--out", str(tmp_path / "file"))
    assert status == 2 and err.count("\n") == 1 and "choose another path" in err


def test_a_broken_model_is_one_clear_line(call, model_folder, tmp_path):
    status, _, err = call("race", "x", "--model", str(tmp_path / "nowhere"))
    assert status == 2 and err.count("\n") == 1 and err.startswith("error: ")
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"broken")
    done = subprocess.run([sys.executable, "-m", "eesd_core", "race", "x", "--model", str(folder)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_bench_prints_every_method(call, model_folder, tmp_path):
    arguments = ["--limit", "2", "--max-new-tokens", "8", "--methods", "fixed:2,beta", "--out", str(tmp_path / "bench")]
    status, out, _ = call("bench", "--model", str(model_folder), *arguments, "--json")
    methods = last_json(out)["groups"][0]["methods"]
    assert status == 0 and list(methods) == ["vanilla", "fixed:2", "beta"]
    assert all(row["identical"] == 2 for row in methods.values()) and methods["vanilla"]["speedup"]["overall"] == 1.0
    assert call("bench", "--model", str(model_folder), *arguments, "--json", str(tmp_path / "x.json"))[0] == 0
    assert list(json.loads((tmp_path / "x.json").read_text())["groups"][0]["methods"]) == list(methods)


def test_doctor_prints_costs(call, model_folder):
    status, out, _ = call("doctor", "--model", str(model_folder), "--json")
    assert status == 0 and last_json(out)["costs"]["plain"] > 0


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--suite", "magic"], "length, temperature, batch, gpu"), (["--suite", "full", "--methods", "beta"], "leave out --methods"),
        (["--repeats", "0"], "--repeats"), (["--suite", "batch", "--repeats", "0"], "--repeats"),
    ],
    ids=lambda a: "-".join(a) if isinstance(a, list) else "",
)  # fmt: skip
def test_a_benchmark_that_cannot_be_planned_is_refused_before_the_model_is_loaded(call, monkeypatch, arguments, says):
    monkeypatch.setattr("eesd_core.cli.measurements.load_engine", lambda *_: pytest.fail("a model was loaded first"))
    status, _, err = call("bench", *arguments)
    assert status == 2 and err.count("\n") == 1 and says in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x", "--trace"], ["race", "x", "--trace"], ["record", "x", "--out"], ["bench", "--json"],
        ["export", "nowhere.ndjson", "--format", "csv", "--out"],
    ],
    ids=lambda a: a[0],
)  # fmt: skip
def test_a_path_that_cannot_be_written_is_said_before_the_run(call, monkeypatch, tmp_path, arguments):
    for place in ("eesd_core.cli.runs.load_engine", "eesd_core.cli.measurements.load_engine"):
        monkeypatch.setattr(place, lambda *_: pytest.fail("a model was loaded first"))
    status, _, err = call(*arguments, str(tmp_path))  # a folder
    assert status == 2 and err.count("\n") == 1 and "cannot be written" in err


def test_a_refused_run_leaves_an_earlier_trace_alone(call, tmp_path):
    trace = tmp_path / "t.ndjson"
    trace.write_text("an earlier run\n")
    assert call("generate", "x", "--model", str(tmp_path / "nowhere"), "--trace", str(trace))[0] == 2
    assert trace.read_text() == "an earlier run\n"
    assert call("generate", "x", "--model", str(tmp_path / "nowhere"), "--trace", str(tmp_path / "new"))[0] == 2
    assert not (tmp_path / "new").exists()


def test_same_law_refuses_the_other_acceptance_rule(call, model_folder):
    status, _, err = call("same-law", "x", "--temperature", "0.8", "--acceptance", "shared-noise", "--model", str(model_folder))
    assert status == 2 and "leave out --acceptance" in err


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--temperatures", "0", "-1"], "temperature"), (["--max-new-tokens", "0"], "at least 1"),
        (["--methods", "hf"], "cannot be run here"),
    ],
    ids=lambda a: a[0] if isinstance(a, list) else "",
)  # fmt: skip
def test_a_comparison_that_cannot_be_made_leaves_no_file(call, monkeypatch, tmp_path, arguments, says):
    """Its file would have been refused by the corrected command, as that of another comparison."""
    monkeypatch.setattr("eesd_core.cli.measurements.load_engine", lambda *_: pytest.fail("a model was loaded first"))
    status, _, err = call("identity", "--prompts", "x", "--out", str(tmp_path / "cells"), *arguments)
    assert status == 2 and err.count("\n") == 1 and says in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["generate", "race", "together"])
@pytest.mark.parametrize("end, rc", [(KeyboardInterrupt, 130), (BrokenPipeError, 0)], ids=["Ctrl-C", "head"])
def test_a_stopped_run_leaves_its_trace(call, model_folder, tmp_path, monkeypatch, command, end, rc):
    """What was written until then can be replayed."""
    home, name = {"generate": (Engine, "run"), "race": (racing, "race"), "together": (Engine, "run_together")}[command]
    plain = getattr(home, name)

    def stopped(*arguments, **named):
        yield from islice(plain(*arguments, **named), 30)
        raise end

    monkeypatch.setattr(home, name, stopped)
    monkeypatch.setattr("eesd_core.cli.os.dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    (tmp_path / "p.jsonl").write_text('{"prompt": "Once"}\n{"prompt": "The"}\n')
    what = ["--prompts", str(tmp_path / "p.jsonl")] if command == "together" else ["Once"]
    status, _, err = call(command, *what, "--model", str(model_folder), "--trace", str(tmp_path / "t"), "--max-new-tokens", "40")
    assert status == rc and "Traceback" not in err
    assert len(open_trace(tmp_path / "t").records) == 30
    assert call("replay", str(tmp_path / "t"), "--speed", "0")[0] == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_clear_line(call, monkeypatch, number):
    """A write that fails does not name its file. On clusters it is mostly the user's share that is full."""

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setitem(COMMANDS, "doctor", full)
    status, _, err = call("doctor")
    assert status == 2 and err == f"error: {os.strerror(number)}: choose another path, or make room\n"


def test_a_closed_output_is_no_mistake(model_folder):
    command = [sys.executable, "-m", "eesd_core", "generate", "Once", "--model", str(model_folder), "--max-new-tokens", "4"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1))
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x", "--model", ""], ["generate", "x", "--exit-layer", ""], ["generate", "x", "--heads="],
        ["race", "x", "--trace", ""], ["bench", "--out", ""], ["distill", "--out", "x", "--data", ""],
        ["export-draft", "--model", "", "--out", "x"],
        ["bench", "--json="],
    ],
    ids=lambda a: " ".join(a)[:40],
)  # fmt: skip
def test_an_empty_name_is_not_the_default(call, arguments):
    """`--model "$MODEL"`, and the variable is not set."""
    status, _, err = call(*arguments)
    assert status == 2 and err.count("\n") == 1 and "is empty" in err


@pytest.mark.parametrize("controller", [["--controller", "beta"], ["--controller", "fixed:3"]])
def test_a_draft_length_is_the_fixed_controllers(call, model_folder, controller):
    status, _, err = call("generate", "x", "--model", str(model_folder), "--draft-length", "2", *controller)
    assert status == 2 and err.count("\n") == 1 and "--draft-length" in err


@pytest.mark.parametrize("flags, says", [(["--rows", "0"], "rows (rows of a tree"), (["--drafter", "cape:8:5"], "priced (1: a candidate")])
def test_a_drafters_setting_is_named(call, flags, says):
    status, _, err = call("generate", "x", *flags)
    assert status == 2 and err.startswith(f"error: {says}") and ") must be a whole number from" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["distill", "--exit-after", "1", "--new-tokens", "0"], ["distill", "--exit-after", "1", "--prompt-tokens", "-3"],
        ["distill", "--head", "feature", "--texts", "x", "--rows", "0"], ["sweep", "--new-tokens", "0"],
        ["write-replies", "--data", "x", "--requests", "0"], ["train-base", "--data", "x", "--window", "0"],
    ],
    ids=lambda a: " ".join(a)[:40],
)  # fmt: skip
def test_training_with_nothing_to_do_is_refused(call, tmp_path, arguments):
    status, _, err = call(*arguments, "--out", str(tmp_path / "out"))
    assert status == 2 and err.count("\n") == 1 and "must be at least 1" in err


@pytest.mark.parametrize("command", [["distill", "--exit-after", "1"], ["sweep"]], ids=lambda a: a[0])
def test_a_folder_for_a_result_is_tried_before_the_work(call, tmp_path, monkeypatch, command):
    (tmp_path / "file").touch()
    status, _, err = call(*command, "--out", str(tmp_path / "file" / "x"))
    assert status == 2 and err.count("\n") == 1 and "give --out another folder" in err


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf"])
def test_a_learning_rate_is_a_rate(call, value):
    status, _, err = call("distill", "--head", "feature", "--texts", "x", "--rate", value, "--out", "x")
    assert status == 2 and err.count("\n") == 1 and "--rate" in err

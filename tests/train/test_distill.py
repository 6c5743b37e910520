"""Distillation end to end on tiny models, at full speed of a few steps: it learns, resumes, measures and says what it needs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.loading import load_engine
from eesd_core.model.load import load_target
from eesd_core.train import distill as module
from eesd_core.train.distill import DistillConfig, Student, distill, teach
from eesd_core.train.generations import DRAWS, Draw, Prompts, Texts, collect, read, write

SMALL = DistillConfig(2, generations=16, prompt_tokens=12, new_tokens=20, rows=4, steps=12, warmup_steps=5)
FACTS = {
    "held_out_agreement",
    "held_out_overlap",
    "acceptance_per_position",
    "draft_cost",
    "predicted_speedup",
    "measured_speedup",
    "level",
}


@pytest.fixture
def bare(model_folder, tmp_path):
    """The tiny model without an exit layer."""
    target = load_target(model_folder, "cpu", "bfloat16")
    target.model.save_pretrained(tmp_path / "bare")
    target.tokenizer.save_pretrained(tmp_path / "bare")
    return tmp_path / "bare"


def test_texts_are_what_generate_writes(engine):
    """Prompts of different lengths in one batch: padding leaves no trace."""
    target, prompts = engine.target, [[40, 41, 42], [50] * 9, [60, 61]]
    texts = write(target, prompts, 10, Draw(0.0))
    for prompt, ids, first, length in zip(prompts, texts.ids, texts.first, texts.length):
        assert ids[: len(prompt)].tolist() == prompt and first == len(prompt) and length == len(prompt) + 10
        assert (ids[length:] == 0).all()


def texts_behind(prompts: list[int]) -> Texts:
    """A text a prompt, which is one token; at a temperature that says which text it is."""
    count, ids = len(prompts), torch.tensor(prompts)[:, None]
    ones, numbers = torch.ones(count, dtype=torch.long), torch.arange(count) / count
    return Texts(torch.cat([ids, ids * 0], 1), ones, ones * 2, numbers, numbers * 0)


@pytest.mark.parametrize("prompts", [list(range(400)), [7 * i % 40 for i in range(400)], [0, 1], [0] * 399 + [1]])
def test_no_prompt_is_both_learned_from_and_judged_on(prompts):
    texts = texts_behind(prompts)
    held, rest = texts.hold_out(50)
    assert len(held) + len(rest) == len(texts) and len(held) and len(rest)
    assert not set(held.ids[:, 0].tolist()) & set(rest.ids[:, 0].tolist())
    if len(set(prompts)) > 2:
        assert len(held) == 50 and abs(held.temperature.mean() - 0.5) < 0.05  # from all of them


def test_texts_behind_one_prompt_are_refused():
    with pytest.raises(UserError, match="same prompt"):
        texts_behind([3, 3, 3]).hold_out(1)


def test_texts_are_kept_and_a_broken_file_is_named(engine, tmp_path):
    target = engine.target
    prompts = Prompts(target, None, None, 12)
    collect(target, prompts, tmp_path, 6, 8, 1)
    before = read(tmp_path, 6, 0)
    collect(target, prompts, tmp_path, 6, 8, 1)  # nothing is written again
    assert torch.equal(read(tmp_path, 6, 0).ids, before.ids)
    for others, new_tokens in ((Prompts(target, None, None, 7), 8), (prompts, 9)):
        with pytest.raises(UserError, match="other prompts, of another length"):
            collect(target, others, tmp_path, 6, new_tokens, 1)
    with pytest.raises(UserError, match="or temperature"):
        collect(target, prompts, tmp_path, 6, 8, 1, DRAWS["greedy"])
    next(tmp_path.glob("texts-*")).write_bytes(b"x")
    with pytest.raises(UserError, match="delete it"):
        read(tmp_path, 6, 0)


def test_few_texts_are_drawn_in_every_way_too(engine, tmp_path):
    collect(engine.target, Prompts(engine.target, None, None, 12), tmp_path, 5, 8, 1)
    texts = read(tmp_path, 5, 0)
    for name, values in zip(Draw._fields, zip(*DRAWS["mixed"])):
        torch.testing.assert_close(getattr(texts, name), torch.tensor(values))


def test_the_layer_has_soft_targets_and_its_twin_hard_ones(bare):
    target = load_target(bare, "cpu", "float32")
    ids = torch.randint(5, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    states, finals = (part.float() for part in teach(target, ids, 2))
    layer, judged = ExitLayer(target, 2), torch.ones(2, 9, dtype=torch.bool)
    student, teacher = layer.rows(target, states).log_softmax(-1), target.head_rows(finals)
    soft = (teacher.softmax(-1) * (teacher.log_softmax(-1) - student)).sum(-1).mean()
    hard = torch.nn.functional.cross_entropy(student.flatten(0, 1), teacher.argmax(-1).flatten())
    for expected, is_hard in ((soft, False), (hard, True)):
        torch.testing.assert_close(Student(target, layer, is_hard)(states, finals, judged), expected)


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_distill_trains_measures_and_saves(bare, tmp_path, capsys, quantize):
    few = DistillConfig(2, generations=4, prompt_tokens=12, new_tokens=12, rows=2, steps=2)
    facts = distill(str(bare), None, None, tmp_path / "work", tmp_path / "out", few, "cpu", quantize)
    assert facts.keys() >= FACTS and "memory, estimated" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "exit_layer.json").read_text())
    assert stored["training"].keys() >= FACTS and stored["exit_after"] == 2
    assert load_engine(str(bare), str(tmp_path / "out"), "cpu", "auto", quantize).exit_layer.note == ""


def test_only_the_exit_layer_learns_and_training_resumes(bare, tmp_path, monkeypatch, capsys):
    """Kept states or states made anew in every step: the same training. Taken up again, it goes on."""
    monkeypatch.setattr(module, "measure", lambda *_: {})
    finished = []
    for number, most in enumerate((8e9, 0)):
        monkeypatch.setattr(module, "MOST_KEPT", most)
        distill(str(bare), None, None, tmp_path / f"work{number}", tmp_path / f"out{number}", SMALL, "cpu")
        finished.append(ExitLayer.load(tmp_path / f"out{number}", load_target(bare, "cpu", "float32")).state_dict())
    start = ExitLayer(load_target(bare, "cpu", "float32"), 2).state_dict()
    for name, tensor in finished[0].items():
        torch.testing.assert_close(tensor, finished[1][name], rtol=0.05, atol=0.02)
    assert any(not torch.equal(tensor, start[name]) for name, tensor in finished[0].items())
    capsys.readouterr()
    more = DistillConfig(**{**module.asdict(SMALL), "steps": 14})
    distill(str(bare), None, None, tmp_path / "work0", tmp_path / "out0", more, "cpu")
    assert "resuming at step 12" in capsys.readouterr().out
    with pytest.raises(UserError, match="other settings"):
        distill(str(bare), None, None, tmp_path / "work0", tmp_path / "out0", replace(SMALL, rows=3), "cpu")


def test_a_twin_learns_to_draft_greedily_and_the_layer_stays(model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "measure", lambda *_: {})
    target, twins = load_target(model_folder, "cpu", "float32"), replace(SMALL, exit_after=1, steps=0, greedy_steps=40)
    before = ExitLayer.load(model_folder, target)
    facts = distill(str(model_folder), None, None, tmp_path / "work", tmp_path / "out", twins, "cpu")
    after = ExitLayer.load(tmp_path / "out", target)
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
    texts = read(next((tmp_path / "work").glob("*/greedy")), 16, 0)
    assert (texts.temperature == 0).all() and facts["greedy_steps"] == 40
    states, finals = (part.float() for part in teach(target, texts.ids, 1))
    judged = torch.ones(texts.ids.shape, dtype=torch.bool)
    losses = [Student(target, layer, True)(states, finals, judged).item() for layer in (after, after.greedy)]
    assert losses[1] < losses[0]
    # Behind that the layer learns on, from text that was drawn, and the twin stays.
    both = tmp_path / "both"
    shutil.copytree(model_folder, both)
    for file in (tmp_path / "out").iterdir():
        shutil.copy(file, both)
    more = replace(SMALL, exit_after=1, steps=4)
    distill(str(both), None, None, tmp_path / "more", tmp_path / "end", more, "cpu")
    last = ExitLayer.load(tmp_path / "end", target)
    assert any(not torch.equal(tensor, last.state_dict()[name]) for name, tensor in before.state_dict().items())
    for name, tensor in after.greedy.state_dict().items():
        torch.testing.assert_close(last.greedy.state_dict()[name], tensor, rtol=0.02, atol=0.01)
    drawn = {round(value, 1) for value in read(next((tmp_path / "more").glob("*/drawn")), 16, 0).temperature.tolist()}
    assert drawn == {draw.temperature for draw in DRAWS["drawn"]}
    with pytest.raises(UserError, match="--greedy-steps"):
        replace(SMALL, steps=0)


def test_sweep_writes_a_table_and_a_chart(bare, tmp_path, capsys):
    shape = ["--generations", "8", "--prompt-tokens", "8", "--new-tokens", "12", "--steps", "3", "--device", "cpu"]
    command = [
        "sweep",
        "--model",
        str(bare),
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "out"),
        "--depths",
        "1",
        "3",
        *shape,
    ]
    assert main(command) == 0
    assert "exit after" in capsys.readouterr().out and (tmp_path / "out" / "sweep.svg").read_text().count("<polyline") == 4
    assert [row["exit_after"] for row in json.loads((tmp_path / "out" / "sweep.json").read_text())] == [1, 3]
    assert main([*command[:-1], "cpu", "--depths", "4"]) == 2
    assert "1 to 3" in capsys.readouterr().err

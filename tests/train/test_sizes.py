import json

import pytest
import torch
from test_training import LINES

from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.metrics import Metrics
from eesd_core.request import Request
from eesd_core.train import pretrain
from eesd_core.train.pretrain import PretrainConfig, build_model
from eesd_core.train.sizes import NEW_TOKENS, SAMPLING, Size, compare_sizes, round_to_8_bits
from eesd_core.train.tokenizer import train_tokenizer


@pytest.mark.parametrize("text", ["", "20", "20x100", "0x64", "4x64:4", "4x64:0", "4x0", "-1x64", "4x64:1:320:2"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError):
        Size.parse(text)


def test_a_size_is_read_and_becomes_a_model():
    assert Size.parse("20x256") == Size(20, 256) == Size.parse(str(Size(20, 256)))
    assert Size(20, 256).config(PretrainConfig()) == PretrainConfig()  # the shipped model's
    odd = Size.parse("3x192:2:320").config(PretrainConfig())
    assert (odd.heads, odd.kv_heads, odd.mlp, odd.exit_after, odd.vocab) == (3, 1, 512, 2, 320)


def test_rounding_to_8_bits_keeps_every_row_within_half_a_step():
    tokenizer = train_tokenizer(LINES * 20, 320, 64)
    model = build_model(PretrainConfig(layers=2, hidden=64, mlp=64, heads=1, kv_heads=1, vocab=320), tokenizer)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    round_to_8_bits(model)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, before[name])
        else:
            assert ((weight - before[name]).abs() <= before[name].abs().amax(1, keepdim=True) / 127 * 0.501).all()
            assert all(len(row.unique()) <= 255 for row in weight)


def accepted(folder) -> float:
    """By running: of one-draft rounds, the share whose draft was accepted."""
    engine = load_engine(str(folder), device="cpu", dtype="float32")
    request = Request("It was a long", NEW_TOKENS, SAMPLING, controller="fixed", settings={"length": 1})
    metrics = Metrics.fold(engine.run(request), "eesd")
    return metrics.accepted / metrics.drafted


def test_candidates_are_trained_and_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(pretrain, "VALIDATION_TOKENS", 64)
    for name in ("data", "validation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gutenberg.jsonl").write_text(json.dumps({"text": "\n".join(LINES[2] + f" {i}" for i in range(200))}) + "\n")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "It was a long"}\n')
    files = (
        [tmp_path / "data"],
        tmp_path / "validation" / "gutenberg.jsonl",
        tmp_path / "prompts.jsonl",
        tmp_path / "work",
        tmp_path / "out",
    )
    config = PretrainConfig(tokens=128, window=32, rows=2, context=256)
    rows = compare_sizes([Size(2, 64, 1, 320), Size(3, 64, 2, 320)], *files, config, "cpu")
    assert [row["size"] for row in rows] == ["2x64:1:320", "3x64:2:320"] and rows == json.loads(
        (tmp_path / "out" / "sizes.json").read_text()
    )
    assert all(row["bits"] > 1 and row["bits_8"] == pytest.approx(row["bits"], rel=0.05) and 0 <= row["accepted"] <= 1 for row in rows)
    assert "bits/char" in capsys.readouterr().out
    for row, folder in zip(rows, ("2x64-1-320", "3x64-2-320")):  # drafts are judged where the noise that drew the text is the drafts' own
        assert row["accepted"] == pytest.approx(accepted(tmp_path / "out" / folder), abs=0.15)
    compare_sizes([Size(2, 64, 1, 320)], *files, config, "cpu")  # what is trained is not trained again
    assert "parameters on" not in capsys.readouterr().out

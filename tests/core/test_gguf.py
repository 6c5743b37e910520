"""GGUF files: what is converted is what the file holds, and what is no such file gets one line."""

import json
import random
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tiny_gguf import write_gguf
from transformers import AutoModelForCausalLM, GgufConfig

from eesd_core.errors import UserError
from eesd_core.loading import load_exit_layer
from eesd_core.model import gguf as ours
from eesd_core.model.load import load_target

TOKENS = Path(__file__).with_name("smollm2_tokens.json")  # odd texts and llama.cpp's tokens of them, by `xllamacpp` on this file


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    if "smollm2" not in request.fixturenames:
        monkeypatch.setenv("EESD_CACHE", str(tmp_path / "cache"))


def refused(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_target(file, "cpu", "float32")
    assert "\n" not in str(caught.value)
    assert not list(file.parent.glob("cache/gguf/*.part")) and not list(file.parent.glob("cache/gguf/*/config.json"))
    return str(caught.value)


@pytest.mark.parametrize("kind, tied", [("F32", True), ("F16", False), ("Q8_0", True), ("Q4_0", False), ("Q4_1", True)])
def test_weights_are_those_that_transformers_reads(tmp_path, kind, tied):
    original = write_gguf(tmp_path / "tiny.gguf", kind, tied)
    model = load_target(tmp_path / "tiny.gguf", "cpu", "bfloat16").model
    how = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", **how)
    assert all(torch.equal(p, q.bfloat16()) for p, q in zip(model.parameters(), reference.parameters(), strict=True))
    if kind == "F32":
        ids = torch.arange(1, 40)[None]
        torch.testing.assert_close(reference(ids).logits, original(ids).logits)
    assert model.config.tie_word_embeddings == tied and model.generation_config.eos_token_id == [0]


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "Q5_1"])
def test_dense_is_what_gguf_makes_of_the_blocks(kind):
    kind = gguf.GGMLQuantizationType[kind]
    packed = gguf.quantize(np.random.default_rng(0).normal(size=(6, 96)).astype(np.float32), kind)
    assert np.array_equal(ours.dense(packed, kind).numpy(), gguf.dequantize(packed, kind))


def test_blocks_are_the_models_weights(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "Q4_1")
    target = load_target(tmp_path / "tiny.gguf", "cpu", "bfloat16")
    kept = {name: (kind, blocks) for name, kind, blocks in ours.blocks(target.source.blocks)}
    wide = {name for name, p in target.model.named_parameters() if p.ndim == 2}
    assert kept.keys() == wide and {kind for kind, _ in kept.values()} == {"Q4_1"}
    for name, (_, blocks) in kept.items():
        dense = ours.dense(blocks.numpy(), gguf.GGMLQuantizationType.Q4_1)
        assert torch.equal(dense.bfloat16(), target.model.get_parameter(name))


def test_a_file_is_converted_once(tmp_path, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")
    first = ours.converted(tmp_path / "tiny.gguf")
    (tmp_path / "tiny.gguf").rename(tmp_path / "other name")
    monkeypatch.setattr(ours, "_convert", None)
    assert ours.converted(tmp_path / "other name") == first


def test_digits_stand_alone_for_smollm(tmp_path):
    for pre, expected in (("smollm", ["1", "2", "a"]), ("gpt-2", ["12", "a"])):
        write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        tokenizer = load_target(tmp_path / f"{pre}.gguf", "cpu", "float32").tokenizer
        assert [word for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("12a")] == expected


def test_llama_cpp_gives_the_same_tokens(smollm2):
    codec = load_target(smollm2, "cpu", "bfloat16").codec
    cases = json.loads(TOKENS.read_text())
    assert len(cases) >= 29
    for text, ids in cases:
        assert codec.encode(text) == ids, repr(text)


def test_the_known_file_is_smollm2_under_whatever_name(smollm2, tmp_path):
    file = tmp_path / "x.gguf"
    file.symlink_to(smollm2)
    target = load_target(file, "cpu", "bfloat16")
    assert target.name == "smollm2" and target.source.heads.name == "smollm2" and target.depth == 30 and target.context == 8192
    assert target.end_ids == {0, 2}
    turn = target.tokenizer.decode(target.codec.encode_chat([{"role": "user", "content": "Hi"}]))
    assert turn.startswith("<|im_start|>system\n") and turn.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    if not target.source.heads.exists():
        layer = load_exit_layer(target, None)
        assert layer.exit_after == 10 and "no exit layer was trained" in layer.note


def test_what_is_no_plain_llama_is_refused_by_name(tmp_path):
    changes = {
        "'phi3'": {"family": "phi3"}, "experts": {"llama__expert_count": 8}, "partial rotary": {"llama__rope__dimension_count": 8},
        "'jais-2'": {"pre": "jais-2"},
    }  # fmt: skip
    for number, (named, how) in enumerate(changes.items()):
        write_gguf(tmp_path / f"{number}.gguf", **how)
        assert named in refused(tmp_path / f"{number}.gguf")


def test_what_is_no_gguf_file(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04" * 9)
    (tmp_path / "b.gguf").write_bytes(b"")
    assert "no GGUF file" in refused(tmp_path / "a.gguf") and "no GGUF file" in refused(tmp_path / "b.gguf")
    assert "there is no file" in refused(tmp_path / "c.gguf")


def test_a_lost_layer_is_said(tmp_path):
    write_gguf(tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes().replace(b"blk.1.attn_q", b"blk.1.attn_k", 1)
    (tmp_path / "a.gguf").write_bytes(data)
    assert "broken or cut off" in refused(tmp_path / "a.gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("whole") / "tiny.gguf"
    write_gguf(file, "Q4_1")
    return file.read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_a_truncated_file_is_one_line(tmp_path, whole, seed):
    choice = random.Random(seed)
    for length in (choice.randrange(4, 200), choice.randrange(200, 8000), choice.randrange(8000, len(whole))):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        assert "broken or cut off" in refused(tmp_path / "cut.gguf")


def test_a_broken_file_is_one_line(tmp_path, whole):
    """With any bytes of its metadata changed it is refused in one line, or can be read still. Never is a count believed that it gives."""
    choice, refusals = random.Random(0), 0
    for _ in range(60):
        changed, place = bytearray(whole), choice.randrange(4, 8000)
        new = choice.choice([b"\xff" * 8, bytes(8), b"\x01" + bytes(7), b"\xff" * 3])
        changed[place : place + len(new)] = new
        (tmp_path / "broken.gguf").write_bytes(changed)
        try:
            ours.converted(tmp_path / "broken.gguf")
        except UserError as problem:
            assert "\n" not in str(problem)
            refusals += 1
    assert refusals > 20

"""Embeddings that stay in the file of a converted GGUF model."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_gguf import write_gguf

from eesd_core import Request, load_engine, loading
from eesd_core.events import TokensCommitted
from eesd_core.model.checkpoint import WEIGHTS
from eesd_core.model.file_rows import FileEmbedding, rows_in_file


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "cache"))


def written(engine, method: str) -> list[int]:
    records = engine.run(Request("ab ab", 16, method=method, controller="fixed", settings={"length": 2}))
    return [id for record in records if isinstance(record.event, TokensCommitted) for id in record.event.ids]


@pytest.mark.parametrize("quantize, tied", [("none", True), ("q8", True), ("q8", False)])
def test_a_model_reads_the_same_rows_from_its_file(tmp_path, monkeypatch, quantize, tied):
    write_gguf(tmp_path / "tiny.gguf", "Q8_0", tied)
    there = load_engine(tmp_path / "tiny.gguf", "frozen:1", "cpu", quantize=quantize)
    monkeypatch.setattr(loading, "rows_in_file", lambda *_: None)
    here = load_engine(tmp_path / "tiny.gguf", "frozen:1", "cpu", quantize=quantize)
    if not there.target.steps:
        pytest.skip("every step goes through torch here, which keeps the table")
    assert type(there.target.embedding) is FileEmbedding and type(here.target.embedding) is torch.nn.Embedding
    ids = torch.arange(there.target.vocab)[None]
    assert torch.equal(there.target.embed_rows(ids), here.target.embed_rows(ids))
    assert torch.equal(there.target.table.float(), here.target.table.float())
    assert all(written(there, method) == written(here, method) for method in ("vanilla", "eesd"))


def test_other_files_are_read_as_usual(tmp_path):
    rows = torch.randn(5, 3)
    save_file({"odd": torch.zeros(1, dtype=torch.uint8), "half": rows.bfloat16(), "single": rows}, tmp_path / WEIGHTS)
    assert torch.equal(rows_in_file(tmp_path, "half"), rows.bfloat16())
    assert rows_in_file(tmp_path, "single") is None and rows_in_file(tmp_path, "absent") is None

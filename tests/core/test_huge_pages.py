import sys

import pytest
import torch

from eesd_core.model.cpu import huge_pages as pages


@pytest.mark.skipif(sys.platform != "linux", reason="large pages are Linux's")
def test_memory_keeps_what_it_holds():
    before = pages.private_memory()
    tensors = [torch.randn(300_000) for _ in range(40)]  # 48 MB, on pages of any kind
    copies = [tensor.tolist() for tensor in tensors[::8]]
    pages.use_large_pages(before)
    pages.use_large_pages({})
    assert [tensor.tolist() for tensor in tensors[::8]] == copies


def test_another_system_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "MAPS", tmp_path / "nowhere")
    assert pages.private_memory() == {}
    pages.use_large_pages({})

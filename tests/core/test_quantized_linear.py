"""Products of 8 and 4 bits against plain sums; engines with such weights keep every promise."""

import pytest
import torch

from eesd_core.cli import main
from eesd_core.engine import Request
from eesd_core.errors import UserError
from eesd_core.loading import load_engine

pytest.importorskip("numba", reason="numba is not installed")

from eesd_core.model.cpu import quantized_linear as ql


def test_8_bits_are_near_the_weights():
    torch.manual_seed(0)
    weight, x = torch.randn(96, 256), torch.randn(1, 5, 256)
    exact = x @ weight.T
    assert (ql.Int8Linear(weight)(x) - exact).std() < 0.02 * exact.std()


def blocks_of(kind: str, outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """GGUF blocks, and their weights by plain arithmetic as the format is defined."""
    random = torch.Generator().manual_seed(outputs)
    scale, offset = torch.rand(2, outputs, inputs // 32, 1, generator=random).half()
    numbers = torch.randint(0, 16, (outputs, inputs // 32, 32), generator=random)
    packed = (numbers[..., :16] | numbers[..., 16:] << 4).to(torch.uint8)
    head = [scale.view(torch.uint8)] + ([offset.view(torch.uint8)] if kind == "Q4_1" else [])
    weights = scale.float() * numbers + offset.float() if kind == "Q4_1" else scale.float() * (numbers - 8)
    return torch.cat([*head, packed], -1).flatten(1), weights.flatten(1)


@pytest.mark.parametrize("kind", ["Q4_1", "Q4_0"])
def test_gguf_blocks_are_used_as_they_are(kind):
    parts, dense = zip(*(((kind, data), weights) for data, weights in (blocks_of(kind, n, 128) for n in (64, 32))))
    found = ql.Int4Linear.of_blocks(parts)(torch.eye(128))  # (128, 96)
    torch.testing.assert_close(found.T, torch.cat(dense), rtol=2e-3, atol=2e-3)


def test_4_bits_are_near_the_weights():
    torch.manual_seed(0)
    weight, x = torch.randn(96, 256), torch.randn(1, 5, 256)
    exact = x @ weight.T
    assert (ql.Int4Linear.of(weight)(x) - exact).std() < 0.12 * exact.std()


@pytest.mark.parametrize("precision", ["q8", "q4"])
def test_an_engine_keeps_its_promises(model_folder, precision):
    engine = load_engine(str(model_folder), quantize=precision)
    assert engine.target.precision == precision and engine.level == "exact-by-construction"
    texts = []
    for method in ("vanilla", "eesd"):
        records = engine.run(Request("one two, one t", 24, method=method, controller="fixed"))
        texts.append([i for r in records if r.event.type == "tokens_committed" for i in r.event.ids])
    assert texts[0] == texts[1] and len(texts[0]) == 24


def test_other_families_are_refused(model_folder, monkeypatch, capsys):
    monkeypatch.setattr("eesd_core.model.cpu.fused.FAMILIES", ())
    with pytest.raises(UserError, match="Llama-type"):
        load_engine(str(model_folder), quantize="q8")
    assert main(["generate", "x", "--model", str(model_folder), "--quantize", "q4"]) == 2
    assert "8bit" in capsys.readouterr().err


def test_what_is_no_number_stays_none():
    x = torch.randn(3, 64)
    x[1, 40] = torch.nan
    for linear in (ql.Int8Linear(torch.randn(32, 64)), ql.Int4Linear.of(torch.randn(32, 64))):
        assert linear(x).isnan().any(-1).tolist() == [False, True, False]

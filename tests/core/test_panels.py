"""Products with weights in panels: against plain sums, and every row bit for bit the same in every pass."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="numba is not installed")

from numba import njit

from eesd_core.model.cpu import integers, threads
from eesd_core.model.cpu.packed_linear import PanelLinear
from eesd_core.model.cpu.panels import Store, in_two_bytes, pack, unpack
from eesd_core.model.cpu.quantized_linear import closed
from eesd_core.model.cpu.threads import PanelProduct
from eesd_core.model.cpu.tiles import CHUNKS
from eesd_core.model.cpu.vectors import FEATURES

SHAPES = [(96, 64), (50, 1536), (8, 40), (17, 33)]  # outputs, inputs


def cut(numbers: np.ndarray) -> np.ndarray:
    """float32 to bfloat16 numbers, not rounded."""
    return (numbers.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def product_of(kind: str, outputs: int, inputs: int):
    """A product, its weights in float64, and rows for it: as it reads them, and in float64."""
    random, store = np.random.default_rng(0), Store()
    across = CHUNKS[np.dtype(kind)].outputs
    scale = random.random((-(-outputs // across)) * across).astype(np.float32)
    x = random.standard_normal((60, inputs)).astype(np.float32)
    x[1], x[2, ::2], x[3, :32] = 0, 0, -9
    if kind in ("int8", "uint8"):
        read = closed(torch.from_numpy(x)).numpy()
        seen = opened(read, inputs)
        assert np.abs(seen - x).max() <= np.abs(x).max() / 254 + 1e-6
    if kind == "int8":
        weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        weight[0], weight[1] = 127, -127
        product = PanelProduct(pack(weight, store), outputs, inputs, scale)
        return product, weight * scale[:outputs, None].astype(np.float64), read, seen
    if kind == "uint8":
        numbers = random.integers(0, 16, (outputs, inputs // 32, 2, 16)).astype(np.uint8)
        numbers[0] = 15
        panels = pack((numbers[:, :, 0] | numbers[:, :, 1] << 4).reshape(outputs, -1), store)
        facts = random.standard_normal((2, outputs // across, inputs // 32, across)).astype(np.float16)
        facts[:, 0, 0, :4] = 0, 3e-7, -6e-8, 60000  # zero, and the smallest and largest numbers
        by, offset = (part.swapaxes(1, 2).reshape(outputs, -1).repeat(32, 1).astype(np.float64) for part in facts)
        product = PanelProduct(panels, outputs, inputs, *facts.view(np.uint16))
        return product, by * numbers.reshape(outputs, -1) + offset, read, seen
    weight = random.standard_normal((outputs, inputs)).astype(np.float32)
    weight = weight if kind == "float32" else cut(weight)
    panels = pack(weight, store)
    assert panels.dtype == kind
    return PanelProduct(panels, outputs, inputs, scale), weight * scale[:outputs, None].astype(np.float64), x, x


def opened(read: np.ndarray, inputs: int) -> np.ndarray:
    """The numbers that rows of 8-bit blocks stand for, by plain arithmetic as the format is defined."""
    blocks = read.reshape(len(read), -1, 10)
    scale, numbers = blocks[..., :1].copy().view(np.float32).astype(np.float64), blocks[..., 2:].copy().view(np.int8)
    assert np.array_equal(numbers.sum(-1, dtype=np.int32), blocks[..., 1]) and np.abs(numbers).max() <= 127
    return (scale * numbers).reshape(len(read), -1)[:, :inputs]


@pytest.mark.parametrize("kind", ["float32", "uint16", "int8", "uint8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_plain_sums_and_rows_are_alike(kind, shape, monkeypatch):
    if kind == "uint8" and (shape[0] % 16 or shape[1] % 32):
        pytest.skip("4 bits are for whole blocks of 32, and for outputs in sixteens")
    product, weight, x, seen = product_of(kind, *shape)
    single = np.concatenate([product(x[i : i + 1]) for i in range(len(x))])
    expected = seen.astype(np.float64) @ weight.T
    assert np.abs(single - expected).max() < 1e-6 * np.abs(expected).max() * len(weight.T) ** 0.5
    for rows in (*range(2, 18), 60):
        assert np.array_equal(product(x[-rows:].copy()), single[-rows:])
    if threads.LIBRARY is not None:
        monkeypatch.setattr(threads, "_threads", lambda work, least: 3)
        assert np.array_equal(product(x), single)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("features", [{"avxvnni", "avx2"}, {"avx2"}, set()], ids=["short vectors", "avx2", "any processor"])
def test_sums_are_the_same_on_every_processor(kind, features, monkeypatch):
    """The instruction for neural networks on shorter vectors, or, without it, by older ones and by plain arithmetic."""
    if not features <= FEATURES | ({"avxvnni"} if integers.LONG_VNNI else set()):
        pytest.skip("this processor has no such instructions")
    product, _, x, _ = product_of(kind, 96, 64)
    monkeypatch.setattr(integers, "LONG_VNNI", False)
    monkeypatch.setattr(integers, "VNNI", "avxvnni" in features)
    monkeypatch.setattr(integers, "FEATURES", frozenset(features))
    two = integers.tile(2)

    @njit
    def multiply(x, weight, scale, offset, out):
        for p in range(np.uint64(0), np.uint64(weight.shape[0])):
            two(x, np.uint64(1), weight, p, scale, offset, out)

    out = np.zeros((3, 96), np.float32)
    multiply(x[:3].copy(), product.panels, product.facts[0], product.facts[-1], out)
    assert np.array_equal(out[1:], product(x[1:3].copy()))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", [1, 1e-6])
def test_panels_hold_what_was_packed(dtype, shape, by):
    weight = (np.random.default_rng(0).integers(0, 100, shape) * by).astype(dtype)
    panels = pack(weight, Store())
    assert panels.ctypes.data % 64 == 0 and np.array_equal(unpack(panels, *shape), weight)


@torch.no_grad()
def test_two_bytes_are_the_same_numbers(monkeypatch):
    """Where every weight is a bfloat16 number, half of the memory changes no bit of what comes out."""
    linear, x = torch.nn.Linear(96, 64, bias=False), torch.randn(5, 96)
    assert not in_two_bytes(linear.weight.numpy())
    linear.weight.copy_(linear.weight.bfloat16())
    assert in_two_bytes(linear.weight.numpy())
    two = PanelLinear(linear)(x)
    monkeypatch.setattr("eesd_core.model.cpu.panels.in_two_bytes", lambda weight: False)
    assert torch.equal(PanelLinear(linear)(x), two)


def test_gradients_pass():
    """Whatever is differentiated through a packed model goes through torch."""
    linear = torch.nn.Linear(32, 16)
    for weight in (linear.weight.detach(), linear.weight.detach().bfloat16().float()):
        linear.weight.data = weight
        x = torch.randn(3, 32, requires_grad=True)
        PanelLinear(linear)(x).sum().backward()
        torch.testing.assert_close(x.grad, weight.sum(0).expand(3, -1))


def test_a_store_gives_memory_once():
    store = Store()
    rooms = [store.room((7, 3), np.dtype(np.float32)) for _ in range(4)]
    for number, room in enumerate(rooms):
        room[:] = number
    assert [set(room.flat) for room in rooms] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_machine_code_of_older_sources_is_forgotten(tmp_path):
    """numba asks for a function's own file alone: a changed tile would leave the products that are made of it as they were."""
    from eesd_core.model.cpu.kept import forget_older

    (tmp_path / "threads.share-1.nbi").touch()
    (tmp_path / "sources-0123456789abcdef").touch()
    forget_older(tmp_path)
    (stamp,) = tmp_path.iterdir()
    assert stamp.name.startswith("sources-") and stamp.name != "sources-0123456789abcdef"
    (tmp_path / "threads.share-1.nbi").touch()
    forget_older(tmp_path)
    assert (tmp_path / "threads.share-1.nbi").exists()

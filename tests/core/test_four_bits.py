"""4 bits: what a file gives back is what training rounded to, in GGUF's own layout."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize

from eesd_core.heads.four_bits import fake_quantize, fits_4_bits, from_4_bits, to_4_bits


def weight(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(24, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 30.0])
def test_a_file_gives_back_what_training_rounded_to(scale):
    blocks = to_4_bits(weight(scale))
    assert blocks.dtype == torch.uint8 and blocks.shape == (24, 96 // 32 * 20)
    torch.testing.assert_close(from_4_bits(blocks), fake_quantize(weight(scale)), rtol=1e-5, atol=1e-6 * scale)


def test_the_layout_is_ggufs():
    blocks = to_4_bits(weight())
    theirs = dequantize(blocks.numpy(), GGMLQuantizationType.Q4_1)
    np.testing.assert_allclose(from_4_bits(blocks).numpy(), theirs, rtol=1e-6, atol=1e-6)


def test_no_number_is_further_off_than_half_a_step():
    original, groups = weight(), weight().unflatten(-1, (-1, 32))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    error = (from_4_bits(to_4_bits(original)) - original).unflatten(-1, (-1, 32)).abs().amax(-1)
    assert (error <= 0.5 * step + 4e-3).all() and (error > 0.2 * step).any()  # scale and minimum have 11 bits


def test_groups_of_one_number_and_of_zeros():
    flat = torch.cat([torch.zeros(1, 32), torch.full((1, 32), 0.37), torch.full((1, 32), -5.0)], 1)
    torch.testing.assert_close(from_4_bits(to_4_bits(flat)), flat, rtol=1e-3, atol=0)
    assert fits_4_bits(flat) and not fits_4_bits(flat[0]) and not fits_4_bits(flat[:, :40])


def test_gradients_pass_the_rounding():
    original = weight().requires_grad_()
    slope = torch.randn(24, 96, generator=torch.Generator().manual_seed(2))
    (fake_quantize(original) * slope).sum().backward()
    assert torch.equal(original.grad, slope)

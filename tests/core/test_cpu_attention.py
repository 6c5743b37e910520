"""Attention on the processor against its formula, and each row's bits whatever goes through with it."""

import numpy as np
import pytest
from numba import njit

from eesd_core.model.cpu.attention import attend
from eesd_core.model.cpu.kernels import FREE

START, ROWS = 45, 11
TREE = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] * ROWS)  # the places behind START that each row sees, in the order of its path
TREE[3, :3] = 0, 1, 3  # row 3 is a sibling of row 2
TREE[5, :4] = 0, 1, 3, 5


def given(heads: int, groups: int, width: int, window: int, tree: bool):
    random = np.random.default_rng(heads)
    keys, values = (random.standard_normal((START + ROWS, groups, width), np.float32) for _ in range(2))
    queries, depths = random.standard_normal((ROWS, heads, width), np.float32) / np.float32(width**0.5), np.arange(ROWS)
    if tree:
        depths[3], depths[5] = 2, 3
    return queries, keys, values, START, TREE if tree else TREE[:1], depths, np.full(ROWS, window)


def by_formula(queries, keys, values, start, paths, depths, windows) -> np.ndarray:
    out = np.zeros(queries.shape)
    for r, h in np.ndindex(queries.shape[:2]):
        own = start + paths[min(r, len(paths) - 1), : depths[r] + 1]
        seen = [*range(start), *own][-windows[r] :]
        g = h * keys.shape[1] // queries.shape[1]
        scores = keys[seen, g].astype(np.float64) @ queries[r, h]
        chances = np.exp(scores - scores.max())
        out[r, h] = chances / chances.sum() @ values[seen, g]
    return out.reshape(len(queries), -1)


def attended(code, shares: int, *given) -> np.ndarray:
    out = np.full((len(given[0]), given[0][0].size), np.nan, np.float32)
    for share in range(shares):
        code(share, shares, 0, *given, out)
    return out


SHAPES = [(9, 3, 64, 999), (4, 2, 64, 20), (8, 1, 24, 999), (5, 5, 32, 3), (7, 1, 128, 999), (2, 1, 72, 33)]


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("heads, groups, width, window", SHAPES)
def test_it_is_the_formula_by_any_number_of_threads(heads, groups, width, window, tree):
    case = given(heads, groups, width, window, tree)
    found = attended(attend, 1, *case)
    np.testing.assert_allclose(found, by_formula(*case), rtol=0, atol=2e-6)
    for shares in (2, 3):
        assert np.array_equal(attended(attend, shares, *case), found)


@pytest.mark.parametrize("heads, groups, width, window", SHAPES[:3])
def test_a_row_alone_has_the_same_bits(heads, groups, width, window):
    queries, keys, values, start, paths, depths, windows = given(heads, groups, width, window, False)
    together = attended(attend, 1, queries, keys, values, start, paths, depths, windows)
    for r in range(ROWS):
        one = np.zeros((1, 1), np.int64)
        alone = attended(attend, 1, queries[r : r + 1], keys, values, start + r, one, one[0], windows[:1])
        assert np.array_equal(alone, together[r : r + 1])


def test_code_that_was_kept_computes_the_same_bits_as_new_code():
    """A loop that may sum in any order did not."""
    anew = njit(fastmath=FREE, nogil=True, error_model="numpy")(attend.py_func)
    case = given(9, 3, 64, 999, False)
    assert np.array_equal(attended(anew, 1, *case), attended(attend, 1, *case))

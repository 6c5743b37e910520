"""Sums of kernels have one order: they are what numpy sums, in it, and a first start says what later ones say."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from eesd_core.model.cpu.folds import MULTIPLE, dot, largest, summed

RUN = """
from dataclasses import asdict
from eesd_core.loading import load_engine
from eesd_core.request import Request
told = {"probability", "confidence", "entropy", "margin", "next_probability", "probabilities", "margins"}
for record in load_engine().run(Request("Once upon a time", 32, controller="fixed")):
    event = asdict(record.event)
    for name in sorted(told & set(event)):
        print(name, event[name])
"""


@njit
def folds(a, b):
    at, whole = a.ctypes.data, len(a) // MULTIPLE * MULTIPLE
    return dot(at, b.ctypes.data, len(a)), summed(at, whole), largest(at, whole)


@pytest.mark.parametrize("count", [32, 64, 576, 33, 95, 1])
def test_folds_are_what_numpy_finds(count):
    rng = np.random.default_rng(count)
    a, b = rng.standard_normal((2, count)).astype(np.float32)
    whole = a[: count // MULTIPLE * MULTIPLE]
    product, total, most = folds(a, b)
    assert product == pytest.approx(np.dot(a.astype(float), b.astype(float)), abs=1e-6 * count)
    if len(whole):
        assert total == pytest.approx(whole.astype(float).sum(), abs=1e-6 * count) and most == whole.max()


def test_a_first_start_says_what_later_ones_say(tmp_path):
    """The first compiles, the second reads what the first has kept."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert len(first.splitlines()) > 50 and any(tmp_path.rglob("*.nbi"))
    assert first == second

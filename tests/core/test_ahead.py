"""What is compiled ahead is what a run calls."""

import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="kernels need numba: pip install -r requirements.txt")

from eesd_core.model.cpu import ahead, kept

RUN = """
import sys
from numba.core.dispatcher import Dispatcher
from eesd_core.model.cpu import ahead, draft_step, kernels, panels, rank, region, threads

def known():
    modules = (kernels, panels, rank)
    found = {(name, *value.signatures) for each in modules for name, value in vars(each).items() if isinstance(value, Dispatcher)}
    made = (threads.product_code, region.attention_code, region.pass_code, draft_step.step_code, threads.in_shares)
    return found, [each.cache_info().misses for each in made]

ahead.compile_all(sys.argv[1])
before = known()
from eesd_core import Request, Sampling, load_engine, race
engine = load_engine(device="cpu", dtype="float32", quantize=sys.argv[1])
list(race(engine, Request("Once upon a time", 8, sampling=Sampling(temperature=0.8, min_p=0.1))))
more = known()[0] - before[0]
assert {name for name, *_ in more} <= {"_lay_halves"}, more  # packs weights, in a moment
assert known()[1:] == before[1:]
"""


@pytest.mark.parametrize("precision", ["none", "q8"])
def test_a_run_compiles_nothing_more(precision):
    done = subprocess.run([sys.executable, "-c", RUN, precision], cwd=ahead.ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_it_is_done_once_and_loading_waits_for_it(tmp_path, monkeypatch):
    begun, waited = [], []

    class Process:
        def __init__(self, command, **_):
            begun.append(command[-1])

        def poll(self):
            waited.append(True)
            if len(waited) == 2:
                (tmp_path / "none").touch()  # it goes on with other heads

    monkeypatch.setattr(ahead.subprocess, "Popen", Process)
    monkeypatch.setattr(ahead, "_under_way", {})
    monkeypatch.setattr(kept, "mark", lambda name: tmp_path / name)
    (tmp_path / "q8").touch()
    for precision in ("none", "q8", "4bit"):
        ahead.compile_ahead(precision)
        ahead.finish(precision)
    assert begun == ["none"] and len(waited) == 2


def test_without_a_folder_to_keep_it_in_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(ahead.subprocess, "Popen", None)
    monkeypatch.setattr(kept, "mark", lambda name: None)
    ahead.compile_ahead("none")

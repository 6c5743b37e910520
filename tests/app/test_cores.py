"""Runs have the threads that the machine has room for, where their number cannot change a bit."""

from functools import cached_property
from types import SimpleNamespace

import pytest
import torch

from app import cores as module
from app.cores import CALM, PERIOD, Cores


@pytest.fixture
def machine(monkeypatch):
    """Four cores, four threads, a clock that the test moves, and others that use so many cores."""
    state = SimpleNamespace(now=0.0, others=0.0, threads=4)

    def pass_time(seconds: float, cores: float) -> None:
        state.now, state.others = state.now + seconds, state.others + seconds * cores

    state.pass_time = pass_time
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: state.threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: setattr(state, "threads", threads))
    monkeypatch.setattr(module.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(module.time, "monotonic", lambda: state.now)
    monkeypatch.setattr(Cores, "_others", lambda self: state.others)
    monkeypatch.setattr(module, "all_in_panels", lambda target: target.own)
    return state


class Served:
    def __init__(self, own: bool):
        self.target = SimpleNamespace(steps=object(), own=own)

    @cached_property
    def measured(self) -> str:
        return f"with {torch.get_num_threads()} threads"


def test_threads_follow_what_others_use(machine):
    cores, ours = Cores(), Served(own=True)
    cores.serve(ours)
    assert machine.threads == 4 and ours.measured == "with 4 threads"
    for others, threads in ((0.6, 4), (1.0, 3), (2.0, 2), (9.0, 1)):
        machine.pass_time(2 * PERIOD, others)
        cores.look()
        assert machine.threads == threads
    for _ in range(CALM):
        assert machine.threads == 1, "a thread more only after a while"
        machine.pass_time(2 * PERIOD, 0.0)
        cores.look()
    assert machine.threads == 4
    machine.pass_time(PERIOD / 2, 4.0)
    cores.look()
    assert machine.threads == 4, "a moment says little"


def test_products_of_libraries_keep_their_number(machine):
    cores, ours = Cores(), Served(own=False)
    cores.serve(ours)
    machine.pass_time(1.0, 3.0)
    cores.look()
    assert machine.threads == 3 and ours.measured == "with 3 threads"


def test_a_number_that_was_asked_for_stays(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    cores = Cores()
    cores.leave_one()
    cores.serve(Served(own=True))
    machine.pass_time(1.0, 3.0)
    cores.look()
    assert machine.threads == 4

"""One device, one job at a time, and nothing that a job or its visitor does can break the line."""

import threading
import time

import pytest

from app.device import Device, Job
from eesd_core.errors import UserError


@pytest.fixture
def device():
    return Device(most_seconds=60)


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def everything(job: Job) -> list:
    until(lambda: job.done)
    return job.take()[0]


def count(n: int):
    return lambda stopped: iter(range(n))


def endless(stopped):
    while not stopped():
        yield "step"
        time.sleep(0.002)


def test_what_is_loaded_first_takes_nothing_of_the_run():
    device, gate, began = Device(most_seconds=0.3), threading.Event(), time.monotonic()
    job = device.submit(endless, gate.wait)
    until(lambda: (job.preparing or 0) > 0.5)  # longer than a run may take
    gate.set()
    assert "step" in everything(job) and "0.3 seconds" in job.why_stopped
    assert job.preparing is None and device.mean_seconds < time.monotonic() - began - 0.5


def test_loading_that_fails_is_one_line_and_the_line_goes_on(device):
    def fail():
        raise UserError("no such weights")

    job = device.submit(endless, fail)
    assert everything(job) == [] and job.error == "no such weights"
    assert everything(device.submit(count(3))) == [0, 1, 2]


def test_who_leaves_does_not_wait_for_what_is_loaded_and_it_is_there_for_the_next(device):
    gate = threading.Event()
    job = device.submit(endless, gate.wait)
    until(lambda: job.preparing is not None)
    behind = device.submit(count(3))
    device.leave(job)
    assert job.take() == ([], True)
    assert device.place(behind) == 1 and device.preparing is not None
    device.mean_seconds = 4.0
    assert device.wait(1) is None  # nobody knows how long loading takes
    gate.set()
    assert everything(behind) == [0, 1, 2] and job.take() == ([], True)
    assert device.preparing is None and device.waiting() == 0


def test_records_arrive_complete_and_in_order(device):
    job = device.submit(count(5000))
    got, done = [], False
    while not done:
        records, done = job.take()
        got += records
    assert got == list(range(5000))


def test_first_come_first_served(device):
    order = []
    gate = threading.Event()

    def work(name):
        def steps(stopped):
            gate.wait(5)
            order.append(name)
            yield name

        return steps

    jobs = [device.submit(work(name)) for name in "abc"]
    assert [device.place(job) for job in jobs] == [0, 1, 2]
    assert device.waiting() == 3
    gate.set()
    assert [everything(job) for job in jobs] == [["a"], ["b"], ["c"]]
    assert order == ["a", "b", "c"]
    assert device.waiting() == 0


def test_leaving_while_running_and_twice(device):
    job = device.submit(endless)
    until(lambda: job.records)
    device.leave(job)
    device.leave(job)
    until(lambda: job.done)
    assert (device.waiting(), job.error, job.why_stopped) == (0, None, "by you")


def test_leaving_the_line_while_waiting(device):
    first, second, third = (device.submit(endless) for _ in range(3))
    device.leave(second)
    assert second.done and second.take() == ([], True)
    assert device.place(third) == 1
    device.leave(first)
    until(lambda: device.place(third) == 0 and third.records)
    device.leave(third)
    until(lambda: device.waiting() == 0)


def test_leaving_in_any_order_at_any_time_leaves_nothing_behind(device):
    jobs = [device.submit(endless) for _ in range(50)]
    leavers = [threading.Thread(target=device.leave, args=[job]) for job in jobs[::2] + jobs[1::2]]
    for leaver in leavers:
        leaver.start()
    for leaver in leavers:
        leaver.join()
    until(lambda: device.waiting() == 0 and all(job.done for job in jobs))


def test_a_failing_job_is_told_and_the_next_one_runs(device, caplog):
    def fail(stopped):
        yield 1
        raise ValueError("<secret>")

    job = device.submit(fail)
    assert everything(job) == [1]
    assert "ValueError" in job.error and "secret" not in job.error
    assert "secret" in caplog.text
    assert everything(device.submit(count(2))) == [0, 1]


def test_a_user_error_is_told_in_its_own_words(device):
    def refuse(stopped):
        raise UserError("ask for less")

    job = device.submit(refuse)
    until(lambda: job.done)
    assert job.error == "ask for less"


def test_no_job_holds_the_device_for_ever_even_if_nobody_watches():
    device = Device(most_seconds=0.05)
    job = device.submit(endless)
    assert everything(device.submit(count(1))) == [0]
    assert job.why_stopped == "after 0.05 seconds, the most a run may take here"


def test_a_free_device_keeps_no_job(device):
    import gc
    import weakref

    job = device.submit(count(3))
    everything(job)
    until(lambda: device.waiting() == 0)
    trace = weakref.ref(job)
    everything(device.submit(count(0)))
    del job
    gc.collect()
    assert trace() is None


def test_stop_drops_the_work_at_its_very_next_step(device):
    steps, closed = [], []

    def deaf(stopped):  # never asks whether to stop
        try:
            while True:
                steps.append(time.monotonic())
                yield "step"
                time.sleep(0.002)
        finally:
            closed.append(True)

    job = device.submit(deaf)
    until(lambda: len(steps) > 3)
    device.leave(job)
    seen = len(steps)
    until(lambda: job.done)
    assert len(steps) <= seen + 1 and closed
    assert device.waiting() == 0


def test_the_wait_is_estimated_from_lately_finished_runs(device):
    assert device.wait(1) is None

    def short(stopped):
        time.sleep(0.02)
        yield 1

    for _ in range(3):
        everything(device.submit(short))
    assert device.runs == 3 and device.mean_seconds >= 0.02
    assert device.wait(0) is None
    device.mean_seconds = 4.0
    assert 8 <= device.wait(3) <= 12

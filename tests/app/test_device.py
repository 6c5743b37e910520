"""One device, one job at a time, and nothing that a job or its visitor does can break the line."""

import threading
import time
from functools import partial

import pytest

from app.device import Device, End, Job, Share
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


class Talk:
    """A party: its jobs say their name, one after the other, a few times. `go` holds it; `bad` jobs cannot be done."""

    def __init__(self):
        self.go, self.most = threading.Event(), 0
        self.go.set()

    def run(self, come, stopped):
        guests = []
        while True:
            while job := come():
                guests.append([job, 0])
            self.most = max(self.most, len(guests))
            if not guests:
                return
            for guest in list(guests):
                job, times = guest
                if job.share.asked == "bad":
                    guests.remove(guest)
                    yield job, End(UserError("not this one"))
                elif stopped(job) or times == 3:
                    guests.remove(guest)
                    yield job, End()
                else:
                    guest[1] += self.go.is_set()
                    yield job, job.share.asked
                    time.sleep(0.002)


@pytest.fixture
def shared():
    return Device(most_seconds=60, together=3)


def join(device, party, *names, work=endless):
    return [device.submit(work, share=Share(party, name)) for name in names]


def test_jobs_of_a_party_share_the_device_in_the_order_of_the_line(shared):
    talk, spent = Talk(), []
    talk.go.clear()
    first, second, third, fourth = join(shared, talk, "a", "b", "c", "d")
    until(lambda: first.records and second.records and third.records)
    assert shared.waiting() == 4 and [shared.place(job) for job in (first, third, fourth)] == [0, 0, 3] and not fourth.records
    late = []
    last = shared.submit(lambda stopped: iter([bool(late[0].records)]), spend=spent.append)
    late += join(shared, talk, "e")
    shared.leave(second)  # alone
    until(lambda: second.done and fourth.records)
    assert not first.done and not third.done
    talk.go.set()
    assert everything(last) == [False]  # nobody overtakes
    assert set(everything(fourth)) == {"d"} and set(everything(late[0])) == {"e"} and set(everything(second)) == {"b"}
    assert talk.most == 3 and shared.waiting() == 0 and len(spent) == 1


def test_what_a_party_takes_is_shared_out(shared):
    talk, spent = Talk(), {}
    began = time.monotonic()
    jobs = [shared.submit(endless, spend=partial(spent.__setitem__, name), share=Share(talk, name)) for name in "abc"]
    for job in jobs:
        everything(job)
    assert 0 < sum(spent.values()) <= time.monotonic() - began and all(spent.values())
    assert shared.runs == 3 and shared.mean_seconds <= max(spent.values())


def test_who_cannot_be_done_fails_alone(shared):
    good, bad, other = join(shared, Talk(), "a", "bad", "b")
    assert everything(bad) == [] and bad.error == "not this one"
    assert everything(good) == ["a"] * 3 and everything(other) == ["b"] * 3 and not (good.error or other.error)


def test_a_party_that_fails_is_told_to_all_and_the_line_goes_on(shared, caplog):
    class Broken:
        def run(self, come, stopped):
            for job in iter(come, None):
                yield job, "begun"
            raise ValueError("<secret>")

    gate = threading.Event()
    block = shared.submit(lambda stopped: iter([gate.wait(20)]))
    jobs = join(shared, Broken(), "a", "b")
    gate.set()
    for job in (block, *jobs):
        everything(job)
    assert all("ValueError" in job.error and "secret" not in job.error for job in jobs) and "secret" in caplog.text
    assert everything(shared.submit(count(2))) == [0, 1]


def test_a_party_holds_nobody_for_ever():
    device, talk = Device(most_seconds=0.05, together=2), Talk()
    talk.go.clear()
    for job in join(device, talk, "a", "b"):
        everything(job)
        assert job.why_stopped == "after 0.05 seconds, the most a run may take here"


def test_where_the_device_takes_one_at_a_time_each_works_alone(device):
    jobs = join(device, None, "a", "b", work=count(2))
    assert [everything(job) for job in jobs] == [[0, 1], [0, 1]]

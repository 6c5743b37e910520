"""Work stealing: whatever the threads do when, every piece is done, and a piece that two threads do at once has one result."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import njit

from eesd_core.model.cpu import stealing, threads
from eesd_core.model.cpu.attention import attend
from eesd_core.model.cpu.region import meet
from eesd_core.model.cpu.stealing import next_piece, part_of, places_at
from eesd_core.model.cpu.threads import meeting_place
from tests.core.test_cpu_attention import given

TEAM = 2
SIZES = np.array([40, 1, 2, 7, 1, 5, 3, 1] * 1000)
needs_threads = pytest.mark.skipif(threads.LIBRARY is None, reason="one thread does all the work")


@njit(nogil=True)
def work(share, meeting, sizes, done, seen):
    """One thread's share of stage after stage, of so many pieces each. done (TEAM, stages, pieces): how often each thread did each. seen
    (TEAM,): keeps the waiting, which is as long as chance wants, from being optimised away."""
    state = np.uint32(share + 1)
    for number in range(len(sizes)):
        places = places_at(meeting, TEAM)
        for turn in range(TEAM):
            owner = (share + turn) % TEAM
            first, pieces = part_of(sizes[number], owner, TEAM)
            n = next_piece(places, share, owner, pieces, -1)
            while n >= 0:
                done[share, number, first + n] += 1
                for _ in range(1 + (state >> np.uint32(24))):
                    state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
                n = next_piece(places, share, owner, pieces, n)
        meet(meeting, TEAM)
    seen[share] = state


@njit(nogil=True)
def attended(share, meeting, times, queries, keys, values, start, paths, depths, windows, out):
    """`attend` again and again, into out[i]."""
    for i in range(times):
        attend(share, TEAM, places_at(meeting, TEAM), queries, keys, values, start, paths, depths, windows, out[i])
        meet(meeting, TEAM)


def by_team(code, *arguments) -> None:
    with ThreadPoolExecutor(TEAM) as pool:
        for result in [pool.submit(code, share, *arguments) for share in range(TEAM)]:
            result.result()


@needs_threads
def test_every_piece_is_done():
    meeting, done = meeting_place(), np.zeros((TEAM, len(SIZES), SIZES.max()), np.int64)
    by_team(work, meeting.ctypes.data, SIZES, done, np.zeros(TEAM, np.uint32))
    wanted = np.arange(SIZES.max()) < SIZES[:, None]
    assert np.array_equal(done.sum(0) > 0, wanted)


def course(share, shares, size, places):
    """A stage of `work`, piece by piece: whose it is, and its number."""
    for turn in range(shares):
        owner = (share + turn) % shares
        first, pieces = part_of(size, owner, shares)
        n = next_piece(places, share, owner, pieces, -1)
        while n >= 0:
            yield owner, first + n
            n = next_piece(places, share, owner, pieces, n)


@pytest.mark.parametrize("shares", [1, 2, 3, 5])
def test_threads_that_wait_are_robbed(shares):
    """Threads go on one at a time, in an order by chance."""
    random, meeting, stolen = Random(0), meeting_place(), 0
    for size in SIZES[:400]:
        under_way, done = {share: course(share, shares, size, places_at(meeting.ctypes.data, shares)) for share in range(shares)}, set()
        while under_way:
            share = random.choice(list(under_way))
            owner, piece = next(under_way[share], (None, None))
            if piece is None:
                del under_way[share]
            else:
                done.add(piece)
                stolen += owner != share
        assert done == set(range(size))
    assert shares == 1 or stolen > 100


@needs_threads
@pytest.mark.parametrize("tree", [False, True])
def test_attention_with_thieves_is_attention(tree):
    case, meeting = given(9, 3, 64, 999, tree), meeting_place()
    alone = np.empty((len(case[0]), case[0][0].size), np.float32)
    attend(0, 1, 0, *case, alone)
    found = np.full((500, *alone.shape), np.nan, np.float32)
    by_team(attended, meeting.ctypes.data, len(found), *case, found)
    assert (found == alone).all()


def test_without_places_everyone_does_their_own():
    assert [next_piece(0, 0, 0, 3, last) for last in (-1, 0, 1, 2)] == [0, 1, 2, -1]
    assert places_at(64, stealing.MOST) and not places_at(64, stealing.MOST + 1)

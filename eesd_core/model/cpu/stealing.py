"""Work stealing: a thread that has done its part of some work takes pieces of the other threads' parts, from their ends.

On a shared machine a core may be half as fast as another for a while, and a pass has a hundred stages at whose end all threads wait for the
slowest. An owner goes through its part from the front. It only tells where it is, by plain stores, since an instruction that locks memory
would keep the processor from reading the next weights meanwhile; thieves count the end down with such an instruction. So near the end of a
part a piece may be done twice, which writes the same numbers twice.

Each thread has a place of two numbers: the piece that its owner is at, and the end of what is left. All threads must have met between two
uses of the places. The idea is that of Blumofe and Leiserson (1999); this form is ours.
"""

from numba import njit

from .atomics import change, look, put
from .vectors import CACHE_LINE

MOST = 64  # threads that have places; more of them do not steal


@njit(nogil=True, inline="always")
def next_piece(places, share, owner, pieces, last):
    """The next piece for thread `share`, of the `pieces` of thread `owner`; below 0: there is none. last: the one before; -1: none.
    places: address of the first thread's place. 0: nobody steals."""
    if not places:
        return last + 1 if last + 1 < pieces else -1
    at = places + CACHE_LINE * owner  # two threads never tell where they are in the same line
    if share != owner:
        piece = change(at + 8, -1) - 1
        return piece if look(at) < piece < pieces else -1
    if last < 0:
        put(at, -1)  # first: a thief that counts down the new end must not compare it with where the owner was in its last part
        put(at + 8, pieces)
    if last + 1 >= look(at + 8):
        return -1
    put(at, last + 1)
    return last + 1


@njit(nogil=True, inline="always")
def places_at(meeting, threads):
    """The address of the first place of a team that meets there (threads.meeting_place); 0: it does not steal."""
    return meeting + CACHE_LINE if threads <= MOST else 0


@njit(nogil=True, inline="always")
def part_of(count, share, shares):
    """The first of `count` things in one of `shares` parts, and how many are in it."""
    first = count * share // shares
    return first, count * (share + 1) // shares - first

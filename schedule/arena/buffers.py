"""The array problem: buffers in order of their beginnings, over as few sections as there are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedule.layout import Ints, distinct, offsets
from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.structs import Struct

Numbers = npt.NDArray[np.int32]
#: Offset of a buffer that has none, or may have any.
NONE = -1
#: Pairs of buffers above which they are no longer listed: half a gigabyte.
MOST_PAIRS = 100_000_000
#: Sections, those with most in them, in which alignment is looked at.
_LOOKED_AT = 64


class Buffers(Struct):
    """What is to be packed: n buffers, ascending by `first`, then by `last`.

    Time is cut into sections: the largest sets of buffers that are there at once. Two
    buffers can collide where they share a section.

    Attributes
    ----------
    first, last
        Shape (n,): the buffer is there in the sections first … last − 1.
    size, slack
        Shape (n,): its size, rounded up to a multiple of the alignment, and by how much.
    fixed
        Shape (n,): where it has to be; −1: anywhere.
    later
        Shape (n,): the buffers after i that it can collide with are i + 1 … later[i] − 1.
    first_earlier, earlier
        CSR: those before i.
    alignment
        Of all offsets.
    """

    first: Ints
    last: Ints
    size: Ints
    slack: Ints
    fixed: Ints
    later: Ints
    first_earlier: Ints
    earlier: Numbers
    alignment: int


def sections_of(lower: Ints, upper: Ints) -> tuple[Ints, Ints]:
    """First section of each buffer, and the one after its last.

    A new section begins with a buffer that begins after another has ended. O(n log n).
    """
    ended = np.searchsorted(np.sort(upper), lower, "right")
    kinds = distinct(ended)
    first = np.searchsorted(kinds, ended)
    begins = np.full(len(kinds), np.iinfo(np.int64).max)
    np.minimum.at(begins, first, lower)
    return first, np.searchsorted(begins, upper, "left")


def buffers_of(first: Ints, last: Ints, size: Ints, fixed: Ints, alignment: int) -> Buffers:
    """Buffers that are in the right order already, with the pairs that can collide.

    O(n log n + pairs).
    """
    later = np.searchsorted(first, last, "left")
    degrees = np.zeros(len(first), np.int64)
    count_earlier(later, degrees)
    first_earlier = offsets(degrees)
    earlier = np.empty(first_earlier[-1], np.int32)
    list_earlier(later, first_earlier[:-1].copy(), earlier)
    rounded = rounded_up(size, alignment)
    return Buffers(
        np.ascontiguousarray(first),
        np.ascontiguousarray(last),
        rounded,
        rounded - size,
        np.ascontiguousarray(fixed),
        later,
        first_earlier,
        earlier,
        alignment,
    )


def rounded_up(size: Ints, alignment: int) -> Ints:
    """The next multiples of the alignment."""
    found: Ints = -(-size // alignment) * alignment
    return found


def pairs_of(first: Ints, last: Ints) -> int:
    """How many pairs can collide, of buffers in the right order."""
    return int((np.searchsorted(first, last, "left") - np.arange(len(first)) - 1).sum())


def bound_of(first: Ints, last: Ints, size: Ints, fixed: Ints, alignment: int) -> int:
    """What no packing of these buffers is smaller than.

    In every section all buffers lie on one another, each but the highest at a multiple of the
    alignment: their sizes, rounded up, less the most that the highest may save.
    """
    sections = int(last.max())
    load = counts(first, last, size, sections)
    bound = int(load.max(initial=0))
    rounded = rounded_up(size, alignment)
    if alignment > 1:
        crowd = counts(first, last, rounded, sections)
        for section in np.argsort(-crowd, kind="stable")[:_LOOKED_AT].tolist():
            if crowd[section] <= bound:
                break
            there = (first <= section) & (section < last)
            bound = max(bound, int(crowd[section] - (rounded - size)[there].max()))
    return max(bound, int((fixed + size)[fixed != NONE].max(initial=0)))


def counts(first: Ints, last: Ints, weight: Ints, sections: int) -> Ints:
    """Shape (sections,): the sum of the weights of what is there in each."""
    change = np.zeros(sections + 1, np.int64)
    np.add.at(change, first, weight)
    np.add.at(change, last, -weight)
    return np.cumsum(change)[:sections]


@jit
def count_earlier(later: Ints, degrees: Ints) -> None:
    """How many buffers before each it can collide with. O(pairs)."""
    for i in range(len(later)):
        for j in range(i + 1, later[i]):
            degrees[j] += 1


@jit
def list_earlier(later: Ints, place: Ints, earlier: Numbers) -> None:
    """List them; `place` says where each list begins, and in the end where it ends. O(pairs)."""
    for i in range(len(later)):
        for j in range(i + 1, later[i]):
            earlier[place[j]] = i
            place[j] += 1

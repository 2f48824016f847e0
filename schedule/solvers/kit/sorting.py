"""Sorting in compiled code: small, as NumPy's takes Numba seconds to compile."""

from __future__ import annotations

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import part


@part
def sort_by(keys: Floats | Ints, items: Ints, count: int) -> None:
    """Have the first `count` items ascend by keys[item], then by item. O(count · log count)."""
    sort_range(keys, items, 0, count)


@part
def sort_range(keys: Floats | Ints, items: Ints, begin: int, end: int) -> None:
    """The same for items[begin:end]."""
    # A heap sort, in place: the greatest goes to the end, and the rest is a heap again.
    for at in range((end - begin) // 2 - 1, -1, -1):
        _sink(keys, items, begin, at, end - begin)
    for count in range(end - begin - 1, 0, -1):
        greatest = items[begin]
        items[begin] = items[begin + count]
        items[begin + count] = greatest
        _sink(keys, items, begin, 0, count)


@part
def _sink(keys: Floats | Ints, items: Ints, begin: int, at: int, count: int) -> None:
    """Move the item at a position of a heap, which begins at `begin`, down to where it belongs."""
    item = items[begin + at]
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and _before(keys, items[begin + child], items[begin + child + 1]):
            child += 1
        if not _before(keys, item, items[begin + child]):
            break
        items[begin + at] = items[begin + child]
        at = child
    items[begin + at] = item


@part
def _before(keys: Floats | Ints, a: int, b: int) -> bool:
    first: float = keys[a]
    second: float = keys[b]
    return first < second or (first == second and a < b)

"""Sorting in compiled code: small, as NumPy's takes Numba seconds to compile."""

from __future__ import annotations

from schedule.layout import Floats, Ints
from schedule.solvers.kit.compiled import part


@part
def sort_by(keys: Floats, items: Ints, count: int) -> None:
    """Have the first `count` items ascend by keys[item], then by item. O(count · log count)."""
    # A heap sort, in place: the greatest goes to the end, and the rest is a heap again.
    for at in range(count // 2 - 1, -1, -1):
        _sink(keys, items, at, count)
    for end in range(count - 1, 0, -1):
        greatest = items[0]
        items[0] = items[end]
        items[end] = greatest
        _sink(keys, items, 0, end)


@part
def _sink(keys: Floats, items: Ints, at: int, end: int) -> None:
    """Move the item at a position down to where it belongs in a heap."""
    item = items[at]
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end and _before(keys, items[child], items[child + 1]):
            child += 1
        if not _before(keys, item, items[child]):
            break
        items[at] = items[child]
        at = child
    items[at] = item


@part
def _before(keys: Floats, a: int, b: int) -> bool:
    first: float = keys[a]
    second: float = keys[b]
    return first < second or (first == second and a < b)

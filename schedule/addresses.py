"""Addresses: an offset in one arena for every allocation, and whether they are right.

Whatever finds offsets (`schedule.arena`) is held against the sweep here, which shares
no code with it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schedule.errors import BadAddresses
from schedule.lifetimes import Inputs, Lifetimes, lifetimes_of
from schedule.memory import Trace


@dataclass(frozen=True)
class Addresses:
    """Where a schedule's allocations lie: the key `addresses` of its file.

    Attributes
    ----------
    size
        Of the arena.
    alignment
        Every offset is a multiple of it.
    offsets
        For each allocation the step that makes it (−1: before the first), its name (see
        `schedule.lifetimes.Lifetimes`), and its offset.
    inputs
        `"outside"`: resident inputs are left out.
    """

    size: int
    alignment: int
    offsets: tuple[tuple[int, str, int], ...]
    inputs: Inputs = "inside"

    def to_json(self) -> dict[str, Any]:
        """The same as plain data, as in a schedule file."""
        found: dict[str, Any] = {"size": self.size, "alignment": self.alignment}
        if self.inputs == "outside":
            found["inputs"] = "outside"
        return found | {"offsets": [list(entry) for entry in self.offsets]}


def verify_addresses(trace: Trace, addresses: Addresses) -> list[int]:
    """Check that a schedule's allocations all have offsets, and that no two overlap.

    Returns
    -------
    list of int
        The offset of each of `lifetimes_of(trace, addresses.inputs)`.

    Raises
    ------
    BadAddresses
        One has none, or one that isn't a multiple of the alignment, or ends beyond the
        arena; two overlap; or there is an entry for what isn't allocated.
    """
    lifetimes = lifetimes_of(trace, addresses.inputs)
    offsets = offsets_of(lifetimes, addresses)
    check_offsets(lifetimes, offsets, addresses.size, addresses.alignment)
    return offsets


def offsets_of(lifetimes: Lifetimes, addresses: Addresses) -> list[int]:
    """The offset that each of a schedule's allocations is given.

    Raises
    ------
    BadAddresses
        One has none, or there is an entry for what isn't allocated.
    """
    given: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for step, name, offset in reversed(addresses.offsets):
        given[step, name].append(offset)
    offsets = []
    for name, step in zip(lifetimes.names, lifetimes.lower.tolist()):
        if not given[step, name]:
            raise BadAddresses(f"{name!r}, allocated at step {step}, has no address", step)
        offsets.append(given[step, name].pop())
    for (step, name), left in given.items():
        if left:
            raise BadAddresses(f"{name!r} has an address at step {step}, but isn't allocated", step)
    return offsets


def check_offsets(
    lifetimes: Lifetimes, offsets: Sequence[int], size: int, alignment: int = 1
) -> None:
    """Check that buffers lie in an arena, and that no two that are there at once overlap.

    Parameters
    ----------
    lifetimes
        n buffers.
    offsets
        Where each begins.
    size, alignment
        Of the arena, and of every offset.

    Raises
    ------
    BadAddresses
        The first fault in time.

    Notes
    -----
    A sweep over time that keeps what is there by offset: each new buffer is compared with
    its two neighbours. O(n log n), and as many moves in a list as are there at once.
    """
    lower, upper = lifetimes.lower.tolist(), lifetimes.upper.tolist()
    sizes = lifetimes.size.tolist()
    there: list[tuple[int, int, int]] = []  # offset, end, number
    events = sorted(
        [(time, 1, at) for at, time in enumerate(lower)]
        + [(time, 0, at) for at, time in enumerate(upper)]
    )
    for time, begins, at in events:
        if not sizes[at]:
            continue
        entry = (offsets[at], offsets[at] + sizes[at], at)
        place = bisect_left(there, entry)
        if not begins:
            del there[place]
            continue
        _check_one(lifetimes, entry, size, alignment)
        for other in there[max(place - 1, 0) : place + 1]:
            if other[0] < entry[1] and entry[0] < other[1]:
                raise BadAddresses(
                    f"{_said(lifetimes, other)} and {_said(lifetimes, entry)} overlap at time"
                    f" {time}",
                    time,
                )
        insort(there, entry)


def _check_one(
    lifetimes: Lifetimes, entry: tuple[int, int, int], size: int, alignment: int
) -> None:
    begin, end, at = entry
    time = int(lifetimes.lower[at])
    if begin < 0 or begin % alignment:
        raise BadAddresses(
            f"{_said(lifetimes, entry)}: its offset is no multiple of {alignment}", time
        )
    if end > size:
        raise BadAddresses(f"{_said(lifetimes, entry)}: the arena ends at {size}", time)


def _said(lifetimes: Lifetimes, entry: tuple[int, int, int]) -> str:
    begin, end, at = entry
    return f"{lifetimes.names[at]!r} (from time {lifetimes.lower[at]}, {begin} to {end})"

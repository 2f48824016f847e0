"""Levels of memory below the device: a host, a disk below it, and the links between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schedule.errors import BadOption
from schedule.values import LARGEST_MEMORY, integer, name_of, number, shown

#: Levels that a machine may have below its device: codes of steps stay small.
MOST_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Level:
    """A memory that is reached from the one above it by two channels.

    Channels carry one copy at a time, in the order in which the steps ask for
    them, and both carry at once. A copy of `size` takes `latency + size / bandwidth`.

    Parameters
    ----------
    name
        What it is called: `host`, `disk`, ….
    capacity
        Memory that must not be exceeded, an integer ≥ 0 in the graph's unit.
    down, up
        Bandwidths of the channels to and from it, numbers from 2⁻⁶¹ to below 2⁶¹: memory
        per unit of compute (25.0 is 25 GB/s where these are bytes and nanoseconds).
    latency
        What each copy takes beside that, a number ≥ 0 in units of compute.

    Raises
    ------
    BadOption
        One of them is something else.

    Examples
    --------
    >>> import schedule
    >>> schedule.Level("host", 2**36, down=25.0, up=25.0, latency=10_000).time_up(250_000)
    20000.0
    """

    name: str
    capacity: int
    down: float
    up: float
    latency: int | float = 0

    def __post_init__(self) -> None:
        put = object.__setattr__
        try:
            name_of(self.name, "a level's name")
        except ValueError as error:
            raise BadOption(str(error)) from None
        capacity = integer(self.capacity)
        if capacity is None or not 0 <= capacity < LARGEST_MEMORY:
            raise BadOption(
                f"level {self.name!r}: capacity is {shown(self.capacity)}; it has to be an"
                f" integer from 0 to 2**61 − 1"
            )
        put(self, "capacity", capacity)
        for what in ("down", "up"):
            found = _measure(getattr(self, what), f"level {self.name!r}: the bandwidth {what}")
            if found < 1 / LARGEST_MEMORY:  # copies would take longer than numbers go
                raise BadOption(
                    f"level {self.name!r}: the bandwidth {what} is {shown(getattr(self, what))},"
                    f" which is too small: it has to be at least 2**-61"
                )
            put(self, what, float(found))
        latency = _measure(self.latency, f"level {self.name!r}: latency", may_be_zero=True)
        put(self, "latency", latency)

    def time_down(self, size: int) -> float:
        """What a copy of this size to the level takes, in units of compute."""
        return self.latency + size / self.down

    def time_up(self, size: int) -> float:
        """What a copy of this size from the level takes, in units of compute."""
        return self.latency + size / self.up

    def to_json(self) -> dict[str, Any]:
        """The level as plain data, as schedule files have it."""
        return {
            "name": self.name,
            "capacity": self.capacity,
            "down": self.down,
            "up": self.up,
            "latency": self.latency,
        }


def levels_of(given: Iterable[Level] | Level | None) -> tuple[Level, ...]:
    """What stands for a machine's levels, the one next to the device first.

    Raises
    ------
    BadOption
        It holds something else, too many of them, or two of one name.
    """
    if given is None:
        return ()
    listed = (given,) if isinstance(given, Level) else given
    if isinstance(listed, (str, bytes)) or not isinstance(listed, Iterable):
        raise BadOption(f"levels is {shown(given)}; it has to be a list of schedule.Level")
    found = tuple(listed)
    for level in found:
        if not isinstance(level, Level):
            raise BadOption(f"a level is a schedule.Level, not {shown(level)}")
    if len(found) > MOST_LEVELS:
        raise BadOption(f"there are {len(found)} levels; a machine has at most {MOST_LEVELS}")
    names = [level.name for level in found]
    for name in names:
        if names.count(name) > 1:
            raise BadOption(f"two levels are called {name!r}; each needs a name of its own")
    return found


def _measure(value: object, what: str, *, may_be_zero: bool = False) -> int | float:
    """A number above 0, or 0 where that makes sense, and below 2**61."""
    found = number(value)
    if found is None or not (found > 0 or (found == 0 and may_be_zero)):
        least = "≥ 0" if may_be_zero else "> 0"
        raise BadOption(f"{what} is {shown(value)}; it has to be a number {least}")
    if found >= LARGEST_MEMORY:  # an infinite one, too: nothing in a file is infinite
        raise BadOption(
            f"{what} is {shown(value)}, which is too large: it has to stay below 2**61 (about 2e18)"
        )
    return found

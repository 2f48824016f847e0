"""How much of the machine's memory a solve takes, with the processes that work for it."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

#: Numbers of the processes whose memory counts as this one's.
counted: set[int] = set()
#: How often the system is asked at most, in seconds.
_EVERY = 0.2


class MemoryLimit:
    """Whether a share of the machine's memory is taken.

    That is of the memory that this process doesn't hold yet when the solve begins: a
    caller with much data may solve, too.

    Parameters
    ----------
    share
        From 0 to 1.

    Attributes
    ----------
    exceeded
        Whether it was when it was last looked at.
    """

    def __init__(self, share: float) -> None:
        self.exceeded = False
        self._share, self._looked = share, time.monotonic()
        total, taken = _total(), used()
        self._most = total if total is None else taken + share * max(total - taken, 0)

    def __str__(self) -> str:
        return f"a solve took {self._share:.4g} of the memory that the machine had left"

    def is_exceeded(self) -> bool:
        """Whether more is taken now, or was before; the system is asked a few times a second."""
        now = time.monotonic()
        if self._most is not None and not self.exceeded and now >= self._looked + _EVERY:
            self._looked = now
            self.exceeded = used() > self._most
        return self.exceeded


def used() -> int:
    """Bytes in memory of this process and of those that work for it."""
    return sum(map(_resident, (os.getpid(), *tuple(counted))))


def _resident(process: int) -> int:
    try:
        with open(f"/proc/{process}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # another system, or it has just ended
        return _most_resident() if process == os.getpid() else 0


def _most_resident() -> int:
    """The most that this process ever had, where the system doesn't say what it has."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _total() -> int | None:
    """The machine's memory in bytes, or the least of its control groups; None: not known."""
    try:
        known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        return None
    return min(known + _group_limits("/proc/self/cgroup", "/sys/fs/cgroup"))


def _group_limits(listed: str, root: str) -> list[int]:
    """What the control groups of this process may take, of either version, and those above."""
    found: list[int] = []
    try:
        lines = Path(listed).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = Path(root, "memory") if controllers else Path(root)
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # not there, or "max"
                found.append(int((folder / name).read_text("ascii")))
            if folder == top:
                break
    return found

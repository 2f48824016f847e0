"""How much memory this machine still has."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from schedule.errors import BadInput
from schedule.sizes import format_memory

#: What Linux says of the machine, and of the container that the process may run in.
_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process may still allocate without swapping.

    What Linux calls available, and no more than its container may take;
    elsewhere all of the machine's memory, as there is no common way to ask; on
    Windows no limit, as there is none to ask for that either.
    """
    limits = [amount for amount in (_in_machine(), _in_container()) if amount is not None]
    if limits:
        return min(limits)
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _in_machine() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MACHINE.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _in_container() -> int | None:
    """What the control group (version 2) leaves; None where there is no limit."""
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)", (_CONTAINER / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):  # no such files, or "max"
        return None
    return limit - used + (int(cached[1]) if cached else 0)


def require_memory(needed: int, available: int, what: str) -> None:
    """Raise BadInput where `what` needs more than is available."""
    if needed > available:
        raise BadInput(
            f"{what} needs {format_memory(needed)}, but only {format_memory(available)} of memory"
            f" are available here; replay on a larger machine, or a smaller graph"
        )

"""Whether this machine is the host that a schedule copies to, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator

from schedule.errors import DoesNotFit
from schedule.executors.machine import available_memory
from schedule.result import Result
from schedule.sizes import format_compute, format_memories, format_memory


def require_host(result: Result) -> None:
    """Refuse a schedule that keeps more on the host than this one has left.

    Raises
    ------
    DoesNotFit
        Says how much that is.
    """
    needed, there = sum(result.level_peaks), available_memory()
    if needed > there:
        raise DoesNotFit(
            f"the schedule keeps {format_memory(needed)} on the host, and this one has"
            f" {format_memory(there)} left: give a smaller host, or a larger budget"
        )


def in_words_below(result: Result, source: str) -> Iterator[str]:
    """What is predicted where there is a host: the makespan, its memory, and by what link.

    Parameters
    ----------
    result
        Of a solve; without levels nothing is said.
    source
        How the link is known; empty: as the schedule has it.
    """
    if result.makespan is not None:
        yield f"makespan {format_compute(result.makespan)}"
    for level, peak in zip(result.levels, result.level_peaks):
        # Where the device's sizes are in the graph's unit, so are these.
        has_unit = " " in format_memories(result.peak or 0, result.budget or 0)[0]
        sizes = format_memories(peak, level.capacity) if has_unit else (peak, level.capacity)
        held = " of ".join(map(str, sizes))
        speeds = f"{level.down:.3g} down, {level.up:.3g} up, {level.latency:.3g} a copy"
        yield f"{level.name} {held} (link: {', '.join(filter(None, (speeds, source)))})"

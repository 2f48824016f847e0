"""Compile everything beforehand: for images of containers, and machines of CI."""

from __future__ import annotations

import importlib
import os
import pkgutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedule.cancelling import cancelled
from schedule.figures import format_seconds
from schedule.options import Cancel, SolveOptions

if TYPE_CHECKING:
    from schedule.solvers import Solver
    from schedule.solvers.kit.loading import Loading


@dataclass(frozen=True, slots=True)
class WarmedPart:
    """One part of the compiled code: how long it took, and whether it was compiled or loaded."""

    name: str
    seconds: float
    was_compiled: bool


@dataclass(frozen=True, slots=True)
class Warmed:
    """What `warm` did.

    Attributes
    ----------
    parts
        In the order in which they are of use.
    folders
        Where the code is kept; empty where nothing can be (a `CacheLeftAside` warning
        says why).
    """

    parts: tuple[WarmedPart, ...]
    folders: tuple[Path, ...]

    @property
    def seconds(self) -> float:
        """Of all parts together."""
        return sum(part.seconds for part in self.parts)

    def __str__(self) -> str:
        """One line: how many parts are ready, what was compiled, how long that took, and where."""
        compiled = sum(part.was_compiled for part in self.parts)
        kept = f", kept in {os.path.commonpath(self.folders)}" if self.folders else ""
        took = format_seconds(self.seconds)
        return f"{len(self.parts)} parts ready, {compiled} compiled, {took}{kept}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "seconds": self.seconds,
            "parts": [
                {"name": part.name, "seconds": part.seconds, "compiled": part.was_compiled}
                for part in self.parts
            ],
            "folders": [str(folder) for folder in self.folders],
        }


def warm() -> Warmed:
    """Compile all that is compiled, or load it where an earlier process has.

    Solves need that only once on a machine, and do it beside their work: this is for
    who wants the first one to be as fast as all others. Some twenty seconds of one core.

    Raises
    ------
    MemoryError
        Not enough for the compiler.
    """
    found = []
    for name, loading in sorted(parts().items(), key=lambda each: each[1].rank):
        was_ready, started = loading.is_ready, time.monotonic()
        attempt = loading.begin()
        while not attempt.done.wait(0.1):  # so that Ctrl-C is seen
            pass
        if attempt.error is not None:
            raise attempt.error
        seconds = time.monotonic() - started
        found.append(WarmedPart(name, seconds, attempt.compiles and not was_ready))
    from schedule.solvers.kit.compiled import folders

    return Warmed(tuple(found), tuple(sorted(folders)))


def wait_for(
    wanted: Iterable[Loading], cancel: Cancel | None, compiles: Callable[[], None]
) -> float:
    """Have parts ready, unless it is called off; the seconds if any had to be compiled, else 0.

    Where one fails nothing is said here: whoever needs it tries again, and knows what to do.

    Parameters
    ----------
    wanted
        What is to be ready.
    cancel
        As in `SolveOptions`.
    compiles
        Called once as soon as anything is compiled.
    """
    started, told = time.monotonic(), threading.Event()
    attempts = [part.begin() for part in sorted(wanted, key=lambda each: each.rank)]
    is_said = False

    def wait() -> None:
        nonlocal is_said
        for attempt in attempts:
            while not (attempt.done.wait(0.02) or told.is_set()):
                if attempt.compiles and not is_said:
                    is_said = True
                    compiles()

    cancelled(wait, cancel, told)
    return time.monotonic() - started if any(each.compiles for each in attempts) else 0.0


def have_compiled(solver: Solver, options: SolveOptions) -> float:
    """Have ready what a solver uses, so that its seconds are its own; those of compiling it.

    Parameters
    ----------
    solver
        What will be asked.
    options
        Its `cancel` ends the wait, and its `progress` is told why there is one.
    """
    wanted = [part for part in getattr(solver, "compiled", ()) if not part.is_ready]
    if not wanted:
        return 0.0
    from schedule.solvers import Progress
    from schedule.solvers.kit.loading import NOTE

    def say(note: str) -> None:
        if options.progress is not None:
            options.progress(Progress(solver.name, 0.0, options.time_limit, None, None, note))

    seconds = wait_for(wanted, options.cancel, lambda: say(NOTE))
    if seconds:
        say("")
    return seconds


def parts() -> dict[str, Loading]:
    """Every part of the compiled code, by the package that it is in."""
    from schedule import arena, solvers
    from schedule.solvers.kit.loading import Loading

    packages = [
        package.name
        for root in (solvers, arena)
        for package in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        if package.ispkg
    ]
    return {
        name.removeprefix(f"{solvers.__name__}.").removeprefix("schedule."): value
        for name in (*packages, arena.__name__)
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, Loading) and value.is_of(name)
    }

"""Everything that this package raises on purpose.

::

    ScheduleError
    ├── BadInput (also a ValueError)     what the caller gave can't be used
    │   ├── BadGraph                     a graph, from a file or built
    │   ├── BadSchedule                  a schedule file that can't be read
    │   ├── BadOutput                    a file that can't be written
    │   ├── BadBudget                    a budget that is no amount of memory
    │   ├── BadOption                    an unknown solver, order, backend, …
    │   ├── NotApplicable                this solver doesn't handle this graph
    │   ├── WrongGraph                   a schedule used with another graph
    │   ├── CannotCapture                a model's training step can't be captured
    │   ├── DoesNotFit                   no schedule was found for a model's budget
    │   ├── OtherStep                    a planned model is run on another kind of batch
    │   │   └── BackwardRefused (also a RuntimeError)   a backward pass that isn't planned
    │   ├── MissingExtra                 an optional package isn't installed
    │   └── BadPlugin                    what another package brings doesn't work
    ├── InvalidSchedule                  the memory model refuses a schedule
    │   ├── UnknownName                  a step names nothing in the graph
    │   ├── InputNotLive                 a node runs without one of its inputs
    │   ├── NothingToCompute             a node runs while all its outputs live
    │   ├── RunTwice                     a node that must not run again does
    │   ├── NotLive                      a tensor is freed that isn't live
    │   ├── ResidentFreed                a resident input is freed
    │   ├── OutputNotLive                an output isn't live after the last step
    │   ├── NoSuchLevel                  a step for a level that the machine doesn't have
    │   ├── ViewCopied                   a view is copied, not the tensor that it lies on
    │   ├── NotOffloadable               an input is copied that has to stay on the device
    │   ├── AlreadyCopied                a tensor is copied to where it is already
    │   ├── AlreadyLive                  a tensor is fetched to the device that is there
    │   ├── NoCopy                       a copy is fetched or dropped that isn't there
    │   ├── OnlyCopyDropped              nothing would be left of a resident input
    │   ├── OverBudget                   the peak exceeds the budget
    │   ├── OverCapacity                 a level below the device holds more than it can
    │   ├── BadAddresses                 allocations overlap, or have no right offset
    │   └── FalseClaim                   a file states what its steps don't do
    ├── ReplayError                      a replay can't go on, or isn't equal
    │   ├── KernelError                  a node's callable did something wrong
    │   └── NotEqual                     replayed and plain outputs differ
    └── SolverBug                        a solver proposed what doesn't verify

    ScheduleWarning (a UserWarning)      something failed, and the answer holds all the same
    ├── BudgetMissed                     under Inductor a step takes more than it was given
    ├── CacheLeftAside                   a cache is of no use
    ├── NameTaken                        another distribution has this import name
    └── SolverFailed                     a solver failed after it had found something

Outcomes are not errors: a budget too small is the status `infeasible` of a
result. Nor is memory that runs out, which Python knows as `MemoryError`.
"""

from __future__ import annotations

import errno

from schedule.clash import require_ours

require_ours()  # here, as whatever is imported from this package imports this

#: What to say where memory runs out, and what to do.
OUT_OF_MEMORY = (
    "out of memory: raise this process's limit, end other programs, or ask for less"
    " (fewer workers, solver greedy, a smaller graph)"
)
#: How the system, the dynamic linker, Python and torch say it where they don't raise MemoryError.
_SIGNS = (
    "annot allocate memory",
    "an't allocate memory",
    "not enough memory",
    "failed to map segment",
    "an't start new thread",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, says that memory ran out."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, (OSError, ImportError, RuntimeError)):
            text = str(error)
            if any(sign in text for sign in _SIGNS):
                return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception was made of a Ctrl-C, as extension modules do that are being loaded."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


class ScheduleError(Exception):
    """The root: `except ScheduleError` catches all that this package raises."""


class BadInput(ScheduleError, ValueError):
    """What the caller gave can't be used; the message says what to change."""


class BadGraph(BadInput):
    """A graph that breaks the rules of the format; names the node and the value."""


class BadSchedule(BadInput):
    """A schedule file that isn't one."""


class BadOutput(BadInput):
    """A file that can't be written; what was there before is still there."""


class BadBudget(BadInput):
    """A budget that is neither an integer, nor a size, nor a share."""


class BadOption(BadInput):
    """An option outside its range: an unknown solver, order, backend, …"""


class NotApplicable(BadInput):
    """The chosen solver doesn't handle this graph; the message says why."""


class WrongGraph(BadInput):
    """A schedule used with a graph other than the one it was made for."""


class CannotCapture(BadInput):
    """A model's training step can't be captured; says why, and what still works."""


class DoesNotFit(BadInput):
    """No schedule is known that fits a model's budget; says what is needed."""


class OtherStep(BadInput):
    """A planned model got arguments, or is in a state, that its plan wasn't made for."""


class BackwardRefused(OtherStep, RuntimeError):
    """A planned step can't run this backward pass: a second one, or one after a change."""


class MissingExtra(BadInput, ImportError):
    """An optional package isn't installed; the message names the extra."""


class BadPlugin(BadInput):
    """What another package brings doesn't work; names the package and the entry point."""


class InvalidSchedule(ScheduleError):
    """A schedule that the memory model refuses, at step `step` (counted from 0).

    `step` is None where the fault belongs to no single step.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class UnknownName(InvalidSchedule):
    """A step names a node or a tensor that the graph doesn't have."""


class InputNotLive(InvalidSchedule):
    """A node runs while one of its inputs is not live."""


class NothingToCompute(InvalidSchedule):
    """A node runs while every one of its outputs is live."""


class RunTwice(InvalidSchedule):
    """A node with `recomputable: false` runs a second time."""


class NotLive(InvalidSchedule):
    """A tensor is freed that is not live."""


class ResidentFreed(InvalidSchedule):
    """An input that isn't freeable is freed, and no level below the device has a copy."""


class NoSuchLevel(InvalidSchedule):
    """A step copies to or from a level that the machine doesn't have."""


class ViewCopied(InvalidSchedule):
    """A step copies a view; only the tensor that owns a storage is copied."""


class NotOffloadable(InvalidSchedule):
    """A step copies an input with `offloadable: false`, which stays on the device."""


class AlreadyCopied(InvalidSchedule):
    """A tensor is copied to a level where a copy of it is already."""


class AlreadyLive(InvalidSchedule):
    """A tensor is fetched to the device that is live there."""


class NoCopy(InvalidSchedule):
    """A copy is fetched from, or dropped on, a level where there is none."""


class OnlyCopyDropped(InvalidSchedule):
    """The only copy of an input that isn't freeable is dropped."""


class OutputNotLive(InvalidSchedule):
    """An output of the graph is not live after the last step."""


class OverBudget(InvalidSchedule):
    """The peak exceeds the budget."""


class OverCapacity(InvalidSchedule):
    """A level below the device holds more than its capacity."""


class BadAddresses(InvalidSchedule):
    """Two allocations overlap, or one has no offset, or one that it can't have."""


class FalseClaim(InvalidSchedule):
    """A schedule file records a figure that its own steps don't give."""


class ReplayError(ScheduleError):
    """A replay that can't go on, or whose outcome isn't the promised one."""


class KernelError(ReplayError):
    """A node's callable raised, or returned the wrong number, size or kind."""


class NotEqual(ReplayError):
    """The replayed outputs differ from those of the plain run."""


class SolverBug(ScheduleError):
    """A solver proposed a schedule that doesn't verify: please report it."""


class ScheduleWarning(UserWarning):
    """The root of the warnings: something failed, and the answer holds all the same."""


class CacheLeftAside(ScheduleWarning):
    """The cache of compiled code, or of what was measured, can't be read or written.

    Said once in a process. What is needed is compiled or measured again, which takes time
    and nothing else.
    """


class NameTaken(ScheduleWarning):
    """Another distribution with the import name `schedule` is installed, too."""


class BudgetMissed(ScheduleWarning):
    """Under Inductor a step takes more than its budget, whatever was tried."""


class SolverFailed(ScheduleWarning):
    """A solver failed after it had found something; its error is the `__cause__`.

    The best that was found is returned, verified as always.
    """

"""What a solve returns: a status, a verified schedule, and how good it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from schedule.display import Shown
from schedule.errors import BadOutput, ScheduleError
from schedule.figures import format_reruns
from schedule.files import AnyPath, path_text, write_json
from schedule.levels import Level
from schedule.sizes import (
    format_compute,
    format_memories,
    format_memory,
    format_points,
    format_seconds,
    format_share,
)
from schedule.steps import (
    TRANSFER_WORDS,
    TRANSFERS,
    Compute,
    Drop,
    Free,
    Offload,
    Prefetch,
    Schedule,
    Step,
)
from schedule.values import listed

if TYPE_CHECKING:
    from schedule.addresses import Addresses
    from schedule.memory import Trace

#: What a schedule file says that it is; `schedule.frontends.schedule_format` reads it.
SCHEDULE_FORMAT = "schedule/1"
#: Names that a table lists before it counts the rest.
_FEW = 8

Order = Literal["free", "fixed"]


class Status(StrEnum):
    """What is known about the answer.

    - `optimal`: fits, and its compute equals a proved lower bound.
    - `feasible`: fits.
    - `infeasible`: proved: no schedule fits the budget.
    - `unknown`: nothing that fits was found, or what fits is too long to be written; a
      schedule may exist.
    """

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why nothing fits.

    Attributes
    ----------
    needed
        The least budget that isn't proved too small; 0 where nothing is proved.
    node
        The node that needs it, where it is one.
    reason
        The same in words.
    least_peak
        The least peak of a schedule that was found and replayed; None: none was.
    tensors
        What has to be in memory at once, beside the node's workspace, where that
        alone is too much.
    """

    needed: int
    node: str | None
    reason: str
    least_peak: int | None = None
    tensors: tuple[str, ...] = ()


def _cost(compute: int | float | None, overhead: float) -> str:
    """A compute and what it is beyond every node once, for people."""
    return f"{'?' if compute is None else format_compute(compute)} ({format_share(overhead)})"


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The answer of `schedule.solve`; every figure comes from a replay on paper.

    Attributes
    ----------
    status
        See `Status`.
    schedule
        The verified steps; None where nothing fits (then see `shortfall`).
    graph_name, digest, graph_compute
        The graph: its name, digest, and the compute of every node once (None
        where a file doesn't state it).
    solver, order, seed
        What was asked for. `order` is that of the bound: `free` means that it
        holds for every schedule, `fixed` for those that keep the graph's order
        of first runs.
    budget
        In the graph's unit; None: no limit.
    seconds
        Wall time of the solve.
    lower_bound
        Proved: no schedule that fits the budget (in that order) takes less
        compute. None where it is proved that none fits.
    peak, compute, overhead
        Of the schedule; overhead is `compute / graph_compute − 1`.
    checkpoints
        Tensors of forward nodes that are live when the first backward node starts.
    shortfall
        Why nothing fits; None where something does.
    interrupted
        True where the solve was cut short, by Ctrl-C, by `cancel`, because memory ran
        out, or by the time limit before its work limit; the rest is still true.
    out_of_memory
        True where it was memory, or the share of it that may be taken.
    out_of_time
        True where it was the time limit, before the work limit.
    found_by, proved_by
        The solvers that found the schedule, and that proved the bound or that nothing
        fits: `auto` asks several. None where there is none, or none better than every
        node once.
    compiling
        Seconds of the solve in which a method waited for code that was being compiled:
        only at the first use on a machine (`schedule.warm` does it beforehand).
    addresses
        Where its allocations lie in one arena (`schedule.place`); None where that isn't asked.
    levels
        What was below the device: a host first. Where there is anything,
        `lower_bound` is one on the makespan.
    level_peaks
        The largest memory in use of each level.
    makespan
        When the last compute or copy ends; None where there are no levels: then
        it is `compute`.
    trace
        What the schedule does to memory, step by step; None where there is no
        schedule, and for what comes from a file or another process.
    """

    status: Status
    schedule: Schedule | None
    graph_name: str
    digest: str
    graph_compute: int | float | None
    solver: str
    order: Order
    budget: int | None
    seconds: float
    seed: int
    lower_bound: int | float | None = None
    peak: int | None = None
    compute: int | float | None = None
    overhead: float | None = None
    checkpoints: tuple[str, ...] = ()
    shortfall: Shortfall | None = None
    interrupted: bool = False
    out_of_memory: bool = False
    out_of_time: bool = False
    found_by: str | None = None
    proved_by: str | None = None
    compiling: float = 0.0
    addresses: Addresses | None = None
    levels: tuple[Level, ...] = ()
    level_peaks: tuple[int, ...] = ()
    makespan: int | float | None = None
    trace: Trace | None = field(default=None, compare=False, repr=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The schedule's steps; raises ScheduleError where nothing fits."""
        if self.schedule is None:
            raise ScheduleError(f"there is no schedule: {self}")
        return self.schedule.steps

    @property
    def bound_overhead(self) -> float | None:
        """The lower bound as an overhead, in the same terms as `overhead`."""
        if self.lower_bound is None or self.graph_compute is None:
            return None
        return float(self.lower_bound / self.graph_compute - 1) if self.graph_compute else 0.0

    @property
    def gap(self) -> float | None:
        """`overhead − bound_overhead`: 0.01 is one percentage point of overhead.

        Where there are levels below the device, that of the makespan counts.
        """
        if self.objective_overhead is None or self.bound_overhead is None:
            return None
        return max(0.0, self.objective_overhead - self.bound_overhead)

    @property
    def objective(self) -> int | float | None:
        """What was to be least: the makespan where there are levels, else the compute."""
        return self.compute if self.makespan is None else self.makespan

    @property
    def objective_overhead(self) -> float | None:
        """The same as an overhead: over the compute of every node once."""
        if self.makespan is None or self.graph_compute is None:
            return self.overhead
        return float(self.makespan / self.graph_compute - 1) if self.graph_compute else 0.0

    def rows(self) -> Iterator[tuple[str, str]]:
        """Label and value of everything there is to say, for tables."""
        yield "graph", self.graph_name
        yield "status", self.status + (f" ({self.stop})" if self.stop else "")
        yield "solver", f"{self.solver}, {self.order} order, {self.seconds:.2f} s"
        if self.budget is not None:
            yield "budget", self._sizes()[0]
        if self.shortfall is not None:
            yield "reason", self.shortfall.reason
            if self.shortfall.tensors:
                yield "at once", listed(self.shortfall.tensors, _FEW)
        if self.peak is not None and self.overhead is not None:
            yield "peak", self._sizes()[-1]
            yield "compute", _cost(self.compute, self.overhead) + self._credit(self.found_by)
        if self.makespan is not None:
            yield "makespan", _cost(self.makespan, self.objective_overhead or 0.0)
        for level, peak in zip(self.levels, self.level_peaks):
            yield f"on {level.name}", " of ".join(format_memories(peak, level.capacity))
        if self.bound_overhead is not None:
            bound = _cost(self.lower_bound, self.bound_overhead)
            yield "bound", bound + self._credit(self.proved_by)
        if self.gap is not None:
            yield "gap", f"{format_points(self.gap)} percentage points"
        if self.addresses is not None:
            arena = self.addresses
            yield "arena", f"{format_memory(arena.size)}, {len(arena.offsets)} allocations"
        if self.schedule is not None:
            yield "steps", str(len(self.schedule))
            yield "recomputed", format_reruns(self.schedule.reruns)
            if self._n_checkpoints:
                yield "checkpoints", str(self._n_checkpoints)

    @property
    def _n_checkpoints(self) -> int:
        """For people: those that take memory, where it is known what does."""
        return len(self.checkpoints if self.trace is None else self.trace.held_checkpoints)

    def _sizes(self) -> list[str]:
        """Budget and peak, those that are there, in one unit."""
        return format_memories(*(size for size in (self.budget, self.peak) if size is not None))

    def _credit(self, by: str | None) -> str:
        """Who found or proved something, where it isn't who was asked."""
        return "" if by in (None, self.solver) else f", by {by}"

    @property
    def stop(self) -> str:
        """What cut the solve short, in words; empty where nothing did."""
        if self.out_of_memory:
            return "out of memory"
        if self.out_of_time:
            return "out of time"
        return "interrupted" if self.interrupted else ""

    def __repr__(self) -> str:
        # Not every field: a schedule may have a million steps.
        return f"<Result for {self.graph_name!r}: {self}>"

    def __str__(self) -> str:
        """One line: status, peak of budget, overhead, bound, checkpoints, solver, seconds."""
        end = ", ".join(filter(None, (self.solver, format_seconds(self.seconds), self.stop)))
        if self.shortfall is not None:
            return f"{self.status}: {self.shortfall.reason} ({end})"
        if self.peak is None or self.overhead is None:  # read from a file that doesn't say
            return f"{self.status}: {len(self.schedule or ())} steps, figures not stated, {end}"
        *budget, peak = self._sizes()
        parts = [" of ".join([f"{self.status}: peak {peak}", *budget])]
        what = "compute" if self.makespan is None else "makespan"
        compute = f"{format_share(self.objective_overhead or 0.0)} {what}"
        if self.bound_overhead is not None:
            compute += f" (bound {format_share(self.bound_overhead)})"
        parts.append(compute)
        if self._n_checkpoints:
            parts.append(f"{self._n_checkpoints} checkpoints")
        return ", ".join([*parts, end])

    def __getstate__(self) -> dict[str, Any]:
        """All but the trace, which holds the whole graph."""
        return self.__dict__ | {"trace": None}

    def save(self, path: AnyPath) -> None:
        """Write the schedule to a file, gzipped where the name ends in `.gz`.

        The file appears complete or not at all; `schedule.read_schedule` gives
        back an equal result.

        Raises
        ------
        BadOutput
            There is no schedule to write; the file can't be written.
        """
        if self.schedule is None:
            raise BadOutput(
                f"{path_text(path)}: there is no schedule to write: {self}; solve again with a"
                " larger budget or more time, and save where result.schedule isn't None"
            )
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The result as plain data: the schedule file of `formats`, with every figure.

        Keys beyond the contract's: `gap`, `graph.compute`, and, where they
        apply, `makespan`, each level's `peak`, `order`, `interrupted`,
        `out_of_memory`, `out_of_time`, `found_by`, `proved_by`, `compiling`,
        `shortfall` and `addresses`.
        """
        found: dict[str, Any] = {
            "format": SCHEDULE_FORMAT,
            "graph": {
                "name": self.graph_name,
                "sha256": self.digest,
                "compute": self.graph_compute,
            },
            "solver": self.solver,
            "status": str(self.status),
            "budget": self.budget,
            "peak": self.peak,
            "compute": self.compute,
            "overhead": self.overhead,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "seconds": self.seconds,
            "seed": self.seed,
        }
        if self.levels:
            found["makespan"] = self.makespan
            found["levels"] = [level.to_json() for level in self.levels]
            for level, peak in zip(found["levels"], self.level_peaks):
                level["peak"] = peak
        if self.order == "fixed":
            found["order"] = "fixed"
        if self.interrupted:
            found["interrupted"] = True
        if self.out_of_memory:
            found["out_of_memory"] = True
        if self.out_of_time:
            found["out_of_time"] = True
        if self.found_by is not None:
            found["found_by"] = self.found_by
        if self.proved_by is not None:
            found["proved_by"] = self.proved_by
        if self.compiling:
            found["compiling"] = self.compiling
        if self.shortfall is not None:
            found["shortfall"] = {
                "needed": self.shortfall.needed,
                "node": self.shortfall.node,
                "reason": self.shortfall.reason,
                "least_peak": self.shortfall.least_peak,
                "tensors": list(self.shortfall.tensors),
            }
        found["checkpoints"] = list(self.checkpoints)
        found["steps"] = [
            ["compute", step.node]
            if isinstance(step, Compute)
            else ["free", step.tensor]
            if isinstance(step, Free)
            else _transfer(step)
            for step in (self.schedule or ())
        ]
        if self.addresses is not None:
            found["addresses"] = self.addresses.to_json()
        return found


def _transfer(step: Offload | Prefetch | Drop) -> list[str | int]:
    """A step for a level below the device as plain data; the first level needs no number."""
    named: list[str | int] = [TRANSFER_WORDS[TRANSFERS.index(type(step))], step.tensor]
    return named if step.level == 1 else [*named, step.level]

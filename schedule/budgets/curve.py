"""What a sweep returns: a result per budget, and the knee of their curve."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from schedule.bounds import TOLERANCE
from schedule.display import Shown
from schedule.files import AnyPath, write_bytes
from schedule.graph import Graph
from schedule.levels import Level
from schedule.lowering import in_order
from schedule.result import Order, Result, Status
from schedule.sizes import (
    format_enough,
    format_memories,
    format_memory,
    format_points,
    format_seconds,
    format_share,
    with_exact,
)


@dataclass(frozen=True)
class Sweep(Shown):
    """The answer of `schedule.sweep`: one result a budget, from the smallest to the largest.

    The curve is monotone: with a larger budget no schedule here takes more
    compute, and no bound is larger.

    Attributes
    ----------
    graph_name, digest, graph_compute
        The graph: its name, digest, and the compute of every node once.
    plain_peak
        What 100 % is: the peak of the graph in its own order, nothing
        recomputed.
    solver, order
        What was asked for, as for `schedule.solve`.
    points
        The results by ascending budget. Where a budget is too small its status
        is `infeasible`; where the sweep ended before its solve did,
        `interrupted` is set and the rest is still true.
    seconds
        Wall time of the sweep; 0 where it was read from a directory.
    solved
        How many solves this sweep took: what was read from its directory, or
        follows from other budgets, took none.
    ended
        Why the sweep ended early: `"interrupted"`, how the executor failed, why
        a file couldn't be written, or that memory ran out; empty where it didn't.
    failed
        Whether it was one of the last two: then it isn't what was asked for.
    unsolved
        The budgets that no solve has answered when the sweep ended early: what is said
        of them follows from others, and from the program as it is.
    levels
        What is below the device; where there is anything, the curve is one of makespans.
    """

    graph_name: str
    digest: str
    graph_compute: int | float
    plain_peak: int
    solver: str
    order: Order
    points: tuple[Result, ...]
    seconds: float = 0.0
    solved: int = 0
    ended: str = ""
    failed: bool = False
    unsolved: tuple[int, ...] = ()
    levels: tuple[Level, ...] = ()

    #: Heads of the columns of `rows`; all but the first and last hold numbers.
    columns: ClassVar = ("budget", "of peak", "overhead", "bound", "gap", "seconds", "")

    @classmethod
    def of(
        cls,
        graph: Graph,
        solver: str,
        order: Order,
        points: Iterable[Result],
        *,
        seconds: float = 0.0,
        solved: int = 0,
        ended: str = "",
        failed: bool = False,
        unsolved: Iterable[int] = (),
        levels: Iterable[Level] = (),
    ) -> Sweep:
        """The curve of these results of one graph, which are by ascending budget."""
        return cls(
            graph_name=graph.name,
            digest=graph.digest,
            graph_compute=graph.compute,
            plain_peak=in_order(graph).peak,
            solver=solver,
            order=order,
            points=tuple(points),
            seconds=seconds,
            solved=solved,
            ended=ended,
            failed=failed,
            unsolved=tuple(unsolved),
            levels=tuple(levels),
        )

    @property
    def planned(self) -> tuple[Result, ...]:
        """The results that have a schedule."""
        return tuple(point for point in self.points if point.schedule is not None)

    @property
    def least_budget(self) -> int:
        """Every budget below is proved too small."""
        proofs = [point.shortfall.needed for point in self.points if point.shortfall is not None]
        return max(proofs, default=0)

    @property
    def knee(self) -> Result | None:
        """The point below which less memory starts to cost much more; None: there is none.

        Of the points that have a schedule, the one that lies furthest below the
        straight line from the first to the last, with budgets and overheads
        each scaled to [0, 1]; of several the one of least budget. There is none
        where no point lies below that line, or where the first costs no more than
        the last, but for rounding. It depends on the range of the
        sweep.

        Notes
        -----
        The rule of Kneedle without its smoothing: Satopaa, Albrecht, Irwin &
        Raghavan 2011, doi:10.1109/ICDCSW.2011.20.
        """
        points = self.planned
        if len(points) < 3:
            return None
        first, last = points[0], points[-1]
        width = _of(last.budget) - _of(first.budget)
        height = _of(first.objective_overhead) - _of(last.objective_overhead)
        if not width or abs(height) <= TOLERANCE:  # equal computes have no knee
            return None
        below, knee = 0.0, None
        for point in points[1:-1]:
            right = (_of(point.budget) - _of(first.budget)) / width
            up = (_of(point.objective_overhead) - _of(last.objective_overhead)) / height
            if 1 - right - up > below + 1e-12:
                below, knee = 1 - right - up, point
        return knee

    @property
    def objective(self) -> str:
        """What is to be least, and what overheads and bounds are about: compute or makespan."""
        return "makespan" if self.levels else "compute"

    def share(self, budget: int) -> float:
        """A budget as a share of `plain_peak`."""
        return budget / self.plain_peak if self.plain_peak else 1.0

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The cells of each point under `columns`, for tables."""
        knee = self.knee
        sizes = format_memories(*(int(_of(point.budget)) for point in self.points))
        for size, point in zip(sizes, self.points):
            budget = _of(point.budget)
            notes = [str(point.status)]
            notes += ["the knee"] if point is knee else []
            stop = "not solved" if budget in self.unsolved else point.stop
            notes += [stop] if stop else []
            yield (
                size,
                f"{100 * self.share(int(budget)):.1f} %",
                format_share(point.objective_overhead),
                format_share(point.bound_overhead),
                format_points(point.gap),
                f"{point.seconds:.2f}",
                ", ".join(notes),
            )

    def __repr__(self) -> str:
        return f"<Sweep of {self.graph_name!r}: {self}>"

    def __str__(self) -> str:
        """One line: how many budgets have a schedule, which are too small, and the knee."""
        have = "has" if len(self.planned) == 1 else "have"
        parts = [f"{len(self.planned)} of {len(self.points)} budgets {have} a schedule"]
        small = sum(point.status is Status.INFEASIBLE for point in self.points)
        if small:
            least = with_exact(format_enough(self.least_budget)[0], self.least_budget)
            parts.append(f"{small} proved too small, as all below {least} are")
        knee = self.knee
        if knee is not None and knee.budget is not None:
            parts.append(
                f"knee at {format_memory(knee.budget)} ({100 * self.share(knee.budget):.1f} %):"
                f" {format_share(knee.objective_overhead)} {self.objective}"
                f" (bound {format_share(knee.bound_overhead)})"
            )
        parts.append(self.solver)
        if self.seconds:  # it isn't known of what was read from a directory
            parts.append(format_seconds(self.seconds))
        if self.unsolved:
            parts.append(f"{len(self.unsolved)} not solved")
        return ", ".join(parts + ([self.ended] if self.ended else []))

    def to_json(self) -> dict[str, Any]:
        """The curve as plain data: every figure of every point, but no steps."""
        knee = self.knee
        found: dict[str, Any] = {
            "graph": {
                "name": self.graph_name,
                "sha256": self.digest,
                "compute": self.graph_compute,
                "peak": self.plain_peak,
            },
            "solver": self.solver,
            "order": self.order,
            "seconds": self.seconds,
            "solved": self.solved,
            "ended": self.ended,
            "knee": None if knee is None else knee.budget,
            "points": [self._figures(point) for point in self.points],
        }
        if self.levels:
            found["levels"] = [level.to_json() for level in self.levels]
        return found

    def _figures(self, point: Result) -> dict[str, Any]:
        """The figures of one point."""
        shortfall = point.shortfall
        makespan = {"makespan": point.makespan, "makespan_overhead": point.objective_overhead}
        return {
            "budget": point.budget,
            "share": self.share(int(_of(point.budget))),
            "status": str(point.status),
            "peak": point.peak,
            "compute": point.compute,
            "overhead": point.overhead,
            **(makespan if self.levels else {}),
            "lower_bound": point.lower_bound,
            "bound_overhead": point.bound_overhead,
            "gap": point.gap,
            "seconds": point.seconds,
            "interrupted": point.interrupted,
            "solved": point.budget not in self.unsolved,
            "reason": None if shortfall is None else shortfall.reason,
        }

    def to_csv(self) -> str:
        """The curve as comma-separated values (RFC 4180), a line a budget under a head."""
        text = io.StringIO()
        writer = csv.writer(text)
        knee = self.knee
        for at, point in enumerate(self.points):
            figures = self._figures(point) | {"knee": point is knee}
            if not at:
                writer.writerow(figures)
            writer.writerow(
                str(value).lower() if isinstance(value, bool) else value
                for value in figures.values()
            )
        return text.getvalue()

    def save_csv(self, path: AnyPath) -> None:
        """Write `to_csv` to a file, which appears complete or not at all.

        Raises
        ------
        BadOutput
            The file can't be written; what was there before is still there.
        """
        write_bytes(path, self.to_csv().encode("utf-8"))


def _of(value: float | None) -> float:
    """A figure that is there: points have a budget, and those with a schedule an overhead."""
    assert value is not None
    return value

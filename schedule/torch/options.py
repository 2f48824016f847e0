"""How the schedule of a captured step is had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from schedule.budget import parse_budget
from schedule.errors import BadInput, DoesNotFit
from schedule.files import AnyPath
from schedule.frontends.files import read_schedule
from schedule.graph import Graph
from schedule.memory import verify
from schedule.planner import solve
from schedule.result import Order, Result
from schedule.solvers import Progress, Solver
from schedule.torch.costs import Costs, Workspace


@dataclass(frozen=True)
class Options:
    """What `schedule.torch.plan` is told about planning; defaults are its."""

    budget: int | str | None = None
    solver: str | Solver = "auto"
    order: Order = "free"
    time_limit: float = 60.0
    gap: float = 0.0
    seed: int = 0
    workers: int = 2
    costs: Costs = "model"
    resident: int | str = 0
    workspace: Workspace = "none"
    progress: Callable[[Progress], None] | None = None

    def solved(self, graph: Graph) -> Result:
        """A schedule within the budget.

        Raises
        ------
        DoesNotFit
            None is known; says the least that is needed.
        KeyboardInterrupt
            None was known yet.
        """
        result = solve(
            graph,
            self.budget,
            self.solver,
            order=self.order,
            time_limit=self.time_limit,
            gap=self.gap,
            seed=self.seed,
            workers=self.workers,
            progress=self.progress,
        )
        if result.shortfall is not None:
            if result.interrupted:
                raise KeyboardInterrupt
            raise DoesNotFit(f"{graph.name}: {result.shortfall.reason}")
        return result

    def given(self, graph: Graph, schedule: AnyPath | Result) -> Result:
        """A schedule that was made before; its figures are the replayed ones.

        Raises
        ------
        WrongGraph
            It was made for another step.
        InvalidSchedule
            It doesn't keep to the budget.
        """
        found = schedule if isinstance(schedule, Result) else read_schedule(schedule)
        if found.schedule is None:
            raise BadInput(f"there is no schedule to train with: {found}")
        limit = found.budget if self.budget is None else parse_budget(self.budget, graph)
        trace = verify(graph, found.schedule, limit)
        return replace(
            found,
            budget=limit,
            graph_compute=graph.compute,
            peak=trace.peak,
            compute=trace.compute,
            overhead=trace.overhead,
            checkpoints=trace.checkpoints,
        )

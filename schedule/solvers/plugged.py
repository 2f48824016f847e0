"""Solvers of other packages: entry points in the group `schedule.solvers`."""

from __future__ import annotations

from dataclasses import dataclass

from schedule.errors import ScheduleError, SolverBug
from schedule.graph import Graph
from schedule.plugins import Plugin, described
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof, Solver
from schedule.values import shown

GROUP = "schedule.solvers"


@dataclass(frozen=True)
class Plugged:
    """A solver of another package; what it does wrong is reported as that package's.

    Parameters
    ----------
    solver
        An object that keeps the contract of `schedule.solvers.Solver`.
    plugin
        Where it comes from.
    """

    solver: Solver
    plugin: Plugin

    @property
    def name(self) -> str:
        """The solver's own."""
        return self.solver.name

    @property
    def summary(self) -> str:
        """The solver's own."""
        return self.solver.summary

    @property
    def counts_work(self) -> bool:
        """The solver's own, where it has it."""
        return getattr(self.solver, "counts_work", False) is True

    def supports(self, graph: Graph) -> str | None:
        """What the solver says.

        Raises
        ------
        BadPlugin
            It raises, or says neither None nor a text.
        """
        try:
            reason = self.solver.supports(graph)
        except (ScheduleError, MemoryError):
            raise
        except Exception as error:  # another package's code: it may raise anything
            raise self.plugin.fault(f"supports raised {described(error)}") from error
        if reason is not None and not isinstance(reason, str):
            raise self.plugin.fault(f"supports returned {shown(reason)}; it is None or a text")
        return reason

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """What the solver offers and proves, each checked by the planner.

        Raises
        ------
        BadPlugin
            It raises, returns something else, or offers what doesn't verify.
        """
        try:
            proof = self.solver.improve(problem, incumbent, deadline)
            if not isinstance(proof, Proof):
                raise self.plugin.fault(f"improve returned {shown(proof)}, which is no Proof")
            incumbent.prove(proof)
        except SolverBug as error:
            raise self.plugin.fault(str(error)) from error
        except (ScheduleError, MemoryError):
            raise
        except Exception as error:  # another package's code: it may raise anything
            raise self.plugin.fault(f"improve raised {described(error)}") from error
        return proof


def plugged(plugin: Plugin) -> Plugged:
    """The solver that an entry point names.

    Raises
    ------
    BadPlugin
        It can't be loaded, or doesn't keep the contract: a name (the entry
        point's), a summary, `supports` and `improve`.
    """
    found = plugin.load()
    if isinstance(found, type):
        try:
            found = found()
        except MemoryError:
            raise
        except Exception as error:  # another package's code: it may raise anything
            raise plugin.fault(f"making it raised {described(error)}") from error
    plugin.require(found, texts=("name", "summary"), methods=("supports", "improve"))
    if found.name != plugin.name:
        raise plugin.fault(f"it calls itself {found.name!r}; both names have to be the same")
    return Plugged(found, plugin)

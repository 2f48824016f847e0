"""The table of solvers; a new one is a file beside this and a line in `SOLVERS`.

Those of other packages are found by name, but aren't in the table: whatever
walks it doesn't depend on what is installed.
"""

from __future__ import annotations

from dataclasses import dataclass

from schedule.errors import BadGraph, BadOption, BadPlugin
from schedule.plugins import plugin_named, plugins
from schedule.solvers.classics.articulation import Articulation
from schedule.solvers.classics.chain import Chain
from schedule.solvers.classics.chen_greedy import ChenGreedy
from schedule.solvers.classics.dtr import Dtr
from schedule.solvers.classics.knapsack import Knapsack
from schedule.solvers.classics.lower_sets import LowerSets
from schedule.solvers.classics.mixed import Mixed
from schedule.solvers.classics.recompute_all import RecomputeAll
from schedule.solvers.classics.revolve import Revolve
from schedule.solvers.classics.sqrt import Sqrt
from schedule.solvers.classics.store_all import StoreAll
from schedule.solvers.contract import Deadline, Incumbent, Problem, Progress, Proof, Solver
from schedule.solvers.exact.intervals import Intervals
from schedule.solvers.exact.lp_rounding import LpRounding
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.plugged import GROUP, plugged
from schedule.solvers.portfolio import Auto
from schedule.solvers.reorder import Reorder
from schedule.solvers.search import Search
from schedule.values import meant, name_of, shown

__all__ = [
    "SOLVERS",
    "Articulation",
    "Auto",
    "Chain",
    "ChenGreedy",
    "Deadline",
    "Dtr",
    "Greedy",
    "Ilp",
    "Incumbent",
    "Intervals",
    "Knapsack",
    "Listed",
    "LowerSets",
    "LpRounding",
    "Mixed",
    "Problem",
    "Progress",
    "Proof",
    "RecomputeAll",
    "Reorder",
    "Revolve",
    "Search",
    "Solver",
    "Sqrt",
    "StoreAll",
    "listed_solvers",
    "solver_named",
    "solver_names",
    "solver_of",
]

#: Solvers by name, in the order in which tables list them.
SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        StoreAll(),
        Reorder(),
        RecomputeAll(),
        Sqrt(),
        ChenGreedy(),
        Articulation(),
        LowerSets(),
        Revolve(),
        Mixed(),
        Chain(),
        LpRounding(),
        Dtr(),
        Knapsack(),
        Greedy(),
        Ilp(),
        Intervals(),
        Search(),
        Auto(),
    )
}


def solver_named(name: str) -> Solver:
    """The solver of that name: a built-in one, else another package's.

    Raises
    ------
    BadOption
        There is none; lists those there are.
    BadPlugin
        It is another package's, and doesn't work.
    """
    if name in SOLVERS:
        return SOLVERS[name]
    plugin = plugin_named(GROUP, name)
    if plugin is None:
        known = solver_names()
        raise BadOption(
            f"unknown solver {name!r}; there are {', '.join(known)}{meant(name, known)}"
        )
    return plugged(plugin)


def solver_of(given: str | Solver) -> Solver:
    """The solver of a name, or an object that has what the contract asks for.

    Raises
    ------
    BadOption
        It is neither.
    """
    if isinstance(given, str):
        return solver_named(given)
    if isinstance(given, type):
        raise BadOption(f"solver {given.__name__} is a class: give an object, {given.__name__}()")
    missing = [
        name
        for name, has_it in (
            ("name", isinstance(getattr(given, "name", None), str)),
            ("supports(graph)", callable(getattr(given, "supports", None))),
            ("improve(problem, incumbent, deadline)", callable(getattr(given, "improve", None))),
        )
        if not has_it
    ]
    if missing:
        raise BadOption(
            f"solver {shown(given)} is no solver: it has no {' and no '.join(missing)};"
            " see schedule.solvers.Solver"
        )
    try:
        name_of(given.name, "its name")
    except BadGraph as error:
        raise BadOption(f"solver {shown(given)} can't be called so: {error}") from None
    return given


def solver_names() -> list[str]:
    """The names that `solver_named` knows, built-in ones first; nothing is imported for it."""
    return list(dict.fromkeys([*SOLVERS, *(plugin.name for plugin in plugins(GROUP))]))


@dataclass(frozen=True, slots=True)
class Listed:
    """A solver in a list.

    Attributes
    ----------
    name, summary
        Its own; the summary is empty where it can't be used.
    origin
        `built in`, or the distribution that it is from, and its version.
    fault
        Why it can't be used; None where it can.
    """

    name: str
    summary: str
    origin: str = "built in"
    fault: str | None = None

    def to_json(self) -> dict[str, str]:
        """The line as plain data; without a fault where it has none."""
        found = {"name": self.name, "summary": self.summary, "origin": self.origin}
        return found if self.fault is None else {**found, "fault": self.fault}


def listed_solvers() -> list[Listed]:
    """All solvers that are installed, the built-in ones first; those that don't work say why."""
    found = [Listed(solver.name, solver.summary) for solver in SOLVERS.values()]
    for plugin in plugins(GROUP):
        fault = None
        try:
            solver = solver_named(plugin.name)
            if plugin.name in SOLVERS:
                fault = f"{plugin}: the name is built in, so this one is never used"
        except BadPlugin as error:
            fault = str(error)
        summary = "" if fault else solver.summary
        found.append(Listed(plugin.name, summary, plugin.origin, fault))
    return found

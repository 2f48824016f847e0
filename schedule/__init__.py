"""Schedules for computation graphs that fit a memory budget at the least compute.

>>> import schedule
>>> graph = schedule.example("chain")
>>> plan = schedule.solve(graph, budget="50%")
>>> print(plan.status)
optimal

Every public name is loaded when it is first used, so that `import schedule`
stays light: NumPy comes with the first graph that is simulated, OR-tools and
HiGHS with the first solve that needs them, torch only with its executor.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from schedule import clash, display

__version__ = "0.1.0"

#: Where each public name lives.
_HOME = {
    "Arena": "arena.arena",
    "BadInput": "errors",
    "BudgetLimits": "budgets.limits",
    "Compute": "steps",
    "Difference": "difference",
    "Drop": "steps",
    "Entry": "budgets.comparison",
    "Free": "steps",
    "Fusion": "fusion",
    "Graph": "graph",
    "GraphBuilder": "builder",
    "Input": "graph",
    "InvalidSchedule": "errors",
    "Level": "levels",
    "Lifetimes": "lifetimes",
    "Node": "graph",
    "Offload": "steps",
    "Prefetch": "steps",
    "Progress": "solvers.contract",
    "Result": "result",
    "SOLVERS": "solvers",
    "Schedule": "steps",
    "ScheduleError": "errors",
    "SolveOptions": "options",
    "Status": "result",
    "Summary": "budgets.summary",
    "Sweep": "budgets.curve",
    "SweepProgress": "budgets.running",
    "Tensor": "graph",
    "Timeline": "timeline",
    "Trace": "memory",
    "compare": "budgets.comparison",
    "compute_bound": "budgets.limits",
    "diff": "difference",
    "example": "examples",
    "from_networkx": "frontends.networkx",
    "fuse": "fusion",
    "gradient": "training",
    "host": "links",
    "makespan_bound": "makespan",
    "memory_floor": "bounds",
    "minimum_budget": "budgets.limits",
    "parse_budget": "sizes",
    "place": "arena.placing",
    "read": "frontends.files",
    "read_lifetimes": "frontends.lifetimes",
    "read_schedule": "frontends.files",
    "read_sweep": "budgets.reading",
    "reordering_floor": "bounds",
    "replay": "executors",
    "schema": "formats",
    "simulate": "memory",
    "solve": "planner",
    "sweep": "budgets.sweeping",
    "sweeps": "budgets.sweeping",
    "to_networkx": "frontends.networkx",
    "verify": "verification",
    "verify_claims": "claims",
    "warm": "warming",
    "write": "frontends.files",
    "write_report": "report.writing",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from schedule.arena.arena import Arena as Arena
    from schedule.arena.placing import place as place
    from schedule.bounds import memory_floor as memory_floor
    from schedule.bounds import reordering_floor as reordering_floor
    from schedule.budgets.comparison import Entry as Entry
    from schedule.budgets.comparison import compare as compare
    from schedule.budgets.curve import Sweep as Sweep
    from schedule.budgets.limits import BudgetLimits as BudgetLimits
    from schedule.budgets.limits import compute_bound as compute_bound
    from schedule.budgets.limits import minimum_budget as minimum_budget
    from schedule.budgets.reading import read_sweep as read_sweep
    from schedule.budgets.running import SweepProgress as SweepProgress
    from schedule.budgets.summary import Summary as Summary
    from schedule.budgets.sweeping import sweep as sweep
    from schedule.budgets.sweeping import sweeps as sweeps
    from schedule.builder import GraphBuilder as GraphBuilder
    from schedule.claims import verify_claims as verify_claims
    from schedule.difference import Difference as Difference
    from schedule.difference import diff as diff
    from schedule.errors import BadInput as BadInput
    from schedule.errors import InvalidSchedule as InvalidSchedule
    from schedule.errors import ScheduleError as ScheduleError
    from schedule.examples import example as example
    from schedule.executors import replay as replay
    from schedule.formats import schema as schema
    from schedule.frontends.files import read as read
    from schedule.frontends.files import read_schedule as read_schedule
    from schedule.frontends.files import write as write
    from schedule.frontends.lifetimes import read_lifetimes as read_lifetimes
    from schedule.frontends.networkx import from_networkx as from_networkx
    from schedule.frontends.networkx import to_networkx as to_networkx
    from schedule.fusion import Fusion as Fusion
    from schedule.fusion import fuse as fuse
    from schedule.graph import Graph as Graph
    from schedule.graph import Input as Input
    from schedule.graph import Node as Node
    from schedule.graph import Tensor as Tensor
    from schedule.levels import Level as Level
    from schedule.lifetimes import Lifetimes as Lifetimes
    from schedule.links import host as host
    from schedule.makespan import makespan_bound as makespan_bound
    from schedule.memory import Trace as Trace
    from schedule.memory import simulate as simulate
    from schedule.options import SolveOptions as SolveOptions
    from schedule.planner import solve as solve
    from schedule.report.writing import write_report as write_report
    from schedule.result import Result as Result
    from schedule.result import Status as Status
    from schedule.sizes import parse_budget as parse_budget
    from schedule.solvers import SOLVERS as SOLVERS
    from schedule.solvers.contract import Progress as Progress
    from schedule.steps import Compute as Compute
    from schedule.steps import Drop as Drop
    from schedule.steps import Free as Free
    from schedule.steps import Offload as Offload
    from schedule.steps import Prefetch as Prefetch
    from schedule.steps import Schedule as Schedule
    from schedule.timeline import Timeline as Timeline
    from schedule.training import gradient as gradient
    from schedule.verification import verify as verify
    from schedule.warming import warm as warm

if (_other := clash.other()) is not None:
    from schedule.errors import NameTaken

    warnings.warn(_other, NameTaken, stacklevel=2)

# What notebooks show is drawn far above what is shown.
display.drawn_by(lambda: import_module("schedule.report.notebook"))


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name in ("torch", "jax"):
        return import_module(f"schedule.{name}")
    if name not in _HOME:
        raise AttributeError(clash.unknown(name))
    value = getattr(import_module(f"schedule.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""What is lost without each part of the solvers: its lines, and the plans that only it finds.

    python benchmarks/worth.py [GRAPH …] [--parts chain,corridor,…] [--budgets 90%,70%,50%,30%]
        [--order fixed|free] [--seconds 5] [--longer 20] [--examples] [--markdown FILE]

A classic is held against the best that `greedy`, `ilp` and `auto` find of the same graph and
budget, each in as many seconds; what it wins there is tried again with --longer seconds for
them. A part inside a solver is held against that solver without it. Each GRAPH is a file;
--examples adds shipped graphs, which are all there is without GRAPH: those with a chain of
layers for the classics, others for the parts. Every figure is that of a schedule that was
replayed. One worker, one seed, and seconds are the processor's, as others may be at work on the
machine; what ends by the clock still differs a little from run to run.

In the table, "lost" counts the cases that end worse without the part: no plan, a plan that
takes more compute, or, where none fits, a higher peak. "gained" counts those that end better.
"most" is the largest difference between two plans, in points of overhead; "only" counts plans
where there is none without the part, and "proofs" those of an optimum, or that nothing fits.
"time" is the geometric mean of the ratio of seconds, with the part to without it.
"""

from __future__ import annotations

import argparse
import inspect
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from statistics import geometric_mean
from unittest.mock import patch

from clocks import processor_time
from tables import show

import schedule
from schedule.result import Result, Status
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.annealing.sections import SECTIONS
from schedule.solvers.contract import Problem
from schedule.solvers.eviction import EVICTION
from schedule.solvers.exact.corridor import CORRIDOR

#: What the classics are held against.
OURS = ("greedy", "ilp", "auto")


def nothing(*_: object, **__: object) -> None:
    """Stand in for what is only done for its effect, or may find nothing."""


def no(*_: object, **__: object) -> bool:
    """Stand in for a question."""
    return False


@dataclass(frozen=True)
class Part:
    """A part of the solvers.

    Attributes
    ----------
    solver
        The classic that it is, or that it belongs to, or the solver that uses it.
    code
        What would go with it: modules, or functions in them after a colon.
    off, instead
        For a part inside a solver: the name of what it is called by, and what takes its place.
    """

    solver: str
    code: tuple[str, ...]
    off: str = ""
    instead: Callable[..., object] = nothing

    @property
    def lines(self) -> int:
        """How many lines of source there are of it."""
        return sum(map(_lines, self.code))


def _lines(code: str) -> int:
    where, _, names = code.partition(":")
    found = module = import_module(f"schedule.solvers.{where}")
    for name in filter(None, names.split(".")):
        found = getattr(found, name)
    count = len(inspect.getsource(found).splitlines())
    if found is module and hasattr(module, "__path__"):
        count += sum(_lines(f"{where}.{each.name}") for each in iter_modules(module.__path__))
    return count


_REFINEMENT = "exact.refinement.Refinement"
PARTS = {
    "store_all": Part("store_all", ("classics.store_all",)),
    "recompute_all": Part("recompute_all", ("classics.recompute_all",)),
    "sqrt": Part("sqrt", ("classics.sqrt",)),
    "chen_greedy": Part("chen_greedy", ("classics.chen_greedy",)),
    "articulation": Part("articulation", ("classics.articulation",)),
    "lower_sets": Part("lower_sets", ("classics.lower_sets", "classics.canonical")),
    "revolve": Part(
        "revolve", ("classics.revolve:_offer_most_that_fit", "classics.revolve:_binomial")
    ),
    "mixed": Part("mixed", ("classics.mixed", "classics.adjoint")),
    "chain": Part("chain", ("classics.chain", "classics.layers")),
    "lp_rounding": Part("lp_rounding", ("exact.lp_rounding",)),
    "dtr": Part("dtr", ("classics.dtr",)),
    "knapsack": Part("knapsack", ("classics.knapsack",)),
    "sections": Part("greedy", ("annealing.sections",), "greedy._Attempt.rerun_sections"),
    "approach": Part("greedy", ("greedy:_Attempt.approach",), "greedy._Attempt.approach"),
    "corridor": Part("ilp", ("exact.nearby", "exact.corridor"), "exact.nearby.Nearby.search"),
    "ordering": Part(
        "ilp", ("exact.ordering",), "exact.discretization.Discretization._order_more", no
    ),
    "squeeze": Part(
        "ilp",
        ("exact.refinement:Refinement._squeeze", "exact.refinement:Refinement._solve_with"),
        f"{_REFINEMENT}._squeeze",
    ),
    "repair": Part("ilp", ("exact.refinement:Refinement._repair",), f"{_REFINEMENT}._repair"),
    "start": Part("ilp", ("exact.starting", "exact.completion"), f"{_REFINEMENT}._start"),
    "first bound": Part("ilp", ("exact.relaxation",), f"{_REFINEMENT}._relax"),
    "its search": Part("ilp", ("exact.refinement:Refinement._search",), f"{_REFINEMENT}._search"),
    "exhaustive": Part(
        "ilp", ("exhaustive.states", "exhaustive.masks"), "exhaustive.states.is_small", no
    ),
}


def rough_chain(layers: int) -> schedule.Graph:
    """A training chain whose sizes and costs differ from layer to layer."""
    rng = random.Random(layers)
    g = schedule.GraphBuilder(f"rough-{layers}")
    here = g.input("x", memory=8)
    for layer in range(layers):
        inner = g.node(f"a{layer}", here, memory=rng.randint(4, 32), compute=rng.randint(1, 9))
        here = g.node(f"b{layer}", inner, memory=rng.randint(4, 32), compute=rng.randint(1, 9))
    return schedule.gradient(g.build())


def shipped(part: Part) -> list[schedule.Graph]:
    """Graphs to try a part on: with a chain of layers for a classic, others else."""
    return _shipped(bool(part.off))


@cache
def _shipped(are_parts: bool) -> list[schedule.Graph]:
    if are_parts:
        wanted = [
            ("layered", {"nodes": 100}),
            ("layered", {"nodes": 250}),
            ("unet", {}),
            ("transformer", {}),
        ]
    else:
        wanted = [
            ("mlp", {}),
            ("resnet", {}),
            ("unet", {}),
            ("transformer", {}),
            ("chain", {}),
            ("transformer", {"layers": 48}),
            ("chain", {"layers": 1200}),
        ]
    made = [schedule.example(name, **sizes) for name, sizes in wanted]
    return made if are_parts else [*made, rough_chain(40), rough_chain(500)]


@dataclass(frozen=True)
class Answer:
    """What one or several solvers come to."""

    overhead: float
    peak: float
    is_proved: bool
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether there is a plan."""
        return math.isfinite(self.overhead)

    def beats(self, other: Answer) -> bool:
        """Whether it is better: less compute, or closer to a plan."""
        if self.fits or other.fits:
            return self.overhead < other.overhead - 1e-9
        return not other.is_proved and self.peak < other.peak

    def __str__(self) -> str:
        """Its overhead, or the least peak."""
        if self.fits:
            return f"{100 * abs(self.overhead):.3f} %{'!' * self.is_proved}"
        return "infeasible" if self.is_proved else f"({100 * self.peak:.1f} %)"


def answer(graph: schedule.Graph, share: str, solver: str, order: str, seconds: float) -> Answer:
    """What a solver comes to, its peak as a share of the unplanned one."""
    if schedule.SOLVERS[solver].supports(graph) is not None:
        return Answer(math.inf, math.inf, False, 0.0)
    plan = schedule.solve(graph, share, solver, order=order, time_limit=seconds, workers=1)
    overhead = math.inf if plan.overhead is None else float(plan.overhead)
    proved = plan.status in (Status.OPTIMAL, Status.INFEASIBLE)
    return Answer(overhead, _peak(graph, plan), proved, plan.seconds)


def _peak(graph: schedule.Graph, plan: Result) -> float:
    peak = plan.peak
    if peak is None and plan.shortfall is not None:
        peak = plan.shortfall.least_peak
    return math.inf if peak is None else peak / schedule.parse_budget("100%", graph)


def best_of(answers: list[Answer]) -> Answer:
    """The best that is known of several; only of it the seconds count."""
    best = answers[0]
    for each in answers[1:]:
        if each.beats(best):
            best = each
    proved = any(each.is_proved for each in answers)
    return Answer(best.overhead, best.peak, proved, best.seconds)


@dataclass(frozen=True)
class Case:
    """A graph and a budget, with the part and without it."""

    with_it: Answer
    without: Answer

    @property
    def points(self) -> float:
        """How much more overhead there is without it, where there is a plan either way."""
        both = self.with_it.fits and self.without.fits
        return 100 * (self.without.overhead - self.with_it.overhead) if both else 0.0


class Trials:
    """Solves, each done once."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._answer = cache(answer)

    def case(self, graph: schedule.Graph, share: str, part: Part) -> Case:
        """One graph and budget, with the part and without it."""
        order, seconds = self._given.order, self._given.seconds
        own = self._answer(graph, share, part.solver, order, seconds)
        if part.off:
            with patch(f"schedule.solvers.{part.off}", part.instead):
                return Case(own, answer(graph, share, part.solver, order, seconds))
        others = self._ours(graph, share, seconds)
        if own.beats(others) and self._given.longer > seconds:
            others = self._ours(graph, share, self._given.longer)
        return Case(own, others)

    def row(self, name: str, files: list[schedule.Graph]) -> list[str]:
        """A part's line of the table; each case goes to standard error as it is done."""
        part, cases = PARTS[name], []
        graphs = [*files, *(shipped(part) if self._given.examples or not files else [])]
        for graph in graphs:
            if schedule.SOLVERS[part.solver].supports(graph) is not None:
                continue
            for share in self._given.budgets.split(","):
                cases.append(case := self.case(graph, share, part))
                label = f"{name}: {graph.name} ({len(graph)}) at {share}:"
                print(label, case.with_it, "|", case.without, file=sys.stderr, flush=True)
        return row(name, part, cases)

    def _ours(self, graph: schedule.Graph, share: str, seconds: float) -> Answer:
        return best_of([self._answer(graph, share, x, self._given.order, seconds) for x in OURS])


def row(name: str, part: Part, cases: list[Case]) -> list[str]:
    """A part's line of the table."""
    ratios = [c.with_it.seconds / c.without.seconds for c in cases if c.without.seconds > 0.01]
    ratios = [ratio for ratio in ratios if ratio > 0]
    counts: list[Callable[[Case], bool]] = [
        lambda case: case.with_it.beats(case.without),
        lambda case: case.with_it.fits and not case.without.fits,
        lambda case: case.with_it.is_proved and not case.without.is_proved,
        lambda case: case.without.beats(case.with_it),
        lambda case: case.without.is_proved and not case.with_it.is_proved,
    ]
    lost, only, proofs, gained, more = (str(sum(map(count, cases))) for count in counts)
    points = [case.points for case in cases]
    return [
        name,
        part.solver if part.off else "",
        str(part.lines),
        str(len(cases)),
        lost,
        f"{max([*points, 0.0]):.3f}",
        only,
        proofs if part.off else "",
        gained,
        f"{abs(min([*points, 0.0])):.3f}",
        more if part.off else "",
        f"{geometric_mean(ratios):.2f}" if ratios else "",
    ]


HEADINGS = ["part", "of", "lines", "cases", "lost", "most", "only", "proofs"]
HEADINGS += ["gained", "most", "proofs", "time"]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--budgets", default="90%,70%,50%,30%")
    parser.add_argument("--order", choices=["fixed", "free"], default="fixed")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each solve, at most")
    parser.add_argument("--longer", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--examples", action="store_true", help="with shipped graphs, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> None:
    """Print the table; each case goes to standard error as it is done."""
    given = arguments()
    files = [schedule.read(name) for name in given.graphs]
    # What is compiled is loaded, or made, before any time is taken.
    anything = Problem(schedule.example("chain"), None, time_limit=600.0)
    for room in (EVICTION, SEQUENCES, SECTIONS, CORRIDOR):
        room.wait(anything)
    for solver in OURS:
        schedule.solve(schedule.example("unet"), "60%", solver, order="fixed", workers=1)
    trials = Trials(given)
    with processor_time():
        rows = [trials.row(name, files) for name in given.parts.split(",")]
    show("what is lost without each part", HEADINGS, rows, given.markdown, left=2)


if __name__ == "__main__":
    main()

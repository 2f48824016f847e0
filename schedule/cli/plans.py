"""`schedule solve`, `compare` and `solvers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from schedule.cli.options import (
    BUDGET,
    SOLVER,
    SOLVER_NAMES,
    levels_given,
    on_levels,
    solve_options,
)
from schedule.cli.shell import (
    DONE,
    INTERRUPTED,
    NOT,
    failure,
    on_graph,
    output_text,
    plain,
    read_graph,
    remark,
    remark_compiling,
    require_writable,
    show,
    show_json,
    sink,
)
from schedule.errors import OUT_OF_MEMORY, BadOption
from schedule.progress import Watch

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.result import Result


@click.command(epilog="Example:  schedule solve unet.json.gz --budget 70% -o plan.json")
@BUDGET
@SOLVER
@on_levels
@solve_options()
@click.option("--addresses", is_flag=True, help="The budget is one arena's size; give offsets.")
@click.option(
    "--alignment", type=int, default=1, metavar="N", help="Of every offset, with --addresses."
)
@sink("-o", "--output", help="File to write, gzipped where it ends in .gz.")
@on_graph
def solve(
    graph: str,
    memory_attribute: str,
    compute_attribute: str,
    solver: str,
    output: str | None,
    as_json: bool,
    host: str | None,
    link: str | None,
    **options: Any,
) -> int:
    """Find the schedule for GRAPH that fits the budget at the least compute.

    Ctrl-C ends the search: the best found so far is printed and written.
    """
    from schedule import planner

    require_writable(output, graph)
    if options["alignment"] != 1 and not options["addresses"]:
        raise BadOption("--alignment is for offsets: give --addresses, too")
    options["levels"] = levels_given(host, link)
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    with Watch(loaded, options["time_limit"]) as watch:
        watch.start(solver)
        result = planner.solve(loaded, solver=solver, progress=watch.update, **options)
    _remark_on(options["budget"], loaded)
    if result.interrupted and not result.out_of_memory:
        best = "" if result.schedule is None else "; this is the best that was found"
        late = "the time limit came before the work limit"
        remark(f"{late if result.out_of_time else 'interrupted'}{best}")
    if result.compiling:
        remark_compiling(f"{result.compiling:.1f} s of this")
    try:
        if output is not None:
            _save(result, output)
    finally:  # the answer is printed even where it can't be written
        _show_result(result, loaded, as_json)
    if result.out_of_memory:
        return failure(f"{OUT_OF_MEMORY}; this is the best that was found")
    return _status(result)


def _remark_on(budget: str, graph: Graph) -> None:
    """Ask whether a share was meant, once what is asked for is known to be no misuse."""
    from schedule.sizes import share_overlooked

    if said := share_overlooked(budget, graph):
        remark(said)


def _status(result: Result) -> int:
    """The exit status: an answer, none, or that there was no time for one."""
    if result.schedule is not None:
        return DONE
    cut_short = result.interrupted and not result.out_of_time
    return INTERRUPTED if cut_short and result.status == "unknown" else NOT


def _save(result: Result, output: str) -> None:
    if result.schedule is None:
        remark(f"nothing is written to {output_text(output)}: there is no schedule")
    else:
        result.save(output)


def _show_result(result: Result, graph: Graph, as_json: bool) -> None:
    if as_json:
        show_json(result.to_json())
        return
    from schedule.lowering import in_order
    from schedule.report.tables import result_table

    show(str(result), "", result_table(result, in_order(graph)))


@click.command(epilog="Example:  schedule compare unet.json.gz --budget 70% --time-limit 10")
@BUDGET
@on_levels
@solve_options(until="Seconds that each solver has.")
@click.option(
    "--solver",
    "chosen",
    multiple=True,
    metavar="NAME",
    shell_complete=SOLVER_NAMES,
    help="Only this one, as often as it is given; by default all that are built in"
    " (with --host: all that copy to it).",
)
@on_graph
def compare(
    graph: str,
    memory_attribute: str,
    compute_attribute: str,
    budget: str,
    chosen: tuple[str, ...],
    as_json: bool,
    host: str | None,
    link: str | None,
    **options: Any,
) -> int:
    """Let the solvers plan GRAPH at one budget, and show them side by side.

    Ctrl-C ends it: what is known by then is printed.
    """
    from schedule.budgets import comparison
    from schedule.options import SolveOptions
    from schedule.planner import solver_for
    from schedule.report.tables import comparison_table, printable
    from schedule.sizes import format_memory, parse_budget

    levels = levels_given(host, link)
    picked = [solver_for(name, levels) for name in dict.fromkeys(chosen)]
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    limit = parse_budget(budget, loaded)
    watch = Watch(loaded, options["time_limit"])
    asked = SolveOptions(**options, progress=watch.update)
    _remark_on(budget, loaded)
    with watch:
        entries = comparison.compare(
            loaded, limit, picked or None, levels=levels, started=watch.start, options=asked
        )
    if compiling := sum(entry.compiling for entry in entries):
        remark_compiling(f"{compiling:.1f} s, none of them the solvers',")
    if as_json:
        listed = [entry.to_json() for entry in entries]
        show_json({"graph": loaded.name, "budget": limit, "solvers": listed})
    else:
        what = "makespan, " if levels else ""
        title = (
            f"{printable(loaded.name)} within {format_memory(limit)},"
            f" {what}gaps in percentage points"
        )
        proofs = sorted({entry.reason for entry in entries if entry.infeasible})
        show(title, "", comparison_table(entries), *(f"\n{proof}" for proof in proofs))
    if any(entry.out_of_memory for entry in entries):
        return failure(OUT_OF_MEMORY)
    results = [entry.result for entry in entries if entry.result is not None]
    cut_short = any(one.interrupted and not one.out_of_time for one in results)
    if cut_short:
        remark("interrupted; solvers that aren't listed weren't asked")
    if any(entry.fits for entry in entries):
        return DONE
    return INTERRUPTED if cut_short and not any(entry.infeasible for entry in entries) else NOT


@click.command(epilog="Example:  schedule solvers")
@plain
def solvers(as_json: bool) -> int:
    """List the solvers that --solver takes, and where each comes from.

    Other packages may bring some; one that doesn't work is listed with the reason.
    """
    from schedule.report.tables import ListTable
    from schedule.solvers import listed_solvers

    found = listed_solvers()
    if as_json:
        show_json({"solvers": [solver.to_json() for solver in found]})
    else:
        rows = [(one.name, one.origin, one.summary or "can't be used") for one in found]
        show(ListTable(("solver", "origin", "what it does"), rows))
        show(*(f"\n{one.fault}" for one in found if one.fault is not None))
    return DONE

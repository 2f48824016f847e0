"""`schedule.SolveOptions` as options of commands, and what else all that solve share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import click

from schedule.cli.shell import Command, names_from
from schedule.errors import BadOption

if TYPE_CHECKING:
    from schedule.levels import Level


class _Adds(Protocol):
    def __call__(self, command: Command, /) -> Command: ...


#: Completes the names of solvers.
SOLVER_NAMES = names_from("schedule.solvers", "solver_names")
BUDGET = click.option(
    "--budget",
    required=True,
    metavar="B",
    help="An integer in the graph's unit, a size (512MiB, 2GB), or a share (80%) of the"
    " peak in the graph's own order, nothing recomputed.",
)
SOLVER = click.option(
    "--solver",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=SOLVER_NAMES,
    help="As 'schedule solvers' lists it.",
)


def _share(_: click.Context, __: click.Parameter, points: float) -> float:
    """Percentage points as the share that the library takes."""
    return points / 100


def solve_options(
    seconds: float = 60.0,
    until: str = "Seconds after which a solver returns its best.",
    workers: str = "Threads that may be used.",
) -> _Adds:
    """Add the options that are `SolveOptions`; a command hands them on as keyword arguments.

    Parameters
    ----------
    seconds, until
        The time limit's default, and what it is for.
    workers
        What the workers do.
    """
    options = (
        click.option(
            "--order",
            type=click.Choice(["free", "fixed"]),
            default="free",
            show_default=True,
            help="Of first runs: any, or the file's.",
        ),
        click.option(
            "--time-limit",
            type=float,
            default=seconds,
            show_default=True,
            metavar="S",
            help=until,
        ),
        click.option(
            "--work-limit",
            type=float,
            default=None,
            metavar="W",
            help="The same in work, alike on all machines.",
        ),
        click.option(
            "--gap",
            type=click.FloatRange(min=0),
            default=0.0,
            show_default=True,
            metavar="POINTS",
            callback=_share,
            help="Stop so many percentage points from the bound.",
        ),
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            metavar="N",
            help="Of random choices.",
        ),
        click.option(
            "--workers", type=int, default=2, show_default=True, metavar="N", help=workers
        ),
        click.option(
            "--memory-share",
            type=float,
            default=0.8,
            show_default=True,
            metavar="X",
            help="Share of free memory to take.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_HOST = click.option(
    "--host",
    metavar="SIZE",
    help="Memory below the device, to copy tensors to (64GiB).",
)
_LINK_HELP = "Of copies there and back (25GB/s,10us)"


def on_levels(command: Command) -> Command:
    """Add the options that say what is below the device."""
    link = click.option(
        "--link", multiple=True, callback=_once, metavar="RATE", help=f"{_LINK_HELP}."
    )
    return _HOST(link(command))


def _once(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> str | None:
    """The one link that is given, not silently the last of several."""
    if len(given) > 1:
        raise click.BadParameter(f"one is taken here, not {len(given)}; 'sweep' takes several")
    return given[0] if given else None


def on_machines(command: Command) -> Command:
    """Add the options that say what may be below the device: one machine for each link."""
    link = click.option(
        "--link",
        "links",
        multiple=True,
        metavar="RATE",
        help=f"{_LINK_HELP}; several: a curve each.",
    )
    return _HOST(link(command))


def levels_given(host: str | None, link: str | None) -> tuple[Level, ...]:
    """The levels that `--host` and `--link` stand for.

    Raises
    ------
    BadInput
        One of them is missing, or isn't one.
    """
    from schedule import links

    if host is None and link is None:
        return ()
    if host is None or link is None:
        given, missing = ("--link", "--host") if host is None else ("--host", "--link")
        raise BadOption(f"{given} needs {missing}, as in --host 64GiB --link 25GB/s,10us")
    return (links.host(host, link),)


def machines_given(host: str | None, links: tuple[str, ...]) -> dict[str, tuple[Level, ...]]:
    """What is below the device, by what stands for it: `--host` with each `--link`.

    Raises
    ------
    BadInput
        As `levels_given`; a link is given twice.
    """
    found = {link: levels_given(host, link) for link in links or (None,)}
    if len(found) < len(links):
        raise BadOption(f"a --link is given twice: {', '.join(links)}")
    return {link or "": levels for link, levels in found.items()}

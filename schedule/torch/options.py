"""How the schedule of a captured step is had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import torch

from schedule.errors import BadOption, WrongGraph
from schedule.files import AnyPath
from schedule.frontends.files import read_schedule
from schedule.graph import Graph
from schedule.levels import Level
from schedule.links import host as host_of
from schedule.options import SolveOptions, options_of
from schedule.planner import solve
from schedule.promises import fitting, promised
from schedule.result import Result
from schedule.sizes import parse_budget, parse_memory
from schedule.solvers import Solver
from schedule.torch.channels import link_of
from schedule.torch.costs import Costs, Workspace
from schedule.torch.graphs import Recorder, recorders_of
from schedule.torch.staying import replaying
from schedule.values import shown

#: The results for whose gradients memory is kept: those of single numbers alone, or all.
Gradients = Literal["loss", "all"]

_NOT_RECORDED = "cuda_graphs=True with a host: copies to the host aren't recorded; give one of them"


@dataclass(frozen=True)
class Options:
    """What `schedule.torch.plan` is told about planning; defaults are its."""

    budget: int | str | None = None
    solver: str | Solver = "auto"
    solving: SolveOptions = field(default_factory=SolveOptions)
    costs: Costs = "auto"
    resident: int | str = 0
    workspace: Workspace = "auto"
    pure: Collection[Any] = ()
    gradients: Gradients = "loss"
    cuda_graphs: bool = False
    show_progress: bool = True
    host: int | str | None = None
    link: float | str | None = None

    def __post_init__(self) -> None:
        if self.gradients not in get_args(Gradients):
            raise BadOption(f"gradients is {shown(self.gradients)}; it is 'loss' or 'all'")
        for name in ("cuda_graphs", "show_progress"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise BadOption(f"{name} is {shown(value)}; it is True or False")
        self._check_host()

    def _check_host(self) -> None:
        """Refuse a host that can't be, or a link whose unit nobody knows."""
        if self.host is None:
            if self.link is not None:
                raise BadOption("link says how fast a host is reached; give host=, its size, too")
            return
        parse_memory(self.host, "host")
        if self.link is not None:
            host_of(self.host, self.link)
        if self.cuda_graphs:
            raise BadOption(_NOT_RECORDED)
        if self.costs in ("unit", "flops") and _is_in_seconds(self.link):
            raise BadOption(
                f"costs={self.costs!r} are no nanoseconds, so that a link can't be"
                f" {'measured' if self.link is None else f'{shown(self.link)}'} beside them; give"
                f" link= as a number, bytes per unit of cost, or take other costs"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any], beside: Collection[str] = ()) -> Options:
        """The options by their names, with those of `SolveOptions` side by side.

        Names in `beside` are somebody else's, and left alone.

        Raises
        ------
        BadOption
            A name is unknown, or an option isn't what it should be.
        """
        solving = {each.name for each in fields(SolveOptions)}
        own = {each.name for each in fields(cls)} - {"solving"}
        known = {*solving, *own, "options", *beside}
        for name in given:
            if name not in known:
                listed = ", ".join(sorted(name for name in known if not name.startswith("_")))
                raise BadOption(f"option {name!r} is none of {listed}")
        told: Any = {name: given[name] for name in given if name in solving}
        return cls(
            solving=options_of(given.get("options"), told),
            **{name: given[name] for name in given if name in own},
        )

    def unmeasured(self) -> Options:
        """The same with what is the same everywhere, where nothing is said."""
        costs: Costs = "model" if self.costs == "auto" else self.costs
        workspace: Workspace = "none" if self.workspace == "auto" else self.workspace
        return replace(self, costs=costs, workspace=workspace)

    def recorder(self, device: torch.device) -> Callable[[], Recorder] | None:
        """What makes recorders for the device; None: none is wanted.

        Raises
        ------
        BadOption
            There is none for it.
        """
        return recorders_of(device) if self.cuda_graphs else None

    @property
    def pure_names(self) -> frozenset[str]:
        """The operators of `pure`, as `namespace::name`.

        Raises
        ------
        BadOption
            One is no operator, and no such name.
        """
        return frozenset(map(_name_of, (self.pure,) if isinstance(self.pure, str) else self.pure))

    @property
    def shows_progress(self) -> bool:
        """Whether planning may show what it does: the caller doesn't, and doesn't mind."""
        return self.show_progress and self.solving.progress is None

    def level(self, device: torch.device) -> Level | None:
        """The host below the device; None: there is none."""
        if self.host is None:
            return None
        if self.link is not None:
            return host_of(self.host, self.link)
        return link_of(device, self.costs)[0].level(parse_memory(self.host, "host"))

    def link_source(self, device: torch.device) -> str:
        """How the link to the host is known: given, measured, or modelled; empty: no host."""
        if self.host is None:
            return ""
        return "given" if self.link is not None else link_of(device, self.costs)[1]

    def solved(self, graph: Graph, device: torch.device, below: Level | None = None) -> Result:
        """A schedule within the budget; a share is of the graph's peak as it is.

        `below` is what there is below the device where no host is given; it isn't used by what
        is to be recorded.

        Raises
        ------
        DoesNotFit
            None is known; says the least that is needed.
        KeyboardInterrupt
            None was known yet.
        """
        level = self.level(device) or (None if self.cuda_graphs else below)
        if level is None:
            return promised(graph, self.budget, self.solver, self.solving)
        found = solve(graph, self.budget, self.solver, options=self.solving, levels=level)
        return fitting(graph, found, self.solving)

    def given(self, graph: Graph, schedule: AnyPath | Result) -> Result:
        """A schedule that was made before; its figures are the replayed ones.

        Raises
        ------
        WrongGraph
            It was made for another step.
        InvalidSchedule
            It doesn't keep to the budget.
        BadOption, BadInput
            It copies what can't be copied, or what can't be recorded; a host is given, too.
        """
        found = schedule if isinstance(schedule, Result) else read_schedule(schedule)
        limit = found.budget if self.budget is None else parse_budget(self.budget, graph)
        if self.host is not None:
            raise BadOption(
                "a schedule that is given has its own levels below the device; leave out host= and"
                " link="
            )
        try:
            made = replaying(graph, found, limit)
        except WrongGraph as error:
            raise WrongGraph(
                f"{error}: a step has another graph with another model, batch, precision or mode,"
                " and with other costs=, workspace= or pure="
            ) from None
        if self.cuda_graphs and made.level_peaks and max(made.level_peaks):
            raise BadOption(_NOT_RECORDED)
        return made


def _is_in_seconds(link: float | str | None) -> bool:
    """Whether a link, or its latency, is in units of time."""
    return link is None or (isinstance(link, str) and ("/" in link or link.rstrip().endswith("s")))


def digest_of(schedule: AnyPath | Result) -> str:
    """Of the graph that a schedule was made for."""
    found = schedule if isinstance(schedule, Result) else read_schedule(schedule)
    return found.digest


def _name_of(operator: Any) -> str:
    """An operator's name, whatever it is given as."""
    name = operator
    if isinstance(operator, torch._ops.OpOverload):
        name = operator._schema.name
    elif isinstance(operator, torch._ops.OpOverloadPacket):
        name = operator._qualified_op_name
    elif hasattr(operator, "_qualname"):  # as torch.library.custom_op makes it
        name = operator._qualname
    if not isinstance(name, str) or name.count("::") != 1:
        raise BadOption(
            f"pure has {shown(operator)}; it lists operators: torch.ops.mine.norm, or 'mine::norm'"
        )
    return name

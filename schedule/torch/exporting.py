"""From an exact schedule to what other tools execute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, get_args

import torch
from torch import nn

from schedule.errors import BadInput, BadOption, CannotCapture, DoesNotFit
from schedule.graph import Graph, Node
from schedule.lowering import in_order
from schedule.options import SolveOptions
from schedule.sizes import format_memories, parse_budget, with_exact
from schedule.solvers.contract import Deadline
from schedule.torch.checkpointing import Checkpointing, Kind, Module, digest_of
from schedule.torch.choosing import Choice, Choices, Chooser
from schedule.torch.matching import Matching
from schedule.torch.program import before_change
from schedule.torch.regions import Anatomy, Region, anatomy_of, as_eager
from schedule.torch.standin import Planned
from schedule.torch.step import PlannedStep
from schedule.torch.unrolling import unrolled
from schedule.torch.weighing import highest
from schedule.values import listed, shown
from schedule.verification import verify

#: How many choices are tried at most, where eager PyTorch takes more for one than is counted, or
#: less by more than this share of the budget.
_ROUNDS, _OFF = 4, 0.01
#: Modules as they are listed, or in groups that are wrapped together.
Among = Sequence[str] | Mapping[str, Sequence[str]]


def export(
    planned: nn.Module,
    to: Kind,
    *,
    among: Among | None = None,
    budget: int | str | None = None,
    time_limit: float = 20.0,
) -> Checkpointing:
    """What a plan comes to where `torch.utils.checkpoint` executes it, in the model as it is.

    Parameters
    ----------
    planned
        What `plan` returned.
    to
        `"selective"`: selective activation checkpointing. Modules are wrapped, and in
        them results of operators may be kept, of each the n-th in a call of the module.
        `"modules"`: modules are wrapped, and nothing is kept in them.
    among
        Names of the modules that may be wrapped, of which none runs inside of
        another; or a mapping of labels to such lists, each to be wrapped as a whole.
        None: the parts of the model's outermost lists and sequences of modules, and of
        lists and dicts of modules in these.
    budget
        Bytes, or a share as for `plan`; None: the plan's.
    time_limit
        Seconds for the search. It ends when the best choice is proved.

    Returns
    -------
    Checkpointing
        The choice of least compute whose peak is within the budget. Its compute is
        simulated, of the captured graph with what runs again written out; its peak is that
        of a step of eager PyTorch on tensors without memory.

    Raises
    ------
    DoesNotFit
        No choice is known to fit; says the least peak that one has.
    BadInput
        The model isn't planned; modules that it doesn't have, that run inside of
        one another, or that must not run twice; the step's own code differentiates;
        an unknown option.
    CannotCapture
        Eager PyTorch's operators can't be found out, or a library has a recurrent layer
        whole; or all modules are given what is changed in place, and one has to be wrapped.

    Notes
    -----
    An integer program finds the choice; its rows are the moments at which memory may
    exceed the budget. Nothing is computed: eager PyTorch's operators are noted, and what
    it holds, while copies of the model run on tensors without memory.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> from torch import nn
    >>> blocks = [nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(4)]
    >>> model, x = nn.Sequential(*blocks, nn.Linear(16, 1)), torch.randn(256, 16)
    >>> planned = schedule.torch.plan(model, x, "70%", loss=lambda output: output.square().mean())
    >>> found = schedule.torch.export(planned, "modules")
    >>> found.peak <= found.budget, found.is_best
    (True, True)
    >>> with found.apply(model):
    ...     model(x).square().mean().backward()
    """
    if to not in get_args(Kind):
        raise BadOption(f"to is {shown(to)}; it is one of {', '.join(get_args(Kind))}")
    if not isinstance(planned, Planned):
        raise BadInput(
            f"{shown(planned)} isn't planned; export what schedule.torch.plan has returned"
        )
    seconds = SolveOptions(time_limit=time_limit).time_limit
    step = planned.planned_step
    if any(step.result.level_peaks):
        raise BadInput(
            "the planned step copies to the host, which nothing else executes; export one that was"
            " planned without host="
        )
    if step.differentiates:
        raise BadInput(
            "the step's own code differentiates: a wrapped module would run again for each"
            " derivative, and what eager PyTorch keeps for the next isn't known, so that no peak"
            " can be promised; train the planned module"
        )
    limit = step.result.budget if budget is None else parse_budget(budget, step.graph)
    if limit is None:
        raise BadInput("the plan has no budget; give one: export(…, budget='70%')")
    return _Exporting(planned, step, to, _groups(planned, among)).within(limit, seconds)


def _groups(model: nn.Module, among: Among | None) -> dict[str, tuple[str, ...]]:
    """By label, the modules that are wrapped together; all of them the model's."""
    if among is None:
        names = list(_outermost(model))
        if not names:
            raise BadInput("the model has no lists or sequences of modules; give among=[…]")
        return {name: (name,) for name in names}
    if isinstance(among, Mapping):
        groups = {str(label): _listed(names, f"among[{label!r}]") for label, names in among.items()}
    else:
        groups = {name: (name,) for name in _listed(among, "among")}
    known = dict(model.named_modules())
    for name in (name for names in groups.values() for name in names):
        if not name or name not in known:
            raise BadInput(f"among has {name!r}, which is no module inside of the model")
    if not groups:
        raise BadInput("among is empty; it lists names of modules")
    for name, times in Counter(name for names in groups.values() for name in set(names)).items():
        if times > 1:
            raise BadInput(f"among has {name!r} in {times} groups; a module is in one")
    return groups


def _listed(names: object, what: str) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise BadInput(f"{what} is {shown(names)}; it has to be a list, also of one name")
    found = tuple(map(str, names))
    if not found:
        raise BadInput(f"{what} is empty; it lists names of modules")
    return found


def _outermost(model: nn.Module, prefix: str = "", *, is_listed: bool = False) -> list[str]:
    """The parts of outermost lists and sequences of modules; of lists in them, theirs."""
    found: list[str] = []
    is_listed |= isinstance(model, (nn.ModuleList, nn.Sequential))
    for name, part in model.named_children():
        if is_listed and not isinstance(part, (nn.ModuleList, nn.ModuleDict)):
            found.append(prefix + name)
        else:  # lists and dicts run nothing by themselves
            found += _outermost(part, f"{prefix}{name}.", is_listed=is_listed)
    return found


class _Exporting:
    """One plan, on its way to another tool."""

    def __init__(
        self, planned: Any, step: PlannedStep, to: Kind, groups: Mapping[str, Sequence[str]]
    ) -> None:
        self._planned, self._step, self._to = planned, step, to
        self._anatomy, self._eager = self._found(groups)
        changed = self._eager.given_changed
        if changed:
            left = {label: names for label, names in groups.items() if changed.isdisjoint(names)}
            self._anatomy, self._eager = self._found(left)
        self._left_out = sorted(changed)
        held, named = self._eager.saved(), self._eager.named()
        self._anatomy = replace(self._anatomy, held=held, named=named, noted=self._noted())
        labels = tuple(self._label[region.module] for region in self._anatomy.regions)
        self._choices = Choices(labels, self._eager.keys() if to == "selective" else {})

    def _found(self, groups: Mapping[str, Sequence[str]]) -> tuple[Anatomy, Matching]:
        """These modules' calls in the step, and what eager PyTorch calls in them."""
        self._label = {name: label for label, names in groups.items() for name in names}
        program, is_cast = as_eager(self._step.program), self._planned._keeper.is_cast
        anatomy = anatomy_of(program, self._reached(), is_cast=is_cast)
        self._check(anatomy)
        return anatomy, Matching(self._planned, anatomy)

    def _reached(self) -> dict[str, str]:
        """By the names under which the model's code reaches them: the modules that may be wrapped.

        A module that is there twice has two names.
        """
        named = {id(self._planned.get_submodule(name)): name for name in self._label}
        every = self._planned.named_modules(remove_duplicate=False)
        return {name: named[id(part)] for name, part in every if id(part) in named}

    def _changed(self, module: str) -> dict[str, torch.Tensor]:
        """The buffers of a module that the step changes, by their names in it."""
        model = self._planned._keeper.model
        named = {f"model.{name}": buffer for name, buffer in model.named_buffers()}
        changed = {id(named[into]) for into, _ in self._step.program.mutations if into in named}
        buffers = model.get_submodule(module).named_buffers()
        return {name: buffer for name, buffer in buffers if id(buffer) in changed}

    def _noted(self) -> dict[int, int]:
        """Bytes that each region's changed buffers take, each time that they are noted."""
        sizes = {
            name: sum(buffer.nbytes for buffer in self._changed(name).values())
            for name in {region.module for region in self._anatomy.regions}
        }
        return {at: sizes[region.module] for at, region in enumerate(self._anatomy.regions)}

    def _check(self, anatomy: Anatomy) -> None:
        """Refuse modules that must not run twice."""
        program, model = self._step.program, self._planned._keeper.model
        state = [*model.named_parameters(), *model.named_buffers()]
        named = {id(tensor): f"model.{name}" for name, tensor in state}
        for region in anatomy.regions:
            own = {named[id(buffer)] for buffer in self._changed(region.module).values()}
            changed = [name for name, _ in program.mutations if name not in own]
            for tensor in model.get_submodule(region.module).parameters():
                if named[id(tensor)] in changed:  # whatever copy of it is read
                    self._refuse(named[id(tensor)], region)
            for at in region.members:
                node = program.graph.nodes[at]
                operator = program.origins[node.name].operator
                if not node.recomputable and not operator.startswith(("aten.", "prims.")):
                    raise BadInput(
                        f"module {region.module!r} calls {operator}, which may do something else"
                        f" when it is run again; plan with pure=[…] if it doesn't, or list modules"
                        f" without it in among="
                    )
                for name in changed:
                    if _lies_on(anatomy.program.graph, node, name):
                        self._refuse(name, region)

    def _refuse(self, name: str, region: Region) -> NoReturn:
        raise CannotCapture(
            f"the step changes {name} in place, and module {region.module!r} reads it: run again,"
            f" it would read another content; change a copy, or make it a buffer of that module"
        )

    def within(self, budget: int, seconds: float) -> Checkpointing:
        """The best choice within a budget, and its figures.

        Where eager PyTorch takes more or less for one than is counted here, another is tried.

        Raises
        ------
        DoesNotFit
            None is known.
        """
        chooser = Chooser(self._anatomy, self._choices)
        deadline, limit = Deadline.after(seconds), budget
        best: Checkpointing | None = None
        for at in range(_ROUNDS):
            choice = chooser.cheapest(limit, deadline)
            if choice is None:
                break
            counted = self._made(replace(choice, is_best=choice.is_best and not at), budget)
            found = replace(counted, peak=self._peak(counted))
            fits, off = found.peak <= budget, counted.peak - found.peak
            if fits and (best is None or found.compute < best.compute):
                best = found
            if fits and (off < _OFF * budget or found.compute == found.plain_compute):
                break
            limit = budget + off
        if best is not None:
            return best
        _, least = chooser.least(Deadline.after(max(1.0, deadline.seconds_left)))
        counted = self._made(replace(least, is_best=False), budget)
        found = replace(counted, peak=self._peak(counted))
        if found.peak <= budget:  # nothing was found before the time was over, or in these rounds
            return found
        if not self._label:
            raise CannotCapture(
                f"module {self._left_out[0]!r} is given what is changed in place, by itself or"
                f" later: run again, it would read another content; change a copy, or list modules"
                f" without it in among="
            )
        known = "no choice takes less than" if least.is_best else "the least that is known is"
        given, needed, exact = format_memories(budget, found.peak, self._step.result.peak or 0)
        raise DoesNotFit(
            f"{self._step.graph.name}: wrapping {'some of ' if len(self._label) > 1 else ''}"
            f"{listed(list(self._label))} doesn't keep to {given}: {known}"
            f" {with_exact(needed, found.peak)}, by wrapping"
            f" {listed(sorted(least.wrapped)) if least.wrapped else 'none'}; the exact schedule"
            f" takes {exact}"
        )

    def graph_of(self, choice: Choice) -> Graph:
        """What runs."""
        wrapped = [at for at, label in enumerate(self._choices.labels) if label in choice.wrapped]
        kept = [at for at, key in self._choices.keys.items() if key in choice.kept]
        return unrolled(self._anatomy, wrapped, kept)

    def _made(self, choice: Choice, budget: int) -> Checkpointing:
        graph, result = self.graph_of(choice), self._step.result
        trace = verify(graph, in_order(graph).codes)
        assert result.peak is not None
        assert result.compute is not None
        names = sorted(
            {r.module for r in self._anatomy.regions if self._label[r.module] in choice.wrapped}
        )
        model = self._planned._keeper.model
        return Checkpointing(
            to=self._to,
            modules={name: self._module(name, choice) for name in names},
            groups=tuple(sorted(choice.wrapped)),
            budget=budget,
            peak=trace.peak,
            compute=trace.compute,
            plain_compute=self._step.graph.compute,
            plan_peak=result.peak,
            plan_compute=result.compute,
            is_best=choice.is_best,
            model=type(model).__name__,
            names=digest_of(model),
        )

    def _peak(self, found: Checkpointing) -> int:
        """Bytes at the peak of the step that eager PyTorch runs."""
        keeper, graph = self._planned._keeper, self._anatomy.program.graph
        given = sum(item.memory for item in graph.inputs)
        made, is_whole = highest(keeper.model, keeper.loss, keeper.like_last, found.apply)
        # Of what operators take while they run, and of the rest, only the graph knows.
        if is_whole and not any(node.workspace for node in graph.nodes):
            return given + made
        return max(given + made, found.peak)

    def _module(self, name: str, choice: Choice) -> Module:
        changed = tuple(self._changed(name))
        kind = type(self._planned.get_submodule(name)).__name__
        training = self._planned._keeper.was_training(name)
        if self._to == "modules":
            return Module(kind, changed, training)
        eager, compiled = self._eager.tables(name, choice.kept)
        return Module(kind, changed, training, eager, compiled)


def _lies_on(graph: Graph, node: Node, name: str) -> bool:
    """Whether a node reads an input that the step changes, through whatever view."""
    layout = graph.layout
    number, storage = layout.tensor_id, layout.storage
    wanted = {int(storage[number[t]]) for t in (name, before_change(name)) if t in number}
    return any(int(storage[number[t]]) in wanted for t in node.inputs)

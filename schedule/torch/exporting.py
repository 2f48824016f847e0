"""From an exact schedule to what other tools execute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from schedule.torch.choosing import Choice, Choices, Chooser, Key
from schedule.torch.eager import Called, calls_in, matched
from schedule.torch.keeper import Planned
from schedule.torch.program import MASK, before_change
from schedule.torch.regions import Anatomy, Region, anatomy_of, as_eager, unrolled
from schedule.torch.step import PlannedStep
from schedule.torch.wrapping import Table
from schedule.values import listed, shown
from schedule.verification import verify

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
        The choice of least compute whose peak is within the budget. Peak and compute
        are simulated: of the captured graph with what runs again written out, in the
        order in which eager PyTorch runs it, with what its derivatives and the code's
        own variables hold meanwhile.

    Raises
    ------
    DoesNotFit
        No choice is known to fit; says the least peak that one has.
    BadInput
        The model isn't planned; modules that it doesn't have, that run inside of
        one another, or that must not run twice; the step's own code differentiates;
        an unknown option.
    CannotCapture
        Eager PyTorch's operators can't be found out, or the step changes in place what
        a module that would be wrapped is given.

    Notes
    -----
    An integer program finds the choice; its rows are the moments at which memory may
    exceed the budget. Nothing is computed: eager PyTorch's operators are noted while
    a copy of the model runs on tensors without memory.

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
    if step.differentiated:
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
        self._label = {name: label for label, names in groups.items() for name in names}
        self._anatomy = anatomy_of(
            as_eager(step.program), self._reached(), is_cast=planned._keeper.is_cast
        )
        self._check()
        self._eager = _Matching(planned, self._anatomy)
        held, named = self._eager.saved(), self._eager.named()
        self._anatomy = replace(self._anatomy, held=held, named=named, noted=self._noted())
        labels = tuple(self._label[region.module] for region in self._anatomy.regions)
        self._choices = Choices(labels, self._eager.keys() if to == "selective" else {})

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

    def _check(self) -> None:
        """Refuse modules that must not run twice."""
        program, model = self._step.program, self._planned._keeper.model
        state = [*model.named_parameters(), *model.named_buffers()]
        named = {id(tensor): f"model.{name}" for name, tensor in state}
        for region in self._anatomy.regions:
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
                    if self._lies_on(node, name):
                        self._refuse(name, region)

    def _refuse(self, name: str, region: Region) -> NoReturn:
        raise CannotCapture(
            f"the step changes {name} in place, and module {region.module!r} reads it: run again,"
            f" it would read another content; change a copy, or make it a buffer of that module"
        )

    def _lies_on(self, node: Node, name: str) -> bool:
        """Whether a node reads an input that the step changes, through whatever view."""
        layout = self._anatomy.program.graph.layout
        number, storage = layout.tensor_id, layout.storage
        wanted = {int(storage[number[t]]) for t in (name, before_change(name)) if t in number}
        return any(int(storage[number[t]]) in wanted for t in node.inputs)

    def within(self, budget: int, seconds: float) -> Checkpointing:
        """The best choice within a budget, and its figures.

        Raises
        ------
        DoesNotFit
            None is known.
        """
        chooser = Chooser(self._anatomy, self._choices)
        deadline = Deadline.after(seconds)
        choice = chooser.cheapest(budget, deadline)
        if choice is None:
            peak, least = chooser.least(Deadline.after(max(1.0, deadline.seconds_left)))
            if peak <= budget:  # the time was over before anything was found
                return self._made(replace(least, is_best=False), budget)
            known = "no choice takes less than" if least.is_best else "the least that is known is"
            given, needed, exact = format_memories(budget, peak, self._step.result.peak or 0)
            raise DoesNotFit(
                f"{self._step.graph.name}: wrapping {'some of ' if len(self._label) > 1 else ''}"
                f"{listed(list(self._label))} doesn't keep to {given}: {known}"
                f" {with_exact(needed, peak)}, by wrapping"
                f" {listed(sorted(least.wrapped)) if least.wrapped else 'none'}; the exact schedule"
                f" takes {exact}"
            )
        return self._made(choice, budget)

    def graph_of(self, choice: Choice) -> Graph:
        """What runs."""
        wrapped = [at for at, label in enumerate(self._choices.labels) if label in choice.wrapped]
        kept = [at for at, key in self._choices.keys.items() if key in choice.kept]
        return unrolled(self._anatomy, wrapped, kept)

    def _made(self, choice: Choice, budget: int) -> Checkpointing:
        graph, result = self.graph_of(choice), self._step.result
        trace = verify(graph, in_order(graph).codes, budget)
        assert result.peak is not None
        assert result.compute is not None
        names = sorted(
            {r.module for r in self._anatomy.regions if self._label[r.module] in choice.wrapped}
        )
        for name in names:
            if name in self._eager.given_changed:
                raise CannotCapture(
                    f"module {name!r} is given what is changed in place, by itself or later: run"
                    " again, it would read another content; change a copy, or list modules without"
                    " it in among="
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

    def _module(self, name: str, choice: Choice) -> Module:
        changed = tuple(self._changed(name))
        kind = type(self._planned.get_submodule(name)).__name__
        training = self._planned._keeper.was_training(name)
        if self._to == "modules":
            return Module(kind, changed, training)
        eager, compiled = self._eager.tables(name, choice.kept)
        return Module(kind, changed, training, eager, compiled)


class _Matching:
    """Which nodes are which of the operators that eager PyTorch calls in a module."""

    def __init__(self, planned: Any, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        regions: dict[str, list[Region]] = {}
        for region in anatomy.regions:
            regions.setdefault(region.module, []).append(region)
        keeper = planned._keeper
        found, self.given_changed = calls_in(keeper.model, list(regions), keeper.run_like)
        self._eager: dict[str, list[str]] = {}
        self._captured: dict[str, list[str]] = {}
        self._keys: dict[int, Key] = {}
        self._returned: dict[str, set[int]] = {}
        self._may_keep: dict[Key, bool] = {}
        self._until: dict[Key, int | None] = {}
        for module, calls in regions.items():
            theirs = [_names(call) for call in found.get(module, ())]
            ours = [[at for at in region.members if self._is_call(at)] for region in calls]
            captured = [[self._operator(at) for at in members] for members in ours]
            if len(theirs) != len(ours) or any(
                each[0] != other for each in (theirs, captured) for other in each
            ):
                continue  # calls that differ can't have one policy
            self._eager[module], self._captured[module] = theirs[0], captured[0]
            returned = (self._returns(region.members, each) for region, each in zip(calls, ours))
            self._returned[module] = set[int]().union(*returned)
            for mine, its in matched(captured[0], theirs[0]).items():
                key = module, its, mine
                same = [call[its] for call in found[module]]
                self._keys.update((members[mine], key) for members in ours)
                self._may_keep[key] = all(call.may_keep for call in same)
                ends = [call.until for call in same if call.until is not None]
                self._until[key] = max(ends) if len(ends) == len(same) else None

    def _is_call(self, at: int) -> bool:
        """Whether a node is a whole operator that counts; a dropout is two nodes."""
        node = self._anatomy.program.graph.nodes[at]
        return not node.name.endswith(MASK) and self._operator(at) != "aten.detach.default"

    def _operator(self, at: int) -> str:
        program = self._anatomy.program
        return program.origins[program.graph.nodes[at].name].operator

    def keys(self) -> dict[int, Key]:
        """Of nodes that may be kept, where they would run again, and take time or memory."""
        nodes, found = self._anatomy.program.graph.nodes, {}
        for region in self._anatomy.regions:
            for at in region.again:
                owns = any(out.memory for out in nodes[at].outputs)
                if owns and at in self._keys and self._may_keep[self._keys[at]]:
                    found[at] = self._keys[at]
        return found

    def named(self) -> dict[int, tuple[str, ...]]:
        """What variables and autocast hold, by the last node that runs again meanwhile."""
        nodes = self._anatomy.program.graph.nodes
        found: dict[int, list[str]] = {}
        for region in self._anatomy.regions:
            known = [(at, self._keys[at][1]) for at in region.again if at in self._keys]
            for at, _ in known:
                until = self._until[self._keys[at]]
                later = [w for w, call in known if w > at and (until is None or call < until)]
                owned = [out.name for out in nodes[at].outputs if out.memory]
                if later and owned:
                    found.setdefault(later[-1], []).extend(owned)
            cast = [at for at in region.again if at in self._anatomy.casts]
            if cast:
                owned = [out.name for at in cast for out in nodes[at].outputs]
                found.setdefault(region.again[-1], []).extend(owned)
        return {at: tuple(names) for at, names in found.items()}

    def saved(self) -> dict[int, tuple[str, ...]]:
        """What derivatives hold of which they read the shape at most, by the last of a region.

        As that of `gather` holds what was gathered from.
        """
        anatomy = self._anatomy
        graph, layout = anatomy.program.graph, anatomy.program.graph.layout
        read: dict[int, set[int]] = {}  # storages, by region
        for at in range(anatomy.turn + 1, len(graph.nodes)):
            if at in anatomy.inside:
                storages = (layout.storage[layout.tensor_id[t]] for t in graph.nodes[at].inputs)
                read.setdefault(anatomy.inside[at], set()).update(map(int, storages))
        found = dict(anatomy.held)
        for number, region in enumerate(anatomy.regions):
            lasting = [a for a in region.again if a in self._keys and self._lasts(region, a)]
            names = [out.name for at in lasting for out in graph.nodes[at].outputs if out.memory]
            unread = [t for t in names if layout.tensor_id[t] not in read.get(number, ())]
            found[region.last] = (*found.get(region.last, ()), *unread)
        return found

    def _lasts(self, region: Region, at: int) -> bool:
        """Whether what a node makes outlives its module's call, though that doesn't return it.

        What is changed in place is another's result in the end.
        """
        key = self._keys[at]
        if self._until[key] is not None or not self._may_keep[key]:
            return False
        place = [a for a in region.members if self._is_call(a)].index(at)
        return place not in self._returned[region.module]

    def tables(self, module: str, kept: Collection[Key]) -> tuple[Table, Table]:
        """What is kept in a module: in eager PyTorch, and compiled.

        Compiled, what a module returns is kept, too, as it is in eager PyTorch anyway:
        `torch.compile` would run it again for those that read it later.
        """
        chosen = [(its, mine) for name, its, mine in kept if name == module]
        return (
            _table(self._eager.get(module, ()), {its for its, _ in chosen}),
            _table(
                self._captured.get(module, ()),
                {mine for _, mine in chosen} | self._returned.get(module, set()),
            ),
        )

    def _returns(self, members: Sequence[int], calls: Sequence[int]) -> set[int]:
        """Which of a region's operators make what is read outside of it, by their order."""
        graph, inside = self._anatomy.program.graph, set(members)
        layout, late = graph.layout, self._anatomy.turn
        number = self._anatomy.inside[members[0]]
        makers: set[int] = set()
        for at, node in enumerate(graph.nodes):
            if at in inside or (at > late and self._anatomy.inside.get(at) == number):
                continue
            owners = (layout.storage[layout.tensor_id[name]] for name in node.inputs)
            makers.update(int(layout.producer[owner]) for owner in owners)
        return {place for place, at in enumerate(calls) if at in makers}


def _names(calls: Sequence[Called]) -> list[str]:
    return [call.operator for call in calls]


def _table(operators: Sequence[str], kept: Collection[int]) -> Table:
    """How often each operator is called of which something is kept, and which calls those are."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for operator in dict.fromkeys(operators[at] for at in sorted(kept)):
        places = [at for at, name in enumerate(operators) if name == operator]
        keep = tuple(number for number, at in enumerate(places) if at in kept)
        found[operator] = len(places), keep
    return found

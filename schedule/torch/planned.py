"""A model whose training step keeps to a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Unpack

from torch import nn

from schedule.errors import BadInput, BadOption, NotEqual
from schedule.files import AnyPath
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.result import Result
from schedule.solvers import Solver
from schedule.torch.arguments import arguments_of
from schedule.torch.checking import Report, compared
from schedule.torch.costs import Costs, Workspace
from schedule.torch.keeper import Keeper, OnChange
from schedule.torch.options import Gradients, Options
from schedule.torch.standin import Planned
from schedule.torch.watching import Planning
from schedule.values import shown


@spelled_out(SolveKeywords)
def plan(
    model: nn.Module,
    example_inputs: Any,
    budget: int | str | None = None,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Sequence[Any] = (),
    schedule: AnyPath | Result | None = None,
    solver: str | Solver = "auto",
    options: SolveOptions | None = None,
    costs: Costs = "auto",
    resident: int | str = 0,
    workspace: Workspace = "auto",
    pure: Collection[Any] = (),
    gradients: Gradients = "loss",
    cuda_graphs: bool = False,
    host: int | str | None = None,
    link: float | str | None = None,
    on_change: OnChange = "refuse",
    check: bool = False,
    show_progress: bool = True,
    **given: Unpack[SolveKeywords],
) -> nn.Module:
    """Return a module that trains as the model does, within a memory budget.

    Parameters
    ----------
    model
        Any module that PyTorch can capture, in the mode it is trained in. It
        stays as it is: the planned module is another, with the same parameters,
        buffers and submodules.
    example_inputs
        A batch as it will be trained with: a tensor, a tuple of positional
        arguments, or a mapping of keyword arguments. Shapes, types and devices
        count, and the values of what is no tensor.
    budget
        Bytes (`8 * 2**30`, `"8GiB"`), or a share (`"80%"`) of the unplanned
        step's peak, as its captured graph has it. In it: parameters, buffers,
        the batch, activations, gradients, and `resident`. None: no limit.
    loss
        A function (or module) of what the model returns and the targets; the
        planned module then takes the model's arguments and the targets, and
        returns the loss. None: the model's output is the loss, or has it.
    targets
        A list of example targets, `[y]` where it is one.
    schedule
        A schedule file, or what `schedule.solve` returned for the captured
        graph: it is used, and nothing is solved. Without a budget, that of the
        schedule holds.
    solver, options
        As for `schedule.solve`.
    order, time_limit, work_limit, gap, seed, workers, progress, memory_share, cancel
        As for `schedule.solve`.
    costs
        Of the operations: `"model"`, by operations and bytes, the same on every
        machine; `"calibrated"`, the same with constants measured on this device;
        `"measure"`, each kind run some times, on random numbers; `"flops"`,
        floating-point operations alone; `"unit"`, 1 each. `"auto"`: measured on
        a GPU, `"model"` elsewhere and where a schedule is given.
    resident
        Bytes in use beside the step, such as the optimizer's state.
    workspace
        `"measure"`: run each kind of operation a few times and count what it
        takes only while it runs, as the allocator sees it, and what libraries
        keep. `"none"`: tensors count, no more. `"auto"`: measured on a GPU,
        unless a schedule is given.
    pure
        Operators of other packages that may run again (`torch.ops.mine.norm` or
        `"mine::norm"`): the same result from the same tensors each time, and
        nothing else done. Those that aren't listed run once.
    gradients
        Where the model returns more than a loss: `"loss"` keeps memory for
        gradients of single numbers, and for others where their zeros would need
        it; a gradient that then doesn't fit is refused when it comes. `"all"`
        keeps memory for the gradients of all that is returned.
    cuda_graphs
        On a GPU: record both passes as CUDA graphs at the second step, and
        replay them from then on, without the host's work for each operator.
        Results and gradients are copied out, which is in the promise; where a
        step can't be recorded, or while another one of it hasn't run backward,
        it runs operator by operator, and `planned_step.fallback` says why.
    host
        A size (`"64GiB"`): tensors that the step makes may be copied to that much main
        memory, pinned where the device is a GPU, and back, beside recomputation; the
        makespan is then what is to be least, and `planned_step` says what it is predicted to
        be, and how the link is known. Parameters, buffers and arguments stay where they are.
        None: nothing is copied, unless `schedule` does. Not with `cuda_graphs`.
    link
        How fast it is reached, as for `schedule.host`: `"25GB/s,10us"`, or a number of bytes
        per unit of cost (nanoseconds, but for `costs` of `"unit"` and `"flops"`, which need a
        number). None: measured on a GPU, and on others where costs are; else modelled
        by the constants that costs are modelled by.
    on_change
        What a batch of another shape, or a change of the model's state, does:
        `"refuse"` raises OtherStep, `"replan"` captures anew, and solves where
        that gives another graph: in as many bytes as a share of the first step on
        that device came to.
    check
        Run one step of the model itself and a planned one, as
        `schedule.torch.check` does, and refuse where they differ.
    show_progress
        Planning that takes longer than two seconds says what it does, in a line
        on standard error that is gone afterwards, if that is a terminal and
        `progress` isn't given. False: it doesn't.

    Returns
    -------
    torch.nn.Module
        Of a subclass of the model's class, with the same attributes, those to
        come included, and the same signature; its `planned_step` has the schedule
        with peak, overhead and gap. Without gradients (`torch.no_grad`), or in
        evaluation mode after planning in training mode, it is the model as it
        was; where the targets are given, too, its loss.

    Raises
    ------
    CannotCapture
        The training step can't be captured, or has no loss.
    DoesNotFit
        No schedule is known for the budget; says the least that is needed.
    WrongGraph
        `schedule` belongs to another step.
    BadInput
        Tensors on several devices, a budget that is none, an unknown option;
        example inputs that the model doesn't take, targets that the loss doesn't.
    NotEqual
        With `check`: the planned step does something else than the model.

    Notes
    -----
    Gradients, buffers and random numbers are those of the captured step, to the
    bit; that step differs from eager PyTorch's only where PyTorch's own capture
    does, which `schedule.torch.check` finds out. Its gradients arrive when the
    backward pass ends.

    What the step read of the model, the loss and everything around them while
    it was captured is guarded at each call. Where a step itself changes what it
    read (a counter, a cache), the next one is captured anew.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> from torch import nn
    >>> layers = [part for _ in range(6) for part in (nn.Linear(16, 16), nn.Tanh())]
    >>> model = nn.Sequential(*layers, nn.Linear(16, 1))
    >>> x, y = torch.randn(256, 16), torch.randn(256, 1)
    >>> mse = nn.functional.mse_loss
    >>> planned = schedule.torch.plan(model, x, "80%", loss=mse, targets=[y])
    >>> planned(x, y).backward()
    >>> planned.planned_step.result.peak <= planned.planned_step.result.budget
    True
    """
    if not isinstance(model, nn.Module):
        raise BadInput(f"model is {shown(model)}; it has to be a torch.nn.Module")
    if on_change not in ("refuse", "replan"):
        raise BadOption(f"on_change is {shown(on_change)}; it is 'refuse' or 'replan'")
    solving = options_of(options, given, plan)
    wanted = Options(
        budget=budget,
        solver=solver,
        solving=solving,
        costs=costs,
        resident=resident,
        workspace=workspace,
        pure=pure,
        gradients=gradients,
        cuda_graphs=cuda_graphs,
        show_progress=show_progress,
        host=host,
        link=link,
    )
    if isinstance(model, Planned):
        raise BadInput("the model is planned already; plan the one it was made from")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise BadInput("the model is in DistributedDataParallel; plan model.module, and wrap that")
    batch = arguments_of(example_inputs, loss, targets)
    keeper = Keeper(model, loss, wanted, on_change)
    keeper.add(model, batch, schedule)
    module = keeper.module(model)
    if check:
        with Planning(type(model).__name__, wanted) as planning:
            planning.comparing()
            report = compared(model, [module], batch, loss, solving.seed)
        if not report.same:
            raise NotEqual(str(report))
    return module


def check(
    model: nn.Module,
    example_inputs: Any,
    budget: int | str | None = None,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Sequence[Any] = (),
    solver: str | Solver | None = None,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Compare one planned step with one of the model itself, from the same state and seed.

    Parameters
    ----------
    model, example_inputs, budget, loss, targets
        As for `plan`.
    solver
        None: `"recompute_all"` without a budget, so that all is recomputed that
        may be (with a `host` `"offload_all"`, so that it is copied); `"auto"` with one.
    seed
        Of the random numbers that both steps draw, and of the solver.
    options
        Others of `plan`.

    Returns
    -------
    Report
        What differs: loss and other outputs, gradients (None is not zero),
        parameters, buffers, arguments and attributes that the step changes, the
        random state; and whether PyTorch's own capture, without any
        recomputation, differs there, too. Numbers are equal where they lie
        apart by no more than rounding.

    Raises
    ------
    CannotCapture, DoesNotFit, OtherStep, BadInput
        As `plan` and a step: the model can't be planned, which is said.

    Notes
    -----
    What is differentiated is the first single number that the step returns. The
    model is left as it was, with its lists and dictionaries; what `forward`
    changes elsewhere isn't set back. Four times the memory of parameters and
    gradients, and a step's.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.1), nn.Linear(16, 1))
    >>> loss = lambda output: output.square().mean()
    >>> print(schedule.torch.check(model, torch.randn(8, 16), loss=loss))
    the planned step is the model's own: 1 outputs, 4 gradients, 4 parameters, 1 arguments, 1 \
random states compared
    """
    most = "recompute_all" if options.get("host") is None else "offload_all"
    solver = solver or (most if budget is None else "auto")
    given = {"loss": loss, "targets": targets, "seed": seed, **options}
    module = plan(model, example_inputs, budget, solver=solver, **given)
    batch = arguments_of(example_inputs, loss, targets)
    report = compared(model, [module], batch, loss, seed)
    if not report.same:
        plain = plan(model, example_inputs, solver="store_all", **given)
        report = compared(model, [module, plain], batch, loss, seed)
    return report

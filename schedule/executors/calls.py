"""Replays of schedules with the caller's own kernels."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from schedule.errors import BadInput, BadOption
from schedule.executors.contract import Allocator, Backend, Into, Kernel, Placer, Replay
from schedule.executors.levels import LevelTables
from schedule.executors.loop import Tables, execute
from schedule.executors.plugged import GROUP, plugged
from schedule.executors.slots import ArenaTables, addresses_of
from schedule.graph import Graph, Node
from schedule.memory import Trace
from schedule.plugins import plugins
from schedule.steps import AnySchedule
from schedule.values import meant, number, shown
from schedule.verification import verify

#: Callables by node's name or by operation, or a function that gives a node's callable.
Kernels = Mapping[str, Kernel] | Callable[[Node], Kernel]
#: A node's operation, from a mapping by node's name or from a function of the node.
Operations = Mapping[str, str] | Callable[[Node], str]


def replay(
    graph: Graph,
    plan: AnySchedule,
    kernels: Kernels,
    inputs: Mapping[str, Any],
    *,
    operations: Operations | None = None,
    backend: str | Backend | None = None,
    check_sizes: bool = True,
    arena: bool = False,
    unit_seconds: float | None = None,
) -> dict[str, Any]:
    """Run a schedule for real; NumPy or torch arrays in, the same kind out.

    Parameters
    ----------
    graph
        The graph that the schedule was made for.
    plan
        As for `schedule.verify`, which is asked before anything runs.
    kernels
        A callable for each node that runs, by the node's name; or a function
        that takes a `Node` and returns its callable. A callable takes the
        arrays that the node reads, in the order of `Node.inputs` (a name that
        stands there twice comes twice), and returns one array, or a tuple or
        list with one array for each output. It must not change its inputs,
        nor keep them, and returns the same again for the same inputs. An
        output declared as a view has to lie on the memory of what it views,
        any other has to have memory of its own.
    inputs
        Arrays by name; names that the graph doesn't have are ignored. What
        the schedule frees is removed from the mapping, where it is a mutable
        one, so that it really goes; memory that is held elsewhere stays.
    operations
        Where given, `kernels` is a mapping by operation: this says which
        operation a node is, by its name or as a function of the `Node`.
    backend
        `"numpy"`, `"torch"`, the name of one that another package brings, or an
        object like those; by default that of the inputs, NumPy where there are
        none.
    check_sizes
        False where the graph's unit isn't the byte. Otherwise an output's
        memory (all of it, where the array shows only a part) has to be the
        declared number of bytes, and an input has to have as many.
    arena
        Whether all lies in one allocation, each array at its offset: the plan's own
        `addresses`, else those that `schedule.place` finds with an alignment of 64.
        Inputs are copied in, but for those outside, and so is what kernels return; an
        `Into` kernel writes in place. What isn't in use is poisoned. The outputs that are
        returned keep the arena.
    unit_seconds
        Where the schedule copies to levels below the device: seconds of a unit of compute,
        so that a copy takes no less than its link says. None: as long as it takes here.

    Returns
    -------
    dict
        The graph's outputs by name.

    Raises
    ------
    WrongGraph, InvalidSchedule
        The plan isn't one for this graph, or breaks the memory model.
    BadInput
        A kernel or an input is missing, or an input isn't what it should be.
    KernelError
        A callable raised (it is the cause), or returned the wrong number, size
        or kind of arrays: names the node and the step. Nothing stays behind
        once the exception is dropped, but freed inputs are gone.

    Notes
    -----
    A few microseconds a step beside the kernels.

    Examples
    --------
    >>> import numpy as np
    >>> import schedule
    >>> g = schedule.GraphBuilder()
    >>> x = g.input("x", memory=32)
    >>> y = g.node("double", x, memory=32)
    >>> z = g.node("sum", [x, y], memory=8)
    >>> graph = g.build()
    >>> plan = schedule.solve(graph, budget=72)
    >>> kernels = {"double": lambda x: 2 * x, "sum": lambda x, y: (x + y).sum()}
    >>> schedule.replay(graph, plan, kernels, {"x": np.arange(4.0)})
    {'sum': array(18.)}
    """
    return run(
        graph,
        plan,
        kernels,
        inputs,
        operations=operations,
        backend=backend,
        check_sizes=check_sizes,
        arena=arena,
        unit_seconds=unit_seconds,
    ).outputs


def run(
    graph: Graph,
    plan: AnySchedule,
    kernels: Kernels,
    inputs: Mapping[str, Any],
    *,
    operations: Operations | None = None,
    backend: str | Backend | None = None,
    check_sizes: bool = True,
    arena: bool = False,
    unit_seconds: float | None = None,
) -> Replay:
    """Run a schedule like `replay`, and measure it: the outputs with all figures.

    Parameters
    ----------
    graph, plan, kernels, inputs, operations, backend, check_sizes, arena, unit_seconds
        As in `replay`.

    Returns
    -------
    Replay
        Outputs, promised and measured peak, counts, seconds.

    Notes
    -----
    What is measured are the bytes of the arrays' storages: each is followed by
    a weak reference from the moment its kernel returned it until nothing
    refers to it. Kept apart are what isn't a storage (Python's objects, such
    as an array's header of about 100 bytes; what an allocator rounds up, or
    NumPy's one byte for an empty array), and what a kernel allocates only
    while it runs: for that the node's declared workspace is counted.

    The inputs count with their own sizes, even where they are slices of
    something larger.
    """
    trace = verify(graph, plan)
    _require_kinds(kernels, inputs)
    require_seconds(unit_seconds)
    table = kernel_table(trace, kernels, operations)
    if backend is None:
        backend = _backend_of(inputs)
    if isinstance(backend, str):
        backend = backend_named(backend)
    if not arena:
        if any(isinstance(kernel, Into) for kernel in table) and not hasattr(backend, "allocate"):
            raise BadOption(f"backend {backend.name!r} makes no arrays, as Into kernels need")
        if trace.copies:
            return execute(
                trace, LevelTables(trace, table, inputs, backend, check_sizes, unit_seconds)
            )
        return execute(trace, Tables(trace.graph, table, inputs, backend, check_sizes))
    if not check_sizes:
        raise BadOption("an arena is made of bytes: check_sizes has to be True")
    addresses = addresses_of(trace, plan)
    return execute(trace, ArenaTables(trace, table, inputs, cast(Placer, backend), addresses))


def _require_kinds(kernels: object, inputs: object) -> None:
    """Raise BadInput where there are no kernels or inputs to look up."""
    if not isinstance(kernels, Mapping) and not callable(kernels):
        raise BadInput(
            f"kernels is {shown(kernels)}; it has to be a mapping from nodes' names to callables,"
            " or a function of a node (schedule.executors.replay_synthetic needs none)"
        )
    if not isinstance(inputs, Mapping):
        raise BadInput(f"inputs is {shown(inputs)}; it has to be a mapping from names to arrays")


def require_seconds(unit_seconds: float | None) -> None:
    """Raise BadOption where the seconds of a unit of compute are none."""
    found = 0.0 if unit_seconds is None else number(unit_seconds)
    if found is None or not 0 <= found < math.inf:
        raise BadOption(
            f"unit_seconds is {shown(unit_seconds)}; it has to be a number of seconds, or None"
        )


def kernel_table(
    trace: Trace, kernels: Kernels, operations: Operations | None = None
) -> list[Kernel | None]:
    """The callable of every node that runs, by number; None for the others.

    Raises
    ------
    BadInput
        A node has none.
    """
    return [
        _kernel_of(node, kernels, operations) if count else None
        for node, count in zip(trace.graph.nodes, trace.runs.tolist())
    ]


def _kernel_of(node: Node, kernels: Kernels, operations: Operations | None) -> Kernel:
    found: Kernel | None
    if not isinstance(kernels, Mapping):
        found, role = kernels(node), "from the function of kernels"
    elif operations is None:
        found, role = kernels.get(node.name), "under its name"
    else:
        operation = _operation_of(node, operations)
        found, role = kernels.get(operation), f"for its operation {shown(operation)}"
    if not callable(found):
        raise BadInput(f"node {node.name!r} runs, but has no callable {role}")
    return found


def _operation_of(node: Node, operations: Operations) -> str:
    if not isinstance(operations, Mapping):
        return operations(node)
    if node.name not in operations:
        raise BadInput(f"node {node.name!r} runs, but has no operation")
    return operations[node.name]


def _backend_of(inputs: Mapping[str, Any]) -> str:
    """The backend of these inputs; torch isn't imported to find out."""
    torch = sys.modules.get("torch")
    tensors = torch is not None and any(isinstance(a, torch.Tensor) for a in inputs.values())
    return "torch" if tensors else "numpy"


def backend_named(name: str, device: str | None = None, allocates: bool = False) -> Allocator:
    """The backend called `name`: a built-in one, else another package's.

    Parameters
    ----------
    name
        `"numpy"`, `"torch"` or that of a plugin.
    device
        Where it allocates; None: its default.
    allocates
        Whether the backend has to make arrays: the built-in ones always can.

    Raises
    ------
    BadOption
        There is none; names those that there are.
    BadPlugin
        It is another package's, and doesn't work.
    """
    if name == "numpy":
        from schedule.executors.numpy import NumpyBackend

        return NumpyBackend(device)
    if name == "torch":
        from schedule.executors.torch import TorchBackend

        return TorchBackend(device)
    found = plugged(name, device, allocates)
    if found is None:
        known = backend_names()
        *others, last = map(repr, known)
        raise BadOption(
            f"backend is {shown(name)}; there are {', '.join(others)} and {last}"
            f"{meant(name, known)}"
        )
    return found


def backend_names() -> list[str]:
    """The names that `backend_named` knows, built-in ones first; nothing is imported for it."""
    return list(dict.fromkeys(["numpy", "torch", *(plugin.name for plugin in plugins(GROUP))]))

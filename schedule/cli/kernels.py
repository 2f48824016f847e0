"""Replays from the shell with kernels of the caller's own: `--kernels MODULE:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from schedule.errors import BadOption, NotEqual, is_out_of_memory

if TYPE_CHECKING:
    from schedule.executors import Allocator, Comparison
    from schedule.graph import Graph
    from schedule.result import Result


def replay_with(given: Any, graph: Graph, plan: Result, backend: str, spec: str) -> Comparison:
    """Run the program as it is, then the plan, with the caller's kernels; compare the outputs.

    `given` is a mapping of kernels by node's name, for a graph without inputs;
    or a function that takes the graph and returns such a mapping and a mapping
    of inputs. It is called for each of the two runs, as each uses its inputs
    up, and has to give the same values both times.

    Raises
    ------
    BadOption
        It gives something else.
    NotEqual
        An output differs in some bit.
    """
    from schedule.executors import Comparison, run
    from schedule.executors.calls import backend_named
    from schedule.lowering import in_order

    chosen = backend_named(backend, allocates=True)  # its `host` is needed to compare outputs
    plain = run(graph, in_order(graph).codes, *_kernels(given, graph, spec), backend=chosen)
    planned = run(graph, plan, *_kernels(given, graph, spec), backend=chosen)
    for name, expected in plain.outputs.items():
        if _bits(planned.outputs[name], chosen) != _bits(expected, chosen):
            raise NotEqual(f"output {name!r} of graph {graph.name!r} differs from the plain run's")
    return Comparison(plain, planned)


def _kernels(
    given: Any, graph: Graph, spec: str
) -> tuple[Mapping[str, Callable[..., Any]], Mapping[str, Any]]:
    """Kernels and inputs for one run."""
    if callable(given):
        try:
            given = given(graph)
        except Exception as error:  # the function is the caller's
            if is_out_of_memory(error):
                raise
            raise BadOption(f"--kernels {spec}: {type(error).__name__}: {error}") from error
        match given:
            case (Mapping() as kernels, Mapping() as inputs):
                return kernels, inputs
    elif isinstance(given, Mapping):
        return given, {}
    raise BadOption(
        f"--kernels {spec} has to be a mapping from nodes' names to callables, or a function"
        f" that takes the graph and returns such a mapping and a mapping of inputs"
    )


def _bits(array: Any, backend: Allocator) -> tuple[str, bytes]:
    """Element type and shape of an array, and its content."""
    if backend.name == "torch":
        import torch

        array = array.detach().resolve_conj().resolve_neg()
        flat = array.cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        return backend.describe(array), flat.tobytes()
    return backend.describe(array), backend.host(array).tobytes()

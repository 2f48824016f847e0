"""The program as it is and as planned, both run with the caller's kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedule.errors import BadOption, NotEqual
from schedule.executors.calls import Kernels, backend_named, run
from schedule.executors.contract import Allocator, Kernel, Replay
from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.steps import AnySchedule
from schedule.verification import verify

#: Kernels by node's name; or a function of the graph that gives them, and inputs by name.
Made = Mapping[str, Kernel] | Callable[[Graph], tuple[Kernels, Mapping[str, Any]]]


@dataclass(frozen=True)
class Comparison:
    """The program as it is and as planned, both run; their outputs are equal, bit for bit.

    Attributes
    ----------
    plain
        The run in the graph's own order, every node once.
    planned
        The run of the plan.
    """

    plain: Replay
    planned: Replay

    def to_json(self) -> dict[str, Any]:
        """The figures of both runs as plain data, without their outputs."""
        found: dict[str, Any] = {
            "equal": True,
            "exact": self.planned.exact,
            "backend": self.planned.backend,
        }
        if self.planned.arena is not None:
            found["arena"] = self.planned.arena
        if self.planned.levels:
            found["levels"] = {
                name: {"promised_peak": peak.promised, "measured_peak": peak.measured}
                for name, peak in self.planned.levels.items()
            }
        for name, replay in (("plain", self.plain), ("planned", self.planned)):
            found[name] = {
                "runs": replay.runs,
                "promised_peak": replay.promised_peak,
                "measured_peak": replay.measured_peak,
                "seconds": replay.seconds,
            }
        return found


def replay_compared(
    graph: Graph,
    plan: AnySchedule,
    kernels: Made,
    *,
    backend: str | Allocator = "numpy",
    arena: bool = False,
) -> Comparison:
    """Run the program as it is, then the plan, with the caller's kernels; compare their outputs.

    Parameters
    ----------
    graph, plan
        As in `schedule.replay`; sizes are taken as bytes.
    kernels
        Kernels by node's name, for a graph without inputs; or a function that
        takes the graph and returns kernels, as `schedule.replay` takes them,
        and a mapping of inputs. It is called for each of the two runs, as each
        uses its inputs up, and has to give the same values both times.
    backend
        `"numpy"`, `"torch"`, the name of one that another package brings, or
        an object like those.
    arena
        Whether the plan runs in one arena, as in `schedule.replay`.

    Returns
    -------
    Comparison
        Both runs with their figures.

    Raises
    ------
    NotEqual
        An output differs in some bit.
    BadOption
        `kernels` is, or gives, something else.
    BadInput, InvalidSchedule, KernelError
        As `schedule.replay`.

    Examples
    --------
    >>> import numpy as np
    >>> import schedule
    >>> from schedule.executors import replay_compared
    >>> g = schedule.GraphBuilder()
    >>> y = g.node("double", g.input("x", memory=32), memory=32)
    >>> graph = g.build()
    >>> def made(graph):
    ...     return {"double": lambda x: 2 * x}, {"x": np.arange(4.0)}
    >>> replay_compared(graph, schedule.solve(graph), made).planned.exact
    True
    """
    verify(graph, plan)  # before anything runs
    chosen = backend_named(backend, allocates=True) if isinstance(backend, str) else backend
    plain = run(graph, in_order(graph).codes, *_made(kernels, graph), backend=chosen)
    planned = run(graph, plan, *_made(kernels, graph), backend=chosen, arena=arena)
    for name, expected in plain.outputs.items():
        if _bits(planned.outputs[name], chosen) != _bits(expected, chosen):
            raise NotEqual(f"output {name!r} of graph {graph.name!r} differs from the plain run's")
    return Comparison(plain, planned)


def _made(given: Any, graph: Graph) -> tuple[Kernels, Mapping[str, Any]]:
    """Kernels and inputs for one run."""
    match given(graph) if callable(given) else (given, {}):
        case (kernels, Mapping() as inputs) if isinstance(kernels, Mapping) or callable(kernels):
            return kernels, inputs
    raise BadOption(
        "kernels has to be a mapping from nodes' names to callables, or a function"
        " that takes the graph and returns such a mapping (or a function of a node)"
        " and a mapping of inputs"
    )


def _bits(array: Any, backend: Allocator) -> tuple[str, bytes]:
    """Element type and shape of an array, and its content."""
    if backend.name == "torch":
        import torch

        array = array.detach().resolve_conj().resolve_neg()
        flat = array.cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        return backend.describe(array), flat.tobytes()
    return backend.describe(array), backend.host(array).tobytes()

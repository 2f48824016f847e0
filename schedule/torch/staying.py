"""What a training step can't copy to the host: its inputs, which aren't its own.

Parameters, buffers and the batch are in others' hands, who would find them gone; random
states are noted when they are first needed. So they are captured as not offloadable, and a
schedule from elsewhere is asked for levels beyond the first.
"""

from __future__ import annotations

import numpy as np

from schedule.errors import BadInput
from schedule.graph import Graph
from schedule.promises import restated
from schedule.result import Result
from schedule.steps import TRANSFER_WORDS, codes_of, transfer_of
from schedule.verification import verify


def replaying(graph: Graph, result: Result, limit: int | None) -> Result:
    """A result with the figures of its schedule as this graph has them.

    Raises
    ------
    WrongGraph, InvalidSchedule
        It isn't one, or not within that budget; or it copies an input.
    BadInput
        It copies to a level below the host.
    """
    trace = verify(graph, result, limit)
    _require_one_level(graph, result)
    return restated(graph, result, limit, trace)


def _require_one_level(graph: Graph, result: Result) -> None:
    """Refuse copies to a level below the host."""
    layout = graph.layout
    codes = codes_of(graph, result, len(result.levels))
    for at in np.flatnonzero(codes < -layout.n_tensors).tolist():
        tensor, level, kind = transfer_of(layout, int(codes[at]))
        said = f"step {at} ({TRANSFER_WORDS[kind]} {layout.tensor_names[tensor]!r})"
        if level > 1:
            raise BadInput(
                f"{said} is for level {level}; a training step copies to the host alone, the first"
                f" level below the device: solve with one"
            )

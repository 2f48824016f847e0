"""From choices over a chain of layers to an order of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from schedule.layout import Ints
from schedule.solvers.classics.layers.detection import LayerChain
from schedule.solvers.contract import MOST_RUNS


class Task(NamedTuple):
    """Bring the layers `start` … `end` forward and back.

    The input of `start` is live. `owned`: nothing else needs it, so that it may
    be freed after its last use. All layers after `end` are done; or `end` is the
    last one, and then none of these has run yet.
    """

    start: int
    end: int
    owned: bool


class Choice(NamedTuple):
    """How a task begins: advancing to the layer `split`, or (None) keeping its first layer.

    `inner` and `rest` are the memory for the task that follows, and for what is
    left after advancing, in the unit of whoever chose.
    """

    split: int | None
    inner: int
    rest: int


def layer_runs(
    chain: LayerChain, choose: Callable[[Task, int], Choice], memory: int, most: int = MOST_RUNS
) -> Ints | None:
    """The runs to which choices lead; None where there are more than `most`.

    Parameters
    ----------
    chain
        The chain of layers.
    choose
        How to begin a task with this memory, in whatever unit it counts.
    memory
        Memory for the whole chain.
    most
        Runs beyond which a plan is given up.

    Notes
    -----
    O(runs) beside the choices.
    """
    layers = chain.layers
    last = len(layers) - 1
    runs: list[int] = []
    stack: list[tuple[Task, int] | list[int]] = [(Task(0, last, True), memory)]
    while stack and len(runs) <= most:
        item = stack.pop()
        if isinstance(item, list):
            runs += item
            continue
        task, memory = item
        choice = choose(task, memory)
        s, first = task.start, task.end == last
        if choice.split is not None:
            for layer in layers[s : choice.split]:
                runs += layer.advance[first]
            stack.append((Task(s, choice.split - 1, task.owned), choice.rest))
            stack.append((Task(choice.split, task.end, True), choice.inner))
        elif s == task.end:
            runs += layers[s].last[first] + layers[s].backward
        else:
            runs += layers[s].all[first]
            stack.append(layers[s].backward)
            stack.append((Task(s + 1, task.end, not layers[s].is_pinned), choice.inner))
    return None if stack else np.array(runs, np.int64)

"""How large a batch can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from schedule.errors import BadOption, DoesNotFit
from schedule.result import Result
from schedule.sizes import parse_memory
from schedule.torch.arguments import arguments_of, targets_of
from schedule.torch.capturing import capture_step
from schedule.torch.options import Options
from schedule.torch.watching import Planning
from schedule.values import integer, shown


@dataclass(frozen=True)
class Batch:
    """The largest batch that was found.

    Attributes
    ----------
    size
        How many examples.
    result
        The schedule of its step, with peak and overhead: what `plan` takes as
        `schedule`.
    too_large
        The smallest size that was tried and refused; None: `at_most` fits.
    reason
        Why it was.
    """

    size: int
    result: Result
    too_large: int | None
    reason: str


def largest_batch(
    model: nn.Module,
    make_inputs: Callable[[int], Any],
    budget: int | str,
    *,
    overhead: float = 1.0,
    loss: Callable[..., Any] | None = None,
    make_targets: Callable[[int], Sequence[Any]] | None = None,
    at_most: int = 2**20,
    **options: Any,
) -> Batch:
    """The largest batch whose training step fits a budget at no more than some overhead.

    Parameters
    ----------
    model, loss
        As for `plan`.
    make_inputs, make_targets
        Give example inputs, and targets, of a batch of this many examples. Only
        their shapes count: empty tensors will do.
    budget
        Bytes; not a share, as that grows with the batch.
    overhead
        The most recomputation, as a share of the step's compute; with a `host` the most
        that the makespan is beyond that.
    at_most
        Larger batches aren't tried.
    options
        Those of `plan` about solving (`solver`, `time_limit`, `costs`, …); the
        time limit is each size's, and so are the two seconds after which
        `show_progress` shows what is done.

    Returns
    -------
    Batch
        Sizes are doubled until one is refused, then halved in between: that it
        is the largest holds as far as larger batches need more.

    Raises
    ------
    DoesNotFit
        A batch of one doesn't.
    CannotCapture, BadInput
        As for `plan`.

    Notes
    -----
    One capture and one solve for each size: about 2·log₂ of the answer.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
    >>> found = schedule.torch.largest_batch(
    ...     model, lambda size: torch.empty(size, 8), 3_000,
    ...     loss=lambda output: output.square().mean(), overhead=0.2, time_limit=2,
    ... )
    >>> found.result.peak <= 3_000 and found.too_large == found.size + 1
    True
    """
    if isinstance(budget, str) and budget.strip().endswith("%"):
        raise BadOption(f"budget is {shown(budget)}: a share grows with the batch; give bytes")
    most = integer(at_most)
    if most is None or most < 1:
        raise BadOption(f"at_most is {shown(at_most)}; it has to be an integer ≥ 1")
    search = _Search(
        model,
        make_inputs,
        make_targets or (lambda _: ()),
        loss,
        overhead,
        Options.of({**options, "budget": parse_memory(budget, "budget")}),
    )
    return search.run(most)


@dataclass
class _Search:
    """Which sizes fit, as far as it is known."""

    model: nn.Module
    make_inputs: Callable[[int], Any]
    make_targets: Callable[[int], Sequence[Any]]
    loss: Callable[..., Any] | None
    overhead: float
    options: Options
    fits: tuple[int, Result] | None = None
    refused: tuple[int | None, str] = (None, "")

    def run(self, at_most: int) -> Batch:
        """Double, then halve."""
        size = 1
        while self.refused[0] is None and size <= at_most:
            self.look_at(size)
            if size == at_most:
                break
            size = min(2 * size, at_most)
        if self.fits is None:
            raise DoesNotFit(f"not even a batch of one: {self.refused[1]}")
        above = self.refused[0]
        while above is not None and above - self.fits[0] > 1:
            self.look_at((self.fits[0] + above) // 2)
            above = self.refused[0]
        return Batch(*self.fits, *self.refused)

    def look_at(self, size: int) -> None:
        """Capture and solve the step of one size."""
        options = self.options
        targets = targets_of(self.make_targets(size), f"make_targets({size})")
        try:
            with Planning(f"a batch of {size}", options) as planning:
                given = arguments_of(self.make_inputs(size), self.loss, targets)
                _, found = capture_step(self.model, self.loss, given, options)
                told = planning.solving(found.graph, options)
                result = told.solved(found.graph, found.device)
        except DoesNotFit as error:
            self.refused = size, str(error)
            return
        taken = result.objective_overhead or 0.0
        if taken > self.overhead:
            what = "compute" if result.makespan is None else "time"
            self.refused = size, f"it takes {taken:.2%} more {what} than {self.overhead:.2%}"
        else:
            self.fits = size, result

"""Dynamo as it is while a step is traced: its settings, and what it forgets by itself."""

from __future__ import annotations

import logging
import re
import warnings
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from schedule.errors import CannotCapture

#: Every size and number is a part of the step, hooks are noticed, parameters may be
#: tied or untied, recurrent layers are traced.
_SETTINGS: dict[str, Any] = {
    "assume_static_by_default": True,
    "automatic_dynamic_shapes": False,
    "specialize_int": True,
    "specialize_float": True,
    "skip_nnmodule_hook_guards": False,
    "skip_no_tensor_aliasing_guards_on_parameters": False,
    "allow_rnn": True,
    "allow_unspec_int_on_nn_module": True,
    "use_numpy_random_stream": True,  # NumPy's random numbers are no tensors'
}


def _logging_functions() -> set[Any]:
    """What loggers are told while a step is traced is told no more when it runs."""
    return {value for value in vars(logging.Logger).values() if callable(value)}


@contextmanager
def _distributions_unchecked() -> Iterator[None]:
    """Leave out what distributions check by looking at values, as `torch.compile` does."""
    kind: Any = torch.distributions.Distribution
    before = kind._validate_args
    kind.set_default_validate_args(False)
    try:
        yield
    finally:
        kind.set_default_validate_args(before)


@contextmanager
def _deques_bounded() -> Iterator[None]:
    """Have Dynamo know how long a deque may be: it forgets, and then reads what has dropped out.

    What it knows to be bounded it follows as long as that is only read.
    """
    from torch._dynamo.variables import ConstantVariable
    from torch._dynamo.variables.lists import BaseListVariable, DequeVariable

    kind: Any = BaseListVariable
    before = kind.__dict__["cls_for_instance"]

    def kind_of(value: Any) -> Any:
        if type(value) is deque and value.maxlen is not None:
            return partial(DequeVariable, maxlen=ConstantVariable.create(value.maxlen))
        return before.__func__(value)

    kind.cls_for_instance = staticmethod(kind_of)
    try:
        yield
    finally:
        kind.cls_for_instance = before


@contextmanager
def _functions_whole() -> Iterator[None]:
    """Refuse a `torch.autograd.Function` whose backward pass Dynamo forgets.

    It does under vmap and jvp, and where it finds nothing that needs a gradient among
    the arguments: it then differentiates what the function computes with other things.
    """
    from torch._dynamo.variables import TensorVariable, VariableTracker
    from torch._dynamo.variables.misc import AutogradFunctionVariable
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

    kind: Any = AutogradFunctionVariable
    before = kind.call_apply

    def needs_gradient(value: Any) -> bool:
        found: list[Any] = []
        VariableTracker.visit(found.append, value)
        return any(isinstance(each, TensorVariable) and each.requires_grad for each in found)

    def call_apply(function: Any, tx: Any, *given: Any) -> Any:
        levels = {level.key().name for level in retrieve_all_functorch_interpreters()}
        if torch.is_grad_enabled() and not levels.isdisjoint(("Vmap", "Jvp")):
            raise CannotCapture(
                f"{function.fn_cls.__name__}, a torch.autograd.Function, is under torch.func's vmap"
                f" or jvp, where PyTorch's capture forgets its backward pass; apply it outside of"
                f" these, or write what it computes with operators"
            )
        found = before(function, tx, *given)
        if torch.is_grad_enabled() and needs_gradient(found) and not needs_gradient(given):
            raise CannotCapture(
                f"{function.fn_cls.__name__}, a torch.autograd.Function, is given no tensor that"
                f" needs a gradient, and computes with others that do, which eager PyTorch leaves"
                f" without one; give them as arguments, or detach them in its forward"
            )
        return found

    kind.call_apply = call_apply
    try:
        yield
    finally:
        kind.call_apply = before


#: Loggers that speak of what is said by exceptions, too, and of the loggers' functions in
#: `_SETTINGS`, which can't be written down (2.11).
_TALKATIVE = ("torch._subclasses.fake_tensor", "torch._dynamo.metrics_context", "torch._guards")


@contextmanager
def quietly() -> Iterator[None]:
    """Leave the random states as they were, and say nothing of what tracing looks at."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    were_disabled = [logger.disabled for logger in loggers]
    with (
        torch.random.fork_rng(devices=list(devices)),
        warnings.catch_warnings(action="ignore"),
    ):
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, was_disabled in zip(loggers, were_disabled):
                logger.disabled = was_disabled


@contextmanager
def tracing_steps(counters: Collection[str]) -> Iterator[None]:
    """Have Dynamo trace a step as it has to be traced.

    Parameters
    ----------
    counters
        Expressions of its arguments: whole numbers that may be others at each step.
    """
    from torch._dynamo import config

    settings = _SETTINGS | {"ignore_logging_functions": _logging_functions()}
    if hasattr(config, "trace_autograd_ops"):  # derivatives that the code itself asks for
        settings["trace_autograd_ops"] = True
    patched: Any = config.patch(settings)
    compiler: Any = torch.compiler.config
    counted = compiler.patch(dynamic_sources=",".join(map(re.escape, counters)))
    with (
        quietly(),
        _distributions_unchecked(),
        _deques_bounded(),
        _functions_whole(),
        patched,
        counted,
    ):
        yield

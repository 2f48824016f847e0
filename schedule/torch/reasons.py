"""Why PyTorch couldn't capture a step, in terms of the code that it was about to capture."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

import schedule

#: Code in there isn't the caller's.
_OTHERS = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, schedule))
_MOST_LETTERS = 400
_WAY = "the model itself is unchanged and trains as before"


def reason(error: BaseException) -> str:
    """What is wrong, where in the caller's code, and what to do; PyTorch's own text at the worst.

    PyTorch's tracer wraps what code raises, and notes which lines it had come to.
    """
    place = _place(error)
    raised = _raised(error)
    if raised:
        return (
            f"the training step fails{place}: {raised}; the model and its loss fail on these"
            " arguments without a plan, too: call them by themselves to see where"
        )
    stranger = _stranger(error)
    if stranger:
        function = "a function of PyTorch" if place else "the loss"
        return (
            f"{function} is given an object of class {stranger}{place},"
            " which is no tensor: give it what is in there, as in"
            " loss=lambda output, target: loss(output.logits, target)"
        )
    said = _said(error)
    if "set_ on a graph input" in said:
        said = (
            "a parameter or buffer is given other memory (x.data = …); change its content instead"
            " (x.data.mul_(…).add_(…), x.copy_(…))"
        )
    if "Boolean value of Tensor with more than one value" in said:
        said = (
            "a NumPy array is read from outside, which PyTorch can't watch;"
            " make a tensor of it beforehand (torch.from_numpy(…)), or a buffer"
        )
    if "deque with limited maxlen" in said:
        said = (
            "a deque with maxlen is changed, which PyTorch can't follow; use a list, and cut it"
            " (recent = [*recent, item][-n:])"
        )
    return f"PyTorch can't capture the training step{place}: {said}; {_WAY}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is each for each in found):
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return iter(found)


def _is_tracers(error: BaseException) -> bool:
    return type(error).__module__.startswith("torch._dynamo")


def _raised(error: BaseException) -> str:
    """What the traced code raised; empty: it didn't, as far as PyTorch says."""
    is_call = False
    for each in _chain(error):
        if _is_tracers(each):
            seen = re.fullmatch(r"raised exception (\w+)\((.*)\)", str(each), re.DOTALL)
            if seen and type(each).__name__.startswith("Observed"):
                return _shortened(f"{seen[1]}: {_plain(seen[2])}")
            is_call |= "when making fake tensor call" in str(each)
        elif is_call:
            return _shortened(f"{type(each).__name__}: {each}")
    return ""


def _plain(argument: str) -> str:
    """The text that an exception was made with, without quotes where it is just that."""
    try:
        return str(ast.literal_eval(argument))
    except (SyntaxError, ValueError):
        return argument


def _stranger(error: BaseException) -> str:
    """The class of what an operator was given in the place of a tensor; empty: it wasn't."""
    if getattr(error, "gb_type", None) != "Failed to convert args/kwargs to proxy":
        return ""
    seen = re.search(r"call_function args:.*?\b(?!Lazy)\w+Variable\((\w+)\)", str(error))
    return seen[1] if seen else ""


def _place(error: BaseException) -> str:
    """The innermost line of the caller's that PyTorch had come to, with its file."""
    for each in _chain(error):
        for frame in reversed(getattr(each, "real_stack", None) or []):
            if not frame.filename.startswith(_OTHERS):
                return f" at {_seen_from_here(frame.filename)}:{frame.lineno}"
    return ""


def _seen_from_here(file: str) -> str:
    here = os.getcwd() + os.sep
    return file.removeprefix(here)


def _said(error: BaseException) -> str:
    """What PyTorch says without its hints, which are about `torch.compile`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[1].startswith("Explanation:"):
        lines = [lines[0], lines[1].removeprefix("Explanation:").strip()]
        return _shortened(": ".join(filter(None, lines)))
    return _shortened(f"{type(error).__name__}: {' '.join(lines[:3])}")


def _shortened(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"

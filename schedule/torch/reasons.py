"""Why PyTorch couldn't capture a step, in terms of the code that it was about to capture."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import schedule

#: Code in there isn't the caller's.
_OTHERS = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, schedule))
_MOST_LETTERS = 400
_TOO_DEEP = "maximum recursion depth exceeded"
_WAY = "the model itself is unchanged and trains as before"


def reason(error: BaseException) -> str:
    """What is wrong, where in the caller's code, and what to do; PyTorch's own text at the worst.

    PyTorch's tracer wraps what code raises, and notes which lines it had come to.
    """
    place = _place(error)
    if any(isinstance(each, RecursionError) or _TOO_DEEP in str(each) for each in _chain(error)):
        return (
            f"the code goes deeper{place} than Python lets PyTorch follow it: capture takes several"
            f" calls for each of the model's; raise the limit of {sys.getrecursionlimit()} first"
            f" (sys.setrecursionlimit(10_000))"
        )
    raised = _raised(error)
    if "appears to not have been used in the graph" in raised:
        return (
            f"the training step fails{place}: {raised}. An argument that is given twice is two"
            " tensors in a step: differentiate with respect to the one that is used, in forward, or"
            " let forward return it"
        )
    if raised:
        return (
            f"the training step fails{place}: {raised}; the model and its loss fail on these"
            " arguments without a plan, too: call them by themselves to see where"
        )
    stranger = _stranger(error)
    if stranger == "Generator":
        return (
            f"random numbers are drawn from a generator of their own{place}, which PyTorch can't"
            " follow; draw them outside of forward and give them as an argument, or draw from"
            " PyTorch's own generator (torch.manual_seed)"
        )
    if stranger:
        function = "a function of PyTorch" if place else "the loss"
        return (
            f"{function} is given an object of class {stranger}{place},"
            " which is no tensor: give it what is in there, as in"
            " loss=lambda output, target: loss(output.logits, target)"
        )
    known = (said for pattern, said in _KNOWN if re.search(pattern, str(error)))
    said = next(known, None) or _said(error)
    return f"PyTorch can't capture the training step{place}: {said}; {_WAY}"


#: By what PyTorch says: what it means, and the way out.
_KNOWN = (
    (
        "set_ on a graph input",
        (
            "a parameter or buffer is given other memory (x.data = …); change its content instead"
            " (x.data.mul_(…).add_(…), x.copy_(…))"
        ),
    ),
    (
        "Boolean value of Tensor with more than one value",
        (
            "a NumPy array is read from outside, which PyTorch can't watch;"
            " make a tensor of it beforehand (torch.from_numpy(…)), or a buffer"
        ),
    ),
    (
        "deque with limited maxlen",
        (
            "a deque with maxlen is changed, which PyTorch can't follow; use a list, and cut it"
            " (recent = [*recent, item][-n:])"
        ),
    ),
    (
        r"requires_grad_\(\) called on it|Tensor\.requires_grad|with requires_grad=True",
        (
            "a tensor is made to need a gradient in forward, which PyTorch can't follow; give"
            " forward one that needs it already (x.requires_grad_() before the step), or take"
            " derivatives by torch.func.grad or torch.func.vjp"
        ),
    ),
    (
        "builtin operator `print`",
        "print in forward can't be followed; leave it out, or use a logger",
    ),
    (
        "Module-level backwards hooks",
        (
            "a part of the model has hooks for the backward pass; hooks on the model itself and on"
            " parameters can be kept"
        ),
    ),
    (
        r"Tensor\.retain_grad",
        (
            "retain_grad() is called in forward, and gradients inside of a step aren't kept;"
            " use the model itself, unplanned, to look at them"
        ),
    ),
    (
        "`pack_padded_sequence`",
        (
            "packed sequences have sizes that depend on data; give recurrent layers padded ones,"
            " and mask what they return"
        ),
    ),
    (
        "`checkpoint_sequential`",
        "checkpoint_sequential can't be followed; leave it out: the plan recomputes what it must",
    ),
    (
        r"(?s)Could not guard on data-dependent.*F\.batch_norm",
        "batch norm with momentum=None depends on how many batches it has seen; give it a momentum",
    ),
    (
        r"^(Consider .{,60})?Could not guard on data-dependent|^Data-dependent branching",
        (
            "what is done depends on the content of tensors (an if, a loop, a size); compute both"
            " ways and choose (torch.where), take masks as factors, or decide outside of forward"
            " and give it as an argument"
        ),
    ),
    (
        "HOP: Unsafe side effect",
        (
            "something outside (a list, an attribute) is changed by a hook on a tensor, by a"
            " torch.autograd.Function, or in torch.utils.checkpoint, where PyTorch can't follow;"
            " leave it out, or look at gradients with the model itself, unplanned"
        ),
    ),
    (
        r"enter a `R?[Ll]ock`|builtin operator `min` with argument types \['generator'\]",
        (
            "something is looked up that is noted at the first call (transformers' hooks on"
            " outputs, kl_divergence, functools.cached_property), which PyTorch can't follow; call"
            " the model and its loss once beforehand, under torch.no_grad()"
        ),
    ),
    (
        r"torch\.jit\.script/freeze modules",
        "a part of the model comes from torch.jit.script; use the module that it was made from",
    ),
    (
        r"`torch\.compiler\.disable\(\)`d",
        (
            "a function is kept from being captured (torch.compiler.disable); capture it, too, or"
            " let torch.compile(model, backend='schedule') plan what lies around it"
        ),
    ),
    (
        "torch/ao/quantization",
        (
            "parts of torch.ao.quantization look at values while they run (observers, fake"
            " quantization); let torch.compile(model, backend='schedule') plan what lies between"
        ),
    ),
    (
        r"`(save_on_cpu|saved_tensors_hooks)\.__init__`",
        (
            "hooks on saved tensors are set in forward, and a planned step saves nothing by way of"
            " them; leave them out: its plan says what is kept, recomputed, or copied to a host"
        ),
    ),
    (
        r"builtin `time\.|builtin operator `open`|class `ContextVar`|op returned non-Tensor",
        (
            "something is read that is no tensor, and that PyTorch can't watch (a clock, a file, a"
            " ContextVar, a seed); read it outside of forward, and give it as an argument or an"
            " attribute"
        ),
    ),
    (
        r"does not support next\(\) on",
        (
            "an iterator goes on in forward (next(…)), which PyTorch can't follow; keep a list and"
            " a counter, or draw from it outside of forward and give that as an argument"
        ),
    ),
    (
        r"Random\.\w+\.`|use_numpy_random_stream|of class `Generator`",
        (
            "random numbers are drawn that aren't torch's; use torch's, or draw outside of forward"
            " and give them as an argument"
        ),
    ),
    (
        r"aten\._ctc_loss",
        (
            "what ctc_loss keeps has a size that depends on data; let"
            " torch.compile(model, backend='schedule') plan the model alone, and compute it outside"
        ),
    ),
    (
        "wrap sparse Tensor",
        "sparse tensors can't be followed; give dense ones, or indices (index_add, scatter_add)",
    ),
)


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

"""Models composed at random, and trials of them: planned steps beside eager ones.

A `Description` says all of a model in a line; `str` and `Description.parse` are inverses.
The comparison here knows nothing of `schedule.torch.check`.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field, fields, replace
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

import schedule
import schedule.torch
from schedule.torch import backend as backends
from tests.torch import generated_state  # noqa: F401 - it registers its parts
from tests.torch.generated_functions import PARTS, Pick
from tests.torch.generated_layers import WORDS
from tests.torch.training_models import Live

ROWS, WIDTHS, DEPTHS = (2, 3, 4, 6), (4, 8, 16), (2, 8)
#: What the model returns, and what of it is differentiated.
ENDINGS = (
    "loss",
    "tensor",
    "classes",
    "dict",
    "nested",
    "two",
    "both",
    "views",
    "object",
    "detached",
)
KINDS = ("float64", "float32")
#: When the two float arguments are one tensor.
ONE = ("never", "always", "first")
SEEDS = 10_000
STEPS = 2
#: Bytes of the gradient of 1 that a backward pass begins with, and others as small.
SCALARS = 64
#: How far values may lie apart, as a share of the largest of them.
CLOSE = {"float64": 1e-7, "float32": 1e-3}


@dataclass(frozen=True)
class Description:
    """All of a model and its batches."""

    parts: tuple[str, ...]
    rows: int = ROWS[0]
    width: int = WIDTHS[0]
    ending: str = ENDINGS[0]
    kind: str = KINDS[0]
    one: str = ONE[0]
    wanted: int = 0  # whether the first argument is to have a gradient

    def __str__(self):
        rest = [f"{item.name}={getattr(self, item.name)}" for item in fields(self)[1:]]
        return " ".join([*self.parts, *rest])

    @classmethod
    def parse(cls, line):
        words = line.split()
        given = dict(word.split("=") for word in words if "=" in word)
        numbers = {key: int(given.pop(key)) for key in ("rows", "width", "wanted") if key in given}
        return cls(tuple(word for word in words if "=" not in word), **numbers, **given)

    @classmethod
    def drawn(cls, seed):
        """Another one for each seed."""
        draw = random.Random(seed)
        parts = [
            f"{draw.choice(sorted(PARTS))}:{draw.randrange(SEEDS)}"
            for _ in range(draw.randint(*DEPTHS))
        ]
        choices = (ROWS, WIDTHS, ENDINGS, KINDS, ONE, (0, 1))
        return cls(tuple(parts), *map(draw.choice, choices))

    @property
    def dtype(self):
        return getattr(torch, self.kind)

    def model(self):
        """Made anew, the same each time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Generated(self).to(self.dtype).train()

    def batch(self, step):
        """Arguments of a step, and the targets."""
        draw = torch.Generator().manual_seed(1 + step)
        shape = self.rows, self.width
        x = torch.randn(shape, generator=draw, dtype=self.dtype)
        other = torch.randn(shape, generator=draw, dtype=self.dtype)
        ids = torch.randint(0, WORDS, (self.rows, 3), generator=draw)
        labels = torch.randint(0, self.width, (self.rows,), generator=draw)
        wanted = torch.randn(shape, generator=draw, dtype=self.dtype)
        x.requires_grad_(bool(self.wanted))
        if self.one == "always" or (self.one == "first" and step == 0):
            # another argument's need of a gradient is a part of the step
            other = x.detach() if self.wanted and self.one == "first" else x
        targets = {"tensor": (wanted,), "classes": (labels,)}.get(self.ending, ())
        return (x, other, ids), targets

    @property
    def loss(self):
        return {"tensor": functional.mse_loss, "classes": Crossed()}.get(self.ending)

    def shorter(self):
        """Descriptions that say less, the shortest first."""
        for at in range(len(self.parts)):
            yield replace(self, parts=self.parts[:at] + self.parts[at + 1 :])
        for item in fields(self)[1:]:
            if getattr(self, item.name) != item.default:
                yield replace(self, **{item.name: item.default})


class Crossed(nn.Module):
    """A loss that is a module."""

    def forward(self, output, labels):
        return functional.cross_entropy(output[0], labels) + 0.1 * sum(output[1])


class Found:
    """What a model returns by attributes, as no tree that PyTorch knows."""

    def __init__(self, loss, last):
        self.loss, self.last = loss, last


class Generated(nn.Module):
    """The model of a description."""

    def __init__(self, said):
        super().__init__()
        made = (word.split(":") for word in said.parts)
        self.parts = nn.ModuleList(PARTS[name](Pick(int(seed)), said.width) for name, seed in made)
        self.head = nn.Linear(said.width, said.width)
        self.ending = said.ending

    def forward(self, x, other, ids):
        world = {"other": other, "ids": ids, "seen": [x], "losses": [], "outputs": [], "late": []}
        for part in self.parts:
            x = part(x, world)
            world["seen"].append(x)
        last = self.head(x)
        for read in world["late"]:
            last = last + read
        more, outputs, ending = world["losses"], world["outputs"], self.ending
        if ending == "tensor":
            return last + sum(more)
        if ending == "classes":
            return last, [loss.mean() for loss in more]
        loss = last.square().mean() + sum(more)
        if ending == "dict":
            return {"loss": loss, "logits": last, "outputs": outputs}
        if ending == "nested":
            return loss, [x, {"view": last[0], "ids": ids, "flat": last.view(-1)}, outputs], None
        if ending == "two":
            return loss, last.abs().mean(), outputs
        if ending == "both":
            return {"loss": loss, "other": torch.tanh(last), "outputs": outputs}
        if ending == "views":
            return loss, x, x.t(), x[0], other, other.t(), last.t()
        if ending == "detached":
            return loss, last.detach(), last.t()
        if ending == "object":
            return Found(loss, last)
        return loss


def differentiated(output, ending):
    """In the ways of training loops: tensors, each with its gradient, or None for a loss."""
    if isinstance(output, torch.Tensor):
        return [(output, None)]
    if ending == "two":
        return [(output[0], None), (output[1], torch.full_like(output[1], 2.0))]
    if ending == "both":
        return [(output["loss"], None), (output["other"], torch.full_like(output["other"], 0.1))]
    if ending in ("views", "detached"):
        return [(output[0], None), (output[-1], torch.full_like(output[-1], 0.1))]
    if ending == "object":
        return [(output.loss, None)]
    return [(output["loss"] if isinstance(output, dict) else output[0], None)]


def frozen(value):
    """The same as values that nobody changes any more."""
    if isinstance(value, Found):
        value = vars(value)
    return tree_map(
        lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf, value
    )


def attributes(model):
    """Plain attributes of all modules: numbers, lists, dictionaries and tensors."""
    kinds = (int, float, str, list, dict, torch.Tensor, type(None))
    return {
        f"{name}.{key}": frozen(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, kinds) and not key.startswith("_")
    }


def step_of(run, model, said, step, *, tracked=False):
    """One step: all that it returns and leaves, and the peak; then an update of the parameters."""
    args, targets = said.batch(step)
    for parameter in model.parameters():
        parameter.grad = None
    torch.manual_seed(100 + step)
    live = Live([*model.parameters(), *model.buffers(), *args, *targets])
    with live if tracked else contextlib.nullcontext():
        output = run(*args, *targets)
        ends = differentiated(output, said.ending)
        torch.autograd.backward([root for root, _ in ends], [gradient for _, gradient in ends])
    found = {
        "output": frozen(output),
        "gradient": {name: frozen(p.grad) for name, p in model.named_parameters()},
        "gradient of x": frozen(args[0].grad),
        "argument": frozen([*args, *targets]),
        "parameter": {name: frozen(p) for name, p in model.named_parameters()},
        "buffer": {name: frozen(b) for name, b in model.named_buffers()},
        "attribute": attributes(model),
        "random state": torch.get_rng_state(),
        "requires grad": [
            leaf.requires_grad for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)
        ],
    }
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    # who gives gradients holds them to the end of the backward pass
    held = sum(gradient.nbytes for _, gradient in ends if gradient is not None)
    return found, live.peak - held


def eager_steps(said):
    """What the model does by itself; raises whatever it raises."""
    model, loss = said.model(), said.loss

    def run(*given):
        output = model(*given[:3])
        return output if loss is None else loss(output, *given[3:])

    return [step_of(run, model, said, step)[0] for step in range(STEPS)]


def apart(wanted, found, close):
    """In words, the first thing that differs; empty where nothing does."""
    for kind, value in wanted.items():
        its = found[kind]
        mine, tree = tree_flatten(value)
        others, shape = tree_flatten(its)
        if tree != shape:
            return f"{kind}: {shape}, eager {tree}"
        names = list(value) if isinstance(value, dict) and len(value) == len(mine) else range(10**6)
        for name, one, other in zip(names, mine, others):
            how = leaf_apart(one, other, close)
            if how:
                return f"{kind} {name}: {how}"
    return ""


def leaf_apart(one, other, close):
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        same = type(one) is type(other) and (not isinstance(one, (int, str)) or one == other)
        return "" if same else f"{str(other)[:40]}, eager {str(one)[:40]}"
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return f"{other.dtype} {tuple(other.shape)}, eager {one.dtype} {tuple(one.shape)}"
    if one.dtype is torch.bool or not one.is_floating_point():
        return "" if torch.equal(one, other) else f"{int((one != other).sum())} elements differ"
    scale = float(one.abs().nan_to_num(posinf=0).max()) if one.numel() else 0.0
    if torch.allclose(one, other, rtol=close, atol=close * scale + 1e-9, equal_nan=True):
        return ""
    return f"off by {float((one - other).abs().max()):.2g}, where eager has up to {scale:.2g}"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    `equal`, `refused`, `late` (refused in a step), `wrong` values, a `peak` above the promise,
    or `broken` by an error that isn't the package's own.
    """

    status: str
    why: str = ""
    way: str = ""
    graph: schedule.Graph | None = field(default=None, repr=False)  # of the planned step

    @property
    def is_right(self):
        return self.status in ("equal", "refused")

    def __str__(self):
        return f"{self.status} by {self.way}: {self.why}" if self.why else self.status


def trial(said, wanted, share=None, *, compiled=False, graph=None):
    """Plan a model, run its steps, and compare.

    `wanted` is what eager steps gave. `share` of the way from the least peak known to the
    unplanned one is the budget, with `greedy`; None: no budget, and all that may be is made
    again. `graph` is what a trial before had, and spares a capture.
    """
    way = f"{'backend ' if compiled else ''}{'recompute_all' if share is None else f'{share:.2f}'}"
    with torch.random.fork_rng():
        try:
            return _tried(said, wanted, share, compiled, way, graph)
        except Exception as error:  # noqa: BLE001 - whatever it is, it isn't the package's own
            return Outcome("broken", f"{type(error).__name__}: {_first(error)}", way)


def _first(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


def _own(error):
    """The package's own error, perhaps inside of what PyTorch makes of it."""
    while error is not None and not isinstance(error, schedule.ScheduleError):
        inner = getattr(error, "inner_exception", None)
        error = inner if inner is not None else error.__cause__
    return error


def _tried(said, wanted, share, compiled, way, graph):
    model = said.model()
    try:
        if compiled:
            run, promise = _compiled(said, model, share)
        else:
            run, promise = _planned(said, model, share, graph)
            graph = run.planned_step.graph
    except schedule.ScheduleError as error:
        return Outcome("refused", f"{type(error).__name__}: {_first(error)}", way)
    over = ""
    for step, expected in enumerate(wanted):
        compiles = compiled and step == 0  # which no tracker sees
        try:
            found, seen = step_of(run, model, said, step, tracked=not compiles)
        except Exception as error:
            own = _own(error)
            if own is None:
                raise
            first = "refused" if compiles else "late"
            return Outcome(first, f"{type(own).__name__}: {_first(own)}", way)
        how = apart(expected, found, CLOSE[said.kind])
        if how:
            return Outcome("wrong", f"step {step}: {how}", way)
        peak = None if compiles else promise(step)
        if peak is not None and seen > peak + SCALARS:
            over = over or f"step {step}: {seen} bytes, promised {peak}"
    return Outcome("peak" if over else "equal", over, way, graph)


def _planned(said, model, share, graph):
    """The planned module, and what it promises."""
    args, targets = said.batch(0)
    options = {"loss": said.loss, "targets": targets, "gradients": "all"}
    if share is None:
        module = schedule.torch.plan(model, args, solver="recompute_all", **options)
    else:
        graph = graph or schedule.torch.capture(model, args, **options)
        most = schedule.solve(graph, solver="store_all").peak
        least = schedule.solve(graph, solver="recompute_all").peak
        tried = schedule.solve(graph, round(least + share * (most - least)), "greedy")
        budget = tried.budget if tried.shortfall is None else tried.shortfall.least_peak
        module = schedule.torch.plan(model, args, budget, solver="greedy", **options)
    planned = module.planned_step

    def promise(step):
        if module.planned_step is not planned:
            return None  # planned anew in this step, which takes memory of its own
        given = dict(enumerate([*said.batch(step)[0], *said.batch(step)[1]]))
        labels = {item.name for item in planned.graph.inputs}
        used = {id(t): t for at, t in given.items() if f"argument {at}" in labels}
        # there, but not in the promise: arguments that the step doesn't use …
        rest = sum(t.nbytes for t in given.values() if id(t) not in used)
        if said.one == "first" and step > 0:
            rest += sum(t.nbytes for t in used.values())  # … and what was one tensor when planned
        return planned.result.peak + rest

    return module, promise


def _compiled(said, model, share):
    """The compiled model with its loss, and what is promised where there is one graph."""
    torch._dynamo.reset()
    options = {"solver": "recompute_all", "gradients": "all"}
    if share is not None:
        options |= {"solver": "greedy", "budget": f"{85 + 15 * share:.0f}%"}
    module = torch.compile(
        WithLoss(model, said.loss), backend="schedule", dynamic=False, options=options
    )
    made = []

    def noted(*of, **how):
        made.append(kind(*of, **how))
        return made[-1]

    kind = backends.PlannedStep

    def run(*given):
        with mock.patch.object(backends, "PlannedStep", noted):
            return module(*given)

    def promise(step):
        if len(made) != 1:
            return None
        args, targets = said.batch(step)
        known = [*model.parameters(), *model.buffers(), *args, *targets]
        sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in known}
        rest = sum(sizes.values()) - sum(item.memory for item in made[0].graph.inputs)
        return made[0].result.peak + rest

    return run, promise


class WithLoss(nn.Module):
    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x, other, ids, *targets):
        output = self.model(x, other, ids)
        return output if self.loss is None else self.loss(output, *targets)


def reduced(said, fails):
    """The shortest description that still fails, found one omission at a time."""
    again = True
    while again:
        again = False
        for shorter in said.shorter():
            if fails(shorter):
                said, again = shorter, True
                break
    return said

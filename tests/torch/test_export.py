"""Plans that `torch.utils.checkpoint` executes: what is simulated is what happens."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import re
from dataclasses import replace
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.errors import (  # noqa: E402
    BadInput,
    BadOption,
    BadSchedule,
    CannotCapture,
    DoesNotFit,
    OtherStep,
    WrongGraph,
)
from schedule.lowering import in_order  # noqa: E402
from schedule.solvers.contract import Deadline  # noqa: E402
from schedule.torch.choosing import Choices, Chooser  # noqa: E402
from schedule.torch.regions import anatomy_of, as_eager  # noqa: E402
from schedule.torch.unrolling import unrolled  # noqa: E402
from tests.formats import FILES_ARE_CHECKED  # noqa: E402
from tests.torch.training_models import Case, Live  # noqa: E402

pytestmark = [FILES_ARE_CHECKED, pytest.mark.usefixtures("one_thread")]


class Block(nn.Module):
    """Its last operation but one saves its own result; its input is used to the end."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.wide = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x):
        return x + torch.tanh(self.narrow(functional.gelu(self.wide(self.norm(x)))))


class Tower(nn.Module):
    """Blocks between two linear layers; the first block may run twice."""

    def __init__(self, blocks=3, width=8, again=False):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, 1)
        self.again = again

    def forward(self, x):
        here = self.first(x)
        for block in [*self.blocks, self.blocks[0]] if self.again else self.blocks:
            here = block(here)
        return self.head(here)


class Untidy(nn.Module):
    """What checkpointing finds hard: batch norm, dropout, changes in place, a counter."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(self.part(6) for _ in range(2))
        self.head = nn.Linear(6, 1)

    @staticmethod
    def part(width):
        return nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
        )

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return self.head(x)


def summed(output):
    return output.square().sum()


def case_of(make, rows=32, width=4):
    torch.manual_seed(0)
    return Case(make, (torch.randn(rows, width),), loss=summed)


def words(name, **sizes):
    """A model of transformers, without dropout, that returns its loss."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    batch = {k: torch.randint(1, 30, (2, 16)) for k in ("input_ids", "labels")}

    def make():
        kind = getattr(transformers, name)
        tokens = {"vocab_size": 30, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        model = kind(kind.config_class(use_cache=False, **tokens, **sizes)).train()
        for at, part in list(model.named_modules()):
            if isinstance(part, nn.Dropout):  # which is captured as a copy where it drops nothing
                still = nn.Identity()
                still.p = 0.0
                model.set_submodule(at, still)
        return model

    return Case(make, kwargs=batch, total=lambda output: output["loss"])


def gpt2(layers=3):
    return words("GPT2LMHeadModel", n_layer=layers, n_embd=16, n_head=2, attn_pdrop=0.0)


def llama():
    return words(
        "LlamaForCausalLM",
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
    )


CASES = {
    "tower": partial(case_of, Tower),
    "twice": partial(case_of, partial(Tower, again=True)),
    "llama": llama,
}


def planned_of(case, model, share, **options):
    """Planned at unit costs: then compute counts operators."""
    return schedule.torch.plan(
        model, case.example(), share, loss=case.loss, solver="greedy", costs="unit", **options
    )


class Counted(TorchDispatchMode):
    """How many operators make something: neither views nor what is changed in place."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        found = call(*args, **(kwargs or {}))
        storages = [
            {id(t.untyped_storage()) for t in tree_leaves(part) if isinstance(t, torch.Tensor)}
            for part in ((args, kwargs), found)
        ]
        self.n += not storages[1] <= storages[0]
        return found


def run(case, model):
    """A step's loss; of the model's output only what the model returns with its loss is held."""
    if case.loss is None:
        return case.run(model)
    return case.run(lambda *args: case.loss(model(*args)))


def measured(case, model):
    """Peak, number of operators, loss and gradients of a step of eager PyTorch."""
    model.zero_grad(set_to_none=True)
    with Counted() as counted, Live(case.tensors(model)) as live:
        loss = run(case, model)
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return live.peak, counted.n, [loss, *gradients]


def same(ones, others):
    return all(
        (one is None and other is None) or torch.equal(one, other)
        for one, other in zip(ones, others, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_what_is_simulated_is_what_happens(name):
    """Peak, operators run again, gradients; keeping more never costs compute."""
    case = CASES[name]()
    model = case.model()
    _, plain, expected = measured(case, model)
    planned = planned_of(case, model, "80%")
    step = planned.planned_step
    found = {to: schedule.torch.export(planned, to) for to in ("modules", "selective")}
    for export in found.values():
        assert export.modules
        assert export.peak <= export.budget == step.result.budget
        with export.apply(model):
            peak, operators, values = measured(case, model)
        assert same(values, expected)
        assert operators - plain == export.compute - export.plain_compute > 0
        if name == "llama":  # which makes masks that it can't look at
            assert peak <= export.peak <= 1.03 * peak
        else:
            assert export.is_best
            assert peak == export.peak
        assert export.loss == pytest.approx(
            (export.compute - step.result.compute) / step.graph.compute
        )
    assert found["selective"].compute <= found["modules"].compute
    assert any(module.eager for module in found["selective"].modules.values())
    assert same(measured(case, model)[2], expected)
    assert measured(case, model)[1] == plain


class Doubled(torch.autograd.Function):
    """Saves what it makes before it has made its result."""

    @staticmethod
    def forward(ctx, x):
        here = torch.sigmoid(x) * 2
        ctx.save_for_backward(here)
        return here + 1

    @staticmethod
    def backward(ctx, gradient):
        (here,) = ctx.saved_tensors
        return gradient * here * (1 - here / 2)


class Written(Block):
    """Ends with a derivative of its own."""

    def forward(self, x):
        return Doubled.apply(self.narrow(torch.tanh(self.wide(x))))


def test_a_function_of_autograd_runs_again_as_a_whole():
    """Its backward pass is code of the module, of which PyTorch notes another number."""
    torch.manual_seed(0)
    model = nn.Sequential(*(Written(16) for _ in range(4)), nn.Linear(16, 4))
    case = Case(lambda: model, (torch.randn(96, 16),), loss=summed)
    _, plain, expected = measured(case, model)
    for to in ("modules", "selective"):
        export = schedule.torch.export(planned_of(case, model, "100%"), to)
        assert export.modules
        with export.apply(model):
            peak, operators, values = measured(case, model)
        assert same(values, expected)
        assert operators - plain == export.compute - export.plain_compute > 0
        assert peak == export.peak


@pytest.mark.parametrize("is_cast", [False, True])
def test_a_step_in_evaluation_mode_or_under_autocast_keeps_to_the_budget(tmp_path, is_cast):
    """What is trained in evaluation mode runs again; what autocast keeps of parameters counts."""
    torch.manual_seed(0)
    model = Tower(blocks=6, width=16)
    x = torch.randn(40, 4)
    if not is_cast:
        model.eval()

    def step():
        model.zero_grad(set_to_none=True)
        with Counted() as counted, Live([*model.parameters(), x]) as live:
            with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
                loss = summed(model(x))
            loss.backward()
        return live.peak, counted.n, [loss.detach(), *(p.grad for p in model.parameters())]

    plain = step()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
        planned = schedule.torch.plan(
            model, x, "80%", loss=summed, solver="greedy", costs="unit", show_progress=False
        )
    first = {"first": ["blocks.0", "blocks.1", "blocks.2"]}  # the peak is in the forward pass
    for to in ("modules", "selective"):
        export = schedule.torch.export(planned, to, among=first)
        export.save(tmp_path / "export.json")
        with schedule.torch.read_checkpointing(tmp_path / "export.json").apply(model):
            peak, operators, values = step()
        assert operators - plain[1] == export.compute - export.plain_compute > 0
        assert same(values, plain[2])
        assert abs(peak - export.peak) <= 0.005 * peak  # callers hold outputs until they are cast
        assert export.peak <= export.budget < plain[0]


@pytest.mark.parametrize("again", [False, True])
def test_the_choice_is_the_best_of_all(again):
    """Each choice's memory is that of the graph that runs; cheapest and least are brute force's."""
    case = case_of(partial(Tower, blocks=4, again=again))
    model = case.model()
    planned = planned_of(case, model, None)
    program = as_eager(planned.planned_step.program)
    names = [f"blocks.{at}" for at in range(4)]
    anatomy = anatomy_of(program, {name: name for name in names})
    chooser = Chooser(anatomy, Choices(tuple(region.module for region in anatomy.regions)))
    every = {}
    for size in range(5):
        for chosen in itertools.combinations(names, size):
            wrapped = [at for at, r in enumerate(anatomy.regions) if r.module in chosen]
            graph = unrolled(anatomy, wrapped, [])
            every[frozenset(chosen)] = in_order(graph).peak, graph.compute
    least, choice = chooser.least(Deadline.after(20))
    assert least == min(peak for peak, _ in every.values()) == every[choice.wrapped][0]
    for budget in sorted({peak for peak, _ in every.values()}):
        choice = chooser.cheapest(budget, Deadline.after(20))
        fitting = [compute for peak, compute in every.values() if peak <= budget]
        assert choice.is_best
        assert every[choice.wrapped][0] <= budget
        assert every[choice.wrapped][1] == min(fitting)
    assert chooser.cheapest(least - 1, Deadline.after(20)) is None


@pytest.mark.parametrize("to", ["modules", "selective"])
def test_dropout_batch_norm_and_changes_in_place(to):
    """Gradients, buffers and random state are the model's own, in eager PyTorch and compiled."""
    torch._dynamo.reset()
    case = case_of(Untidy, width=6)
    model, own = case.model(), case.model()
    export = schedule.torch.export(planned_of(case, model, "80%"), to)
    assert any(module.changed for module in export.modules.values())
    for backend in (None, "aot_eager"):
        steps = [
            each if backend is None else torch.compile(each, backend=backend, fullgraph=True)
            for each in (own, model)
        ]
        expected = run(case, steps[0]), torch.get_rng_state()
        with export.apply(model):
            found = run(case, steps[1]), torch.get_rng_state()
        assert same(found, expected)
        assert same([p.grad for p in model.parameters()], [p.grad for p in own.parameters()])
        assert same(model.buffers(), own.buffers())


class Counting(nn.Module):
    """It assigns a buffer and numbers when it runs, and uses them."""

    def __init__(self):
        super().__init__()
        self.narrow, self.calls, self.times = nn.Linear(6, 6), 0, None
        self.register_buffer("seen", torch.ones(6))

    def forward(self, x):
        self.calls += 1
        self.seen = self.seen * 2
        self.times = self.calls
        return torch.tanh(self.narrow(torch.tanh(x * self.seen))) + self.times


def test_what_a_module_assigns_is_assigned_once():
    """Buffers and attributes are in the second run what they were, and then what they became."""
    case = case_of(lambda: nn.Sequential(*[Counting() for _ in range(3)]), width=6)
    model, own = case.model(), case.model()
    export = schedule.torch.export(planned_of(case, model, "85%"), "modules")
    assert export.modules
    with export.apply(model):
        for _ in range(2):
            assert same(measured(case, model)[2], measured(case, own)[2])
            assert same(model.buffers(), own.buffers())
            assert [(p.calls, p.times) for p in model] == [(p.calls, p.times) for p in own]


def test_compiled_it_keeps_to_the_split():
    """Under torch.compile no more is run again than said, and no more is live."""
    torch._dynamo.reset()
    case = case_of(Tower)
    model = case.model()
    expected = measured(case, model)[2]
    export = schedule.torch.export(planned_of(case, model, "80%"), "selective")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    _, plain, _ = compiled_step(case, model, compiled)
    with export.apply(model):
        peak, operators, values = compiled_step(case, model, compiled)
    assert same(values, expected)
    assert 0 < operators - plain <= export.compute - export.plain_compute
    assert peak <= export.peak + 64


def compiled_step(case, model, compiled):
    run(case, compiled)  # compiles
    model.zero_grad(set_to_none=True)
    with Steady() as counted, Live(case.tensors(model)) as live:
        loss = run(case, compiled)
    return live.peak, counted.n, [loss, *(p.grad.clone() for p in model.parameters())]


class Steady(Counted):
    """The same around what is compiled."""

    @classmethod
    def ignore_compile_internals(cls):
        return True


def test_a_file_is_what_was_saved(tmp_path):
    """Read back and applied to another object of the same make; spoilt files are refused."""
    case = case_of(Tower)
    model = case.model()
    expected = measured(case, model)[2]
    path = tmp_path / "checkpointing.json.gz"
    for to in ("selective", "modules"):
        export = schedule.torch.export(planned_of(case, model, "80%"), to)
        export.save(path)
        read = schedule.torch.read_checkpointing(path)
        assert read == export
        assert str(read) == str(export)
    other = case.model()
    with read.apply(other) as applied:
        assert applied.modules == tuple(read.modules)
        assert same(measured(case, other)[2], expected)
    data = read.to_json()
    for key, value in (
        ("format", "schedule/1"),
        ("to", "both"),
        ("to", "selective"),
        ("peak", -1),
        ("compute", float("nan")),
        ("best", 1),
        ("modules", {"blocks.0": 3}),
        ("modules", {"blocks.0": {"class": "Block", "changed": [], "eager": {}}}),
        (
            "modules",
            {"blocks.0": {"class": "Block", "changed": [], "eager": {"a": 1}, "compiled": {}}},
        ),
    ):
        (tmp_path / "spoilt.json").write_text(json.dumps(data | {key: value}))
        with pytest.raises(BadSchedule, match=r"spoilt\.json"):
            schedule.torch.read_checkpointing(tmp_path / "spoilt.json")


def is_plain(model):
    return not any("forward" in part.__dict__ for part in model.modules())


def test_another_model_is_refused_whole():
    """Names, classes and operators are looked at; nothing is wrapped, or all is, or none again."""
    case = case_of(Tower)
    model = case.model()
    planned = planned_of(case, model, "70%")
    export = schedule.torch.export(planned, "selective")
    last = list(export.modules)[-1]
    strange = case.model()
    strange.set_submodule(last, nn.Identity())
    counting = case.model()
    counting.blocks[0].norm.register_buffer("seen", torch.zeros(()))
    for other, why in (
        (Tower(blocks=1), r"has a module 'blocks\.\d'; this Tower has none"),
        (Tower(blocks=9), "has other modules"),
        (strange, "is a Block; here it is a Identity"),
        (counting, "or buffers"),
    ):
        with pytest.raises(WrongGraph, match=why):
            export.apply(other)
        assert is_plain(other)
    with pytest.raises(BadInput, match="give the model it was made from"):
        export.apply(planned)
    with pytest.raises(BadInput, match="has to be a torch"):
        export.apply(Tower)
    parts = {last: replace(export.modules[last], changed=("norm.seen",))}
    with pytest.raises(WrongGraph, match=r"has a buffer 'norm\.seen'; here it has none"):
        replace(export, modules=parts).apply(model)
    for operator in ("aten.none.default", "aten", ""):
        parts = {last: replace(export.modules[last], eager={operator: (1, (0,))})}
        with pytest.raises(BadInput, match="has no operator"):
            replace(export, modules=parts).apply(model)
    applied = export.apply(model)
    with pytest.raises(BadInput, match="wrapped already"):
        export.apply(model)
    own, model.get_submodule(last).forward = model.get_submodule(last).forward, len
    with pytest.raises(BadInput, match="was replaced after"):
        applied.remove()
    model.get_submodule(last).forward = own
    applied.remove()
    applied.remove()
    assert is_plain(model)


def test_a_module_that_runs_other_code_is_refused():
    """More or fewer calls of an operator of which some are kept are noticed in the forward pass."""
    case = case_of(Tower)
    model = case.model()
    export = schedule.torch.export(planned_of(case, model, "80%"), "selective")
    name = next(name for name, module in export.modules.items() if module.eager)
    operator = next(iter(export.modules[name].eager))
    own = model.get_submodule(name).forward
    with export.apply(model):
        for forward, why in ((lambda x: own(own(x)), "more than"), (torch.tanh, r"0 and not")):
            model.get_submodule(name).forward.own = forward
            with pytest.raises(OtherStep, match=f"{operator} {why}"):
                model(*case.args)
        model.get_submodule(name).forward.own = own
        with torch.no_grad():
            model(*case.args)


def test_what_cannot_be_exported_is_said():
    """One error each, before anything has run."""
    case = case_of(Tower)
    model = case.model()
    planned = planned_of(case, model, "90%")
    export = partial(schedule.torch.export, planned)
    with pytest.raises(BadOption, match="one of selective, modules"):
        export("megatron")
    with pytest.raises(BadInput, match=r"what schedule\.torch\.plan has returned"):
        schedule.torch.export(model, "modules")
    with pytest.raises(BadInput, match="has no budget"):
        schedule.torch.export(planned_of(case, model, None), "modules")
    with pytest.raises(BadInput, match=r"'blocks\.0\.wide' runs inside of 'blocks\.0'"):
        export("modules", among=["blocks.0", "blocks.0.wide"])
    with pytest.raises(BadInput, match="'body', which is no module"):
        export("modules", among=["body"])
    with pytest.raises(BadInput, match="has to be a list"):
        export("modules", among="blocks.0")
    with pytest.raises(BadInput, match="has to be a list"):
        export("modules", among=3)
    with pytest.raises(BadInput, match=r"among\['one'\] is '01'; it has to be a list"):
        export("modules", among={"one": "01"})
    with pytest.raises(BadInput, match=r"'blocks\.0' in 2 groups"):
        export("modules", among={"one": ["blocks.0"], "other": ["blocks.0"]})
    for empty, what in (([], "among"), ({"one": []}, r"among\['one'\]")):
        with pytest.raises(BadInput, match=f"{what} is empty"):
            export("modules", among=empty)
    with pytest.raises(BadOption, match="time_limit is 'soon'"):
        export("modules", time_limit="soon")
    with pytest.raises(DoesNotFit, match="no choice takes less than") as caught:
        export("modules", budget=1000)
    said = re.fullmatch(
        r".* keep to 1000: .* less than (\d+), by .* schedule takes \d+", str(caught.value)
    )
    assert said, f"sizes of one message have one unit: {caught.value}"
    least = int(said[1])
    assert export("modules", budget=least).peak == least
    with pytest.raises(DoesNotFit):
        export("modules", budget=least - 1)
    flat = nn.Linear(4, 1)
    with pytest.raises(BadInput, match="no lists or sequences"):
        schedule.torch.export(planned_of(case, flat, "100%"), "modules")
    with pytest.raises(BadInput, match="none of the modules"):
        export("modules").context_fn("head")


def test_an_operator_that_nobody_vouches_for_is_not_run_again():
    """Unless its user does."""
    with torch.library._scoped_library("exported", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        torch.library.register_autograd("exported::twice", lambda _, g: g * 2, lib=library)

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = nn.ModuleList([nn.Linear(4, 4), Twice()])

            def forward(self, x):
                return self.parts[1](self.parts[0](x)).tanh()

        class Twice(nn.Module):
            def forward(self, x):
                return torch.ops.exported.twice(x.exp()).sin()

        case = case_of(Own)
        with pytest.raises(BadInput, match=r"calls exported\.twice\.default, which may"):
            schedule.torch.export(planned_of(case, case.model(), "100%"), "modules")
        vouched = planned_of(case, case.model(), "100%", pure=["exported::twice"])
        assert schedule.torch.export(vouched, "modules", budget="120%").is_best


def test_groups_are_wrapped_as_a_whole():
    """All modules of a label, or none."""
    case = case_of(Tower)
    model = case.model()
    groups = {
        "outside": ["blocks.0", "blocks.2"],
        "norms": [f"blocks.{at}.norm" for at in (1,)],
    }
    planned = planned_of(case, model, "90%")
    export = schedule.torch.export(planned, "modules", among=groups)
    assert set(export.groups) <= set(groups)
    assert sorted(export.modules) == sorted(n for label in export.groups for n in groups[label])


def test_copies_train_by_themselves():
    """A copy of a wrapped model reads its own parameters."""
    case = case_of(Tower)
    model = case.model()
    export = schedule.torch.export(planned_of(case, model, "70%"), "selective")
    expected = measured(case, model)[2]
    with export.apply(model):
        others = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        for other in others:
            assert same(measured(case, other)[2], expected)


def test_loops_that_wrap_by_themselves():
    """`context_fn` is what `checkpoint` and `checkpoint_wrapper` take, as in torchtitan."""
    wrapper = pytest.importorskip("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    case = case_of(Tower)
    model = case.model()
    export = schedule.torch.export(planned_of(case, model, "80%"), "selective")
    with export.apply(model):
        applied = measured(case, model)
    name = next(name for name, module in export.modules.items() if module.eager)
    part = model.get_submodule(name)
    x = torch.randn(3, 8, requires_grad=True)
    found = checkpoint(part, x, use_reentrant=False, context_fn=export.context_fn(name))
    assert same(
        torch.autograd.grad(found.sum(), [x, *part.parameters()]),
        torch.autograd.grad(part(x).sum(), [x, *part.parameters()]),
    )
    for name in export.modules:
        model.set_submodule(
            name,
            wrapper.checkpoint_wrapper(
                model.get_submodule(name), context_fn=export.context_fn(name)
            ),
        )
    peak, operators, values = measured(case, model)
    assert (peak, operators) == applied[:2]
    assert same(values, applied[2])


@pytest.mark.parametrize("inside", [True, False])
def test_what_a_module_is_given_must_stay(inside):
    """Checkpointing would read it again; plain PyTorch doesn't, so that the model runs."""

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Linear(4, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = x.add_(1) if inside else x + 1
            return self.narrow(torch.tanh(self.wide(x)))

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(Part() for _ in range(3))

        def forward(self, x):
            for part in self.parts:
                x = x + 0
                made = part(x)
                x = (x * 2 if inside else x.mul_(2)) + made
            return x

    case = case_of(Own)
    planned = planned_of(case, case.model(), "100%")
    with pytest.raises(CannotCapture, match=r"module 'parts\.\d' is given what is changed"):
        schedule.torch.export(planned, "modules", budget="80%")
    assert not schedule.torch.export(planned, "modules", budget="120%").modules


def test_loops_that_wrap_by_themselves_are_told_of_buffers():
    """A `context_fn` can't put them back, so that they would change twice."""
    case = case_of(Untidy, width=6)
    model = case.model()
    export = schedule.torch.export(planned_of(case, model, "80%"), "selective")
    name = next(name for name, module in export.modules.items() if module.changed)
    with pytest.raises(BadInput, match=r"changes buffers .* wrap it by apply"):
        checkpoint(
            model.get_submodule(name),
            *case.example(),
            use_reentrant=False,
            context_fn=export.context_fn(name),
        )


def test_transformers_checkpoints_the_chosen_layers():
    """`enable` runs the same as `apply`; caches are refused, and so is what isn't a layer."""
    case = gpt2(layers=2)
    model = case.model()
    planned = planned_of(case, model, "86%")
    export = schedule.torch.export(planned, "modules")
    assert len(export.modules) == 1
    with export.apply(model):
        applied = measured(case, model)
    export.enable(model)
    enabled = measured(case, model)
    assert enabled[:2] == applied[:2]
    assert same(enabled[2], applied[2])
    with pytest.raises(BadInput, match="gradient checkpointing of its own"):
        export.apply(model)
    disable = getattr(model, "activation_checkpointing_disable", None)
    (disable or model.gradient_checkpointing_disable)()
    with export.apply(model), pytest.raises(OtherStep, match="use_cache=False"):
        model(**case.kwargs, use_cache=True)
    fine = schedule.torch.export(planned, "modules", among=["transformer.h.0.mlp"], budget="100%")
    if fine.modules:
        with pytest.raises(BadInput, match="is no layer that transformers can checkpoint"):
            fine.enable(model)
    with pytest.raises(BadInput, match="keeps nothing in a layer"):
        schedule.torch.export(planned, "selective").enable(model)
    made = {name: replace(module, training=False) for name, module in export.modules.items()}
    with pytest.raises(BadInput, match="planned in evaluation mode"):
        replace(export, modules=made).enable(model)


def test_a_model_that_changes_its_argument():
    """What a module would read again must be what it was."""

    class Changing(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Sequential(nn.Tanh(), nn.Linear(4, 4)), nn.Linear(4, 4)])

        def forward(self, x):
            here = self.parts[0](x)
            x.add_(1)
            return self.parts[1](here)

    case = case_of(Changing)
    with pytest.raises(CannotCapture, match="changes argument 0 in place"):
        schedule.torch.export(planned_of(case, case.model(), "100%"), "modules", budget=10**6)

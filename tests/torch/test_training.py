"""Planned training steps: the promised peak, and the gradients of the unplanned step."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule  # noqa: E402
import schedule.torch  # noqa: E402
from schedule.errors import (  # noqa: E402
    BackwardRefused,
    BadInput,
    CannotCapture,
    DoesNotFit,
    OtherStep,
    WrongGraph,
)
from schedule.lowering import in_order  # noqa: E402
from tests.formats import FILES_ARE_CHECKED  # noqa: E402
from tests.torch.training_models import Live, Normed, Odd, cases, perceptron  # noqa: E402

CASES = cases()
#: The scalar 1 that a backward pass starts from, as the loss's gradient, and its copy.
SCALARS = 16


pytestmark = [FILES_ARE_CHECKED, pytest.mark.usefixtures("one_thread")]


def planned(case, model, budget=None, **options):
    options = {"time_limit": 20} | options
    return schedule.torch.plan(
        model, case.example(), budget, loss=case.loss, targets=case.targets, **options
    )


def gradients(model):
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def same(left, right):
    return all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("budget", "solver"), [(None, "recompute_all"), ("88%", "greedy")])
def test_the_peak_is_the_promised_one_and_all_values_are_the_unplanned_ones(name, budget, solver):
    """Bits of loss, gradients, buffers and random state; live bytes by a tracker of its own."""
    case = CASES[name]
    plain = case.model()
    expected = case.run(planned(case, plain, solver="store_all"))
    state = torch.get_rng_state()
    model = case.model()
    module = planned(case, model, budget, solver=solver)
    promise = module.planned_step.result
    assert promise.overhead > 0
    with Live(case.tensors(model)) as live:
        found = case.run(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, expected)
    assert same(gradients(model), gradients(plain))
    assert same(list(model.buffers()), list(plain.buffers()))
    assert 0 <= live.peak - promise.peak <= SCALARS


@pytest.mark.parametrize("name", CASES)
def test_the_captured_step_is_the_models_own(name):
    """Against eager PyTorch, which may round otherwise: losses and gradients are close."""
    case = CASES[name]
    eager = case.model()
    torch.manual_seed(7)
    output = eager(*case.args, **case.kwargs)
    total = case.total(output if case.loss is None else case.loss(output, *case.targets))
    total.backward()
    model = case.model()
    found = case.run(planned(case, model, "95%", solver="greedy"))
    torch.testing.assert_close(found, total.detach())
    for mine, its in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
    for mine, its in zip(model.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_twenty_steps_of_training_lose_the_same(optimizer):
    """Planned and unplanned, each with its own parameters and optimizer, to the bit."""
    case = CASES["perceptron"]
    losses = []
    for options in ({"solver": "store_all"}, {"budget": "85%", "solver": "ilp"}):
        model = case.model()
        module = planned(case, model, **options)
        steps = optimizer(module.parameters(), lr=0.01)
        torch.manual_seed(3)
        seen = []
        for _ in range(20):
            steps.zero_grad()
            total = module(*case.args, *case.targets)
            total.backward()
            steps.step()
            seen.append(total.item())
        losses.append(seen)
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_autocast_is_captured_and_needed_again():
    """In bfloat16: the unplanned values, and no other step without autocast."""
    case = CASES["perceptron"]
    found = []
    for options in ({"solver": "store_all"}, {"budget": "90%", "solver": "greedy"}):
        model = case.model()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            module = planned(case, model, **options)
            total = case.run(module)
        found.append([total, *gradients(model)])
        with pytest.raises(OtherStep, match="autocast"):
            case.run(module)
    assert same(*found)
    tensors = module.planned_step.graph.tensors
    assert any("_to_copy" in name for name in tensors)


def test_the_planned_module_is_the_model_in_all_but_the_step():
    """Class, state, modes, inference, hooks, and gradients that add up."""
    case = CASES["normed"]
    model = case.model()
    calls = []
    model.register_forward_hook(lambda *_: calls.append("model"))
    module = planned(case, model, "90%", solver="greedy")
    assert isinstance(module, Normed)
    assert list(module.state_dict()) == list(model.state_dict())
    assert [id(p) for p in module.parameters()] == [id(p) for p in model.parameters()]
    case.run(module)
    assert calls == ["model"]
    once = gradients(model)
    model.load_state_dict(case.model().state_dict())
    case.run(module)
    assert same(gradients(model), [2 * g for g in once])
    module.eval()
    with torch.no_grad():
        loss = module(*case.args, *case.targets)
        assert torch.equal(loss, case.loss(model.eval()(*case.args), *case.targets))
    module.train()
    assert not torch.equal(module(*case.args, *case.targets), loss)


def test_a_step_leaves_nothing_behind():
    """Live bytes after a hundred steps are those after three, without the garbage collector."""
    case = CASES["attending"]
    model = case.model()
    module = planned(case, model, "90%", solver="greedy")
    gc.collect()
    gc.disable()
    try:
        with Live(case.tensors(model)) as live:
            seen = []
            for _ in range(100):
                case.run(module)
                seen.append(live.now)
            unused = weakref.ref(module(**case.kwargs)["loss"])  # and where no backward follows
            assert unused() is None
            seen.append(live.now)
    finally:
        gc.enable()
    assert len(set(seen[2:])) == 1


def test_two_threads_share_a_planned_module():
    """Passes that run at once don't mix: each has the gradients of its own batch."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    batches = [torch.randn(16, 8) for _ in range(4)]
    module = schedule.torch.plan(
        model, batches[0], "95%", loss=lambda out: out.square().mean(), solver="greedy"
    )

    def of(batch):
        return torch.autograd.grad(module(batch), list(model.parameters()))

    expected = [of(batch) for batch in batches]
    wrong = []

    def work(at):
        wrong.extend(at for _ in range(20) if not same(of(batches[at]), expected[at]))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_another_batch_is_refused_or_planned_anew():
    """Never run by a plan that was made for other shapes."""
    mse = functional.mse_loss
    model, x, y = perceptron(), torch.randn(16, 8), torch.randn(16, 1)
    module = schedule.torch.plan(model, x, "95%", loss=mse, targets=[y], solver="greedy")
    with pytest.raises(OtherStep, match=r"argument 0 is torch.float32 of shape \(9, 8\)"):
        module(torch.randn(9, 8), torch.randn(9, 1))
    module[0].weight.requires_grad_(requires_grad=False)
    with pytest.raises(OtherStep, match="others need gradients"):
        module(x, y)
    module[0].weight.requires_grad_()
    module[2].eval()
    with pytest.raises(OtherStep, match="training mode"):
        module(x, y)
    module[2].train()
    others = {
        name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()
    }
    with pytest.raises(OtherStep, match=r"model\.\d\.\w+ has been replaced by a torch\.Tensor"):
        torch.func.functional_call(module, others, (x, y))
    module(x, y).backward()
    module = schedule.torch.plan(
        model, x, "97%", loss=mse, targets=[y], solver="greedy", on_change="replan"
    )
    first = module.planned_step
    module(torch.randn(9, 8), torch.randn(9, 1)).backward()
    assert module.planned_step.graph != first.graph
    module(x, y).backward()
    assert len({id(module.planned_step), id(first)}) == 2


def test_what_cannot_be_planned_says_why_before_any_step():
    """One clear error; the model is as it was."""
    x = torch.randn(4, 8)
    model = perceptron()
    before = dict(vars(model))
    with pytest.raises(CannotCapture, match=r"returns no loss.*pass loss="):
        schedule.torch.plan(nn.Linear(8, 3), x)
    with pytest.raises(CannotCapture, match="no backward pass"):
        schedule.torch.plan(
            nn.Linear(8, 1).requires_grad_(requires_grad=False), x, loss=torch.Tensor.mean
        )
    with pytest.raises(DoesNotFit, match="no schedule fits 100: at least"):
        schedule.torch.plan(model, x, 100, loss=lambda out: out.mean())
    with pytest.raises(BadInput, match="one device"):
        schedule.torch.plan(model, x.to("meta"), loss=lambda out: out.mean())
    with pytest.raises(BadInput, match=r"meta device isn.t captured whole; .* FakeTensorMode"):
        schedule.torch.capture(
            nn.Linear(8, 3, device="meta"), x.to("meta"), loss=lambda out: out.mean()
        )
    with pytest.raises(BadInput, match="costs is 'dear'"):
        schedule.torch.plan(model, x, loss=lambda out: out.mean(), costs="dear")
    with pytest.raises(CannotCapture, match="trains as before"):
        schedule.torch.plan(Branching(), x)
    assert vars(model) == before


class Branching(nn.Module):
    """Looks at its data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 1)

    def forward(self, x):
        found = self.linear(x).mean()
        return found if found > 0 else -found


def test_a_schedule_file_drives_the_same_step_and_no_other(tmp_path):
    """Solved once, used again: with the promised figures; refused for another batch."""
    case = CASES["perceptron"]
    first = planned(case, case.model(), "90%", solver="greedy")
    first.planned_step.result.save(tmp_path / "plan.json")
    again = planned(case, case.model(), schedule=tmp_path / "plan.json")
    assert again.planned_step.result == first.planned_step.result
    assert torch.equal(case.run(again), case.run(first))
    smaller = copy.copy(case)
    smaller.args, smaller.targets = (case.args[0][:9],), (case.targets[0][:9],)
    with pytest.raises(WrongGraph, match=r"made for graph .* another model, batch, precision"):
        planned(smaller, case.model(), schedule=tmp_path / "plan.json")


def test_planning_twice_gives_the_same_plan():
    case = CASES["attending"]
    plans = [planned(case, case.model(), "90%", solver="greedy").planned_step for _ in range(2)]
    assert plans[0].graph == plans[1].graph
    assert plans[0].result.schedule == plans[1].result.schedule


@pytest.mark.parametrize("solver", ["recompute_all", "store_all"])
@pytest.mark.parametrize("at", [0, 1])
def test_parameters_that_change_under_a_step_are_seen(solver, at):
    """Gradients are those of the step, or it is refused: also where a view was read, and kept."""
    case = CASES["perceptron"]
    model = case.model()
    module = planned(case, model, solver=solver)
    weight = [part for part in model.modules() if isinstance(part, nn.Linear)][at].weight
    torch.manual_seed(0)
    module(*case.args, *case.targets).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    total = module(*case.args, *case.targets)
    with torch.no_grad():
        weight.mul_(2)
    if (solver, at) == ("store_all", 0):  # nothing reads it any more, as in eager PyTorch
        total.backward()
        assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected))
    else:
        with pytest.raises(BackwardRefused, match="changed between the forward and the backward"):
            total.backward()
    total = module(*case.args, *case.targets)
    total.backward(retain_graph=True)
    with pytest.raises(BackwardRefused, match="runs backward once"):
        total.backward()


@pytest.mark.parametrize("costs", ["unit", "calibrated", "measure", "flops"])
def test_costs_of_every_kind_are_positive_where_something_is_computed(costs):
    """And 0 for views, which cost nothing to make again."""
    case = CASES["perceptron"]
    graph = planned(case, case.model(), solver="store_all", costs=costs).planned_step.graph
    views = {node.name for node in graph.nodes if all(out.view_of for out in node.outputs)}
    for node in graph.nodes:
        assert (node.compute == 0) == (node.name in views or node.name == "boundary")


def test_residents_count():
    """What the step doesn't use, and what is declared, is in the budget."""
    torch.manual_seed(0)
    model, x = Odd(), torch.randn(4, 8)
    plain = schedule.torch.plan(model, x, solver="store_all").planned_step
    more = schedule.torch.plan(model, x, solver="store_all", resident="1KiB").planned_step
    assert more.result.peak == plain.result.peak + 1024
    unused = sum(p.nbytes for p in model.unused.parameters())
    assert any(item.memory == unused for item in plain.graph.inputs)


def test_a_captured_graph_is_solved_elsewhere_and_trained_with():
    """`capture`, `solve` and `plan` agree on what the step is, also where it had no memory."""
    case = CASES["attending"]
    graph = schedule.torch.capture(case.model(), case.example())
    plan = schedule.solve(graph, "85%", "greedy")
    module = planned(case, case.model(), schedule=plan)
    expected = case.run(planned(case, case.model(), solver="store_all"))
    assert torch.equal(case.run(module), expected)
    from schedule.torch.frontend import capture_made

    fake = capture_made(
        lambda: (case.make(), {k: v.clone() for k, v in case.kwargs.items()}), fake=True
    )
    assert fake == graph


def allocator_peak(run):
    """Bytes that the allocator held at once beyond what was there before, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        run()
    events = seen.profiler.kineto_results.events()
    changes = [
        event.nbytes()
        for event in sorted(events, key=lambda event: event.start_ns())
        if event.name() == "[memory]"
    ]
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("name", ["normed", "perceptron"])
def test_with_measured_workspace_the_allocators_peak_is_the_promised_one(name):
    """Within 2 %, where convolutions take more than their tensors."""
    case = CASES[name]
    model = case.model()
    module = planned(case, model, "95%", solver="greedy", workspace="measure")
    case.run(module)
    model.zero_grad()
    there = sum(tensor.nbytes for tensor in case.tensors(model))
    peak = there + allocator_peak(lambda: case.run(module))
    promise = module.planned_step.result
    assert abs(peak - promise.peak) <= 0.02 * promise.peak
    if name == "normed":
        assert any(node.workspace for node in module.planned_step.graph.nodes)


def test_the_largest_batch_fits_and_the_next_one_does_not():
    """Against every size in turn; more recomputation makes room for more."""
    torch.manual_seed(0)
    layers = [part for _ in range(4) for part in (nn.Linear(8, 8), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(8, 1))
    options = {"loss": lambda output: output.square().mean(), "solver": "greedy"}

    def fits(size, overhead):
        try:
            step = schedule.torch.plan(model, torch.empty(size, 8), 4000, **options).planned_step
        except DoesNotFit:
            return False
        return step.result.overhead <= overhead

    sizes = {}
    for overhead in (0.0, 0.5):
        found = schedule.torch.largest_batch(
            model, lambda size: torch.empty(size, 8), 4000, overhead=overhead, **options
        )
        assert fits(found.size, overhead)
        assert not fits(found.size + 1, overhead)
        assert found.too_large == found.size + 1
        assert found.reason
        sizes[overhead] = found.size
    assert sizes[0.0] < sizes[0.5]
    assert found.result.peak <= 4000
    with pytest.raises(DoesNotFit, match="not even a batch of one"):
        schedule.torch.largest_batch(model, lambda size: torch.empty(size, 8), 900, **options)
    with pytest.raises(BadInput, match="grows with the batch"):
        schedule.torch.largest_batch(model, lambda size: torch.empty(size, 8), "80%", **options)


def test_copies_and_replicas_train_by_the_same_plan():
    """A deep copy has parameters of its own; a replica is one as `DataParallel` makes them."""
    case = CASES["attending"]
    model = case.model()
    module = planned(case, model, "90%", solver="greedy")
    expected = case.run(module)
    other = copy.deepcopy(module)
    other.zero_grad()
    assert torch.equal(case.run(other), expected)
    assert same(gradients(other), gradients(model))
    assert {id(p) for p in other.parameters()}.isdisjoint({id(p) for p in model.parameters()})
    assert other.head.weight is other.embed.weight
    assert other.planned_step is module.planned_step

    def replica_of(part):
        made = part._replicate_for_data_parallel()
        made._modules = {name: replica_of(child) for name, child in part._modules.items()}
        for name, parameter in part._parameters.items():
            setattr(made, name, None if parameter is None else parameter.clone())
        return made

    model.zero_grad()
    assert torch.equal(case.run(replica_of(module)), expected)
    assert not any(p.grad is None for p in model.parameters())
    with pytest.raises(TypeError, match="can't be pickled; save its state_dict"):
        pickle.dumps(module)


class Interrupted:
    """Ctrl-C comes before, or after, it has something to offer."""

    name, summary = "interrupted", "stops"

    def __init__(self, offers):
        self.offers = offers

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        if self.offers:
            incumbent.offer(in_order(problem.graph))
        raise KeyboardInterrupt


def test_an_interrupted_solve_trains_with_the_best_so_far_or_leaves_the_model_alone():
    case = CASES["perceptron"]
    model = case.model()
    module = planned(case, model, "100%", solver=Interrupted(offers=True))
    assert module.planned_step.result.interrupted
    assert torch.isfinite(case.run(module))
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        planned(case, model, "100%", solver=Interrupted(offers=False))
    assert vars(model) == before


class Returning(nn.Module):
    """Returns views of what it made, an argument, a view of it, and values that are no tensors."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x, factor, extra=None):
        here = torch.tanh(self.linear(x)) * factor * self.scale * torch.tensor([1.0, 2, 3, 4])
        self.steps += 1
        found = {"flat": here.view(-1), "first": here[0], "x": x, "turned": x.t(), "none": extra}
        other = torch.sigmoid(here)  # what is returned itself, and views of it
        return here.square().mean(), [found, factor], other, other.t(), other.flatten()


def test_what_a_model_returns_comes_back_nested_as_it_was():
    """Values, views, arguments and constants; each output's gradient counts."""
    torch.manual_seed(0)
    eager, x = Returning(), torch.randn(6, 4)
    mine = copy.deepcopy(eager)
    module = schedule.torch.plan(mine, (x, 3), solver="recompute_all")
    found, expected = module(x, 3), eager(x, 3)
    torch.testing.assert_close(found, expected)
    assert found[1][0]["x"] is x
    assert found[1][0]["turned"].data_ptr() == x.data_ptr()
    for loss, rest, other, turned, flat in (found, expected):
        loss = loss + rest[0]["flat"].sum() + (2 * rest[0]["first"]).sum()
        (loss + other.sum() + (turned**2).sum() + (3 * flat).sum()).backward()
    for one, other in zip(mine.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert mine.steps == eager.steps == 1
    with pytest.raises(OtherStep, match="argument 1 is 4; planned was 3"):
        module(x, 4)

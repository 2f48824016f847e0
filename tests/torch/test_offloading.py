"""Planned steps that copy to the host and back: peaks of both, and the unplanned step's bits."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule  # noqa: E402
import schedule.torch  # noqa: E402
from schedule import Compute, Drop, Free, Offload, Prefetch, Schedule  # noqa: E402
from schedule.errors import (  # noqa: E402
    BadInput,
    BadOption,
    DoesNotFit,
    NotApplicable,
    NotOffloadable,
    OverCapacity,
)
from schedule.torch import backend, channels, hosts, running  # noqa: E402
from schedule.torch.options import Options  # noqa: E402
from schedule.torch.program import BOUNDARY  # noqa: E402
from tests.formats import FILES_ARE_CHECKED  # noqa: E402
from tests.torch.copying import Clock, FakeBytes, Late, OnDevice  # noqa: E402
from tests.torch.training_models import cases, perceptron  # noqa: E402

pytestmark = [FILES_ARE_CHECKED, pytest.mark.usefixtures("one_thread")]

CASES = cases()
#: The scalar 1 that a backward pass starts from, as the loss's gradient, and its copy.
SCALARS = 16
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def late(monkeypatch):
    """Copies are as late as they may be."""
    made = Late()
    monkeypatch.setattr(running, "channels_of", lambda device: made)
    return made


def planned(case, model, budget=None, **options):
    given = {"time_limit": 0.3} | options
    if not {"host", "schedule"} & given.keys():
        given["host"] = "1GiB"
    return schedule.torch.plan(
        model, case.example(), budget, loss=case.loss, targets=case.targets, **given
    )


def values(case, module, model):
    """Loss, gradients, buffers and random state of a step."""
    total = case.run(module)
    return [total, *(p.grad for p in model.parameters()), *model.buffers(), torch.get_rng_state()]


@cache
def unplanned(name):
    """What a step gives that copies nothing."""
    case = CASES[name]
    model = case.model()
    return values(case, planned(case, model, solver="store_all", host=None), model)


@cache
def all_copied(name):
    """A model, and its planned module that copies all that the forward pass keeps."""
    model = CASES[name].model()
    return model, planned(CASES[name], model, solver="offload_all")


def same(left, right):
    return all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(left, right, strict=True)
    )


def check(name, module, model, late):
    """One step: its bits, the peak of the device and that of the host."""
    case, expected = CASES[name], unplanned(name)
    promise = module.planned_step.result
    model.load_state_dict(case.model().state_dict())
    model.zero_grad()
    late.peak = 0
    with OnDevice(case.tensors(model), late) as live:
        found = values(case, module, model)
    assert same(found, expected)
    assert 0 <= live.peak - promise.peak <= SCALARS
    assert late.peak == promise.level_peaks[0]
    assert late.now == late.open == 0


@pytest.mark.parametrize("name", CASES)
def test_both_peaks_are_the_promised_ones_and_all_values_the_unplanned_ones(late, name):
    """At the first step and the next, however late copies are; all of them take place.

    Most are as hooks on saved tensors make them: down in the forward pass, up in the other.
    """
    model, module = all_copied(name)
    steps = module.planned_step.result.steps
    for n in (1, 2):
        check(name, module, model, late)
        assert late.n_copies == n * sum(isinstance(one, (Offload, Prefetch)) for one in steps)
    turn = steps.index(Compute(BOUNDARY))
    down = {one.tensor for one in steps[:turn] if isinstance(one, Offload)}
    up = {one.tensor for one in steps[turn:] if isinstance(one, Prefetch)}
    assert len(down & up) > 3


@pytest.mark.parametrize("name", ["perceptron", "odd"])
def test_recomputation_and_copies_go_together(late, name):
    """Within a budget, by the best of both."""
    model = CASES[name].model()
    module = planned(CASES[name], model, "80%")
    assert module.planned_step.result.peak <= module.planned_step.result.budget
    check(name, module, model, late)
    assert late.n_copies


class Walk:
    """A valid schedule at random: the program, with copies, frees and fetches in between."""

    def __init__(self, graph, seed):
        self.graph, self.random, self.steps = graph, random.Random(seed), []
        self.live = {item.name for item in graph.inputs}
        self.inputs, self.host = set(self.live), set()
        self.maker = {out.name: node for node in graph.nodes for out in node.outputs}
        self.view = {
            out.name for node in graph.nodes for out in node.outputs if out.view_of is not None
        }
        for node in graph.nodes:
            self.compute(node)
            for _ in range(3):
                self.disturb()
        for name in graph.outputs:
            self.need(name)

    def compute(self, node):
        for name in node.inputs:
            self.need(name)
        self.steps.append(Compute(node.name))
        self.live |= {out.name for out in node.outputs}

    def need(self, name):
        if name in self.live:
            return
        if name in self.host:
            self.steps.append(Prefetch(name))
            self.live.add(name)
        else:
            self.compute(self.maker[name])

    def disturb(self):
        own = sorted(self.live - self.inputs - self.view)
        if not own:
            return
        name = self.random.choice(own)
        if name not in self.host:
            self.steps.append(Offload(name))
            self.host.add(name)
        elif self.random.random() < 0.8:
            self.steps.append(Free(name))
            self.live.remove(name)
        else:
            self.steps.append(Drop(name))
            self.host.remove(name)
        views = sorted(
            name
            for name in self.live & self.view - set(self.graph.outputs)
            if self.maker[name].recomputable and len(self.maker[name].outputs) == 1
        )
        if views and self.random.random() < 0.5:
            view = self.random.choice(views)
            self.steps.append(Free(view))
            self.live.remove(view)


@pytest.mark.parametrize(("name", "seed"), [*((n, 0) for n in CASES), ("odd", 1), ("normed", 1)])
def test_any_schedule_that_copies_runs(late, name, seed):
    """Held by views, dropped and copied anew, copied for nothing, still under way at the end."""
    first = all_copied(name)[1].planned_step
    steps = Walk(first.graph, seed).steps
    given = replace(first.result, schedule=Schedule.of(first.graph, steps))
    model = CASES[name].model()
    check(name, planned(CASES[name], model, schedule=given), model, late)


def test_a_schedule_file_has_its_levels(tmp_path):
    """Used again it has the same figures; the level is that of the file, with a step anew, too."""
    case = CASES["perceptron"]
    first = planned(case, case.model(), "80%", host="1MiB", link="25GB/s,10us", solver="offload")
    first.planned_step.result.save(tmp_path / "plan.json")
    given = {"schedule": tmp_path / "plan.json", "on_change": "replan"}
    again = planned(case, case.model(), **given)
    assert again.planned_step.result == first.planned_step.result
    assert again.planned_step.result.levels == (schedule.host("1MiB", "25GB/s,10us"),)
    assert torch.equal(case.run(again), case.run(first))
    x, y = torch.randn(66, 8), torch.randn(66, 1)
    again(x, y).backward()
    assert again.planned_step.result.levels == first.planned_step.result.levels
    with pytest.raises(BadOption, match="leave out host="):
        planned(case, case.model(), schedule=tmp_path / "plan.json", host="1GiB")
    recording = Options(cuda_graphs=True)
    with pytest.raises(BadOption, match="aren't recorded"):
        recording.given(first.planned_step.graph, tmp_path / "plan.json")


def test_what_is_not_the_steps_own_stays():
    """Inputs are copied by no plan, and refused where a schedule from elsewhere copies them."""
    made = all_copied("perceptron")[1].planned_step
    graph, result = made.graph, made.result
    inputs = {item.name for item in graph.inputs}
    assert not inputs & {one.tensor for one in result.steps if isinstance(one, Offload)}
    moved = Offload(graph.inputs[0].name)
    elsewhere = replace(result, schedule=Schedule.of(graph, [moved, *result.steps]))
    level = result.levels[0]
    at = next(at for at, one in enumerate(result.steps) if isinstance(one, Offload))
    below = [*result.steps[: at + 1], Offload(result.steps[at].tensor, 2), *result.steps[at + 1 :]]
    two = {"levels": (level, replace(level, name="disk")), "level_peaks": (0, 0)}
    for other, error, words in [
        (elsewhere, NotOffloadable, r"step 0 .* stays on the device \(offloadable: false\)"),
        (
            replace(result, schedule=Schedule.of(graph, below), **two),
            BadInput,
            "is for level 2; a training step copies to the host alone",
        ),
        (
            replace(result, levels=(replace(level, capacity=8),)),
            OverCapacity,
            "more than its capacity 8",
        ),
    ]:
        with pytest.raises(error, match=words):
            planned(CASES["perceptron"], perceptron(), schedule=other)


def test_the_bound_is_of_steps_that_leave_inputs_where_they_are():
    """Nothing can be gained by parameters; with a bound for which they may be copied it can."""
    model = nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(64, 64), nn.Tanh())))
    given = {"loss": lambda output: output.square().mean(), "host": "1GiB", "link": 1e-4}
    made = schedule.torch.plan(
        model, torch.randn(64, 64), "88%", solver="offload_largest", **given
    ).planned_step
    result, level = made.result, made.result.levels[0]
    graph = made.graph
    inputs = [replace(item, offloadable=True) for item in graph.inputs]
    free = schedule.Graph(graph.nodes, inputs, outputs=graph.outputs)
    assert free.digest == graph.digest
    bound = schedule.makespan_bound(free, result.budget, [level]).makespan
    own = schedule.makespan_bound(graph, result.budget, [level]).makespan
    assert bound < own <= result.makespan


def test_the_link_is_given_measured_or_modelled_and_it_is_said_which():
    here = torch.device("cpu")
    given = Options(host="1MiB", link="25GB/s,10us")
    assert given.level(here) == schedule.Level("host", 2**20, 25.0, 25.0, 10_000)
    assert given.link_source(here) == "given"
    modelled = Options(host="1MiB")
    assert modelled.level(here) == schedule.Level("host", 2**20, 5.0, 5.0, 5000.0)
    assert modelled.link_source(here) == "modelled"
    measured = Options(host="1MiB", costs="calibrated")
    level = measured.level(here)
    assert 0.01 < level.down < 1000 > level.up > 0.01
    assert 0 < level.latency < 1e8
    assert measured.link_source(here) == "measured"
    assert Options(host="1MiB", link=3, costs="unit").level(here).down == 3
    assert not Options().link_source(here)


def test_a_plan_says_what_it_predicts():
    """Its makespan, and by what link; nothing more where there is no host."""
    made = all_copied("perceptron")[1].planned_step
    said = str(made)
    assert f"makespan {made.result.makespan:.0f};" in said
    assert "5 down, 5 up, 5e+03 a copy, modelled" in said
    assert ("iB" in str(made.result)) == ("iB" in said), "one unit for the device and the host"
    case = CASES["perceptron"]
    plain = planned(case, case.model(), host=None).planned_step
    assert str(plain) == str(plain.result)


def test_what_cannot_be_is_said_before_anything_has_run(monkeypatch):
    case, model = CASES["perceptron"], perceptron()
    for options, error, words in [
        ({"host": None, "link": 3}, BadOption, "give host="),
        ({"host": "much"}, BadInput, "host"),
        ({"link": "0GB/s"}, BadOption, "no speed above 0"),
        ({"cuda_graphs": True}, BadOption, "aren't recorded"),
        ({"costs": "unit"}, BadOption, "can't be measured beside them"),
        ({"costs": "flops", "link": "25GB/s"}, BadOption, "no nanoseconds"),
        ({"costs": "flops", "link": "25,10us"}, BadOption, "no nanoseconds"),
        ({"solver": "greedy"}, NotApplicable, "one level of memory"),
        ({"budget": 100}, DoesNotFit, "no schedule fits 100: at least"),
        ({"budget": "70%", "host": 0, "solver": "offload_largest"}, DoesNotFit, "."),
    ]:
        with pytest.raises(error, match=words):
            planned(case, model, **options)
    with pytest.raises(BadInput, match="planned without host="):
        schedule.torch.export(all_copied("perceptron")[1], "modules")
    with pytest.raises(BadOption, match="under Inductor"):
        backend._options({"inductor": True, "host": "1MiB"})
    monkeypatch.setattr(hosts, "available_memory", lambda: 1000)
    with pytest.raises(DoesNotFit, match=r"keeps .* on the host, and this one has"):
        planned(case, model, solver="offload_all")


@pytest.mark.parametrize("at", ["forward", "backward"])
def test_a_step_that_is_broken_off_waits_for_its_copies(late, monkeypatch, at):
    """Before their memory goes; the next step is as ever."""
    case = CASES["perceptron"]
    model, module = all_copied("perceptron")
    begun = late._begun

    def failing(source, target, after=None):
        if (at == "backward") == (after is not None):
            raise KeyboardInterrupt
        return begun(source, target, after)

    monkeypatch.setattr(late, "_begun", failing)
    with pytest.raises(KeyboardInterrupt):
        case.run(module)
    monkeypatch.setattr(late, "_begun", begun)
    assert late.now == late.open == 0
    module(*case.args, *case.targets)  # nobody asks for its gradients
    assert late.now == late.open == 0
    check("perceptron", module, model, late)


def test_largest_batch_and_check_take_a_host():
    """A batch that recomputation alone has no room for; and all that is kept is copied."""
    model = nn.Sequential(nn.Linear(8, 8), *(nn.Tanh() for _ in range(8)), nn.Linear(8, 1))
    given = {"loss": lambda output: output.square().mean(), "overhead": 0.05}
    given |= {"costs": "unit", "at_most": 4, "time_limit": 0.2}

    def inputs(size):
        return torch.empty(size, 8)

    alone = schedule.torch.largest_batch(model, inputs, 1500, solver="greedy", **given)
    both = schedule.torch.largest_batch(model, inputs, 1500, host="1MiB", link=1e6, **given)
    assert both.size > alone.size
    assert both.result.level_peaks[0] > 0
    case = CASES["perceptron"]
    compared = schedule.torch.check(
        case.model(), case.example(), loss=case.loss, targets=case.targets, host="1MiB"
    )
    assert compared.same


def test_streams_wait_for_each_other_as_the_model_of_time_says(monkeypatch):
    """By what each stream is known to have done when a copy begins; the host waits for nothing."""
    clock = Clock()
    monkeypatch.setattr(torch, "cuda", clock)
    monkeypatch.setattr(channels, "_streams", lambda device: (clock.Stream(0), clock.Stream(0)))
    made = channels.channels_of(torch.device("cuda:0"))
    host, device, other = FakeBytes(clock), FakeBytes(clock), FakeBytes(clock)
    compute = clock.compute
    compute.work()
    written = made.mark()
    compute.work()  # which a copy of what was written needn't wait for
    down = made.down(device, host, written)
    below, seen = host.copied
    assert seen[compute] == 1
    assert below is not compute
    assert below not in compute.seen
    compute.work()
    up = made.up(host, other, down)
    above, seen = other.copied
    assert seen[compute] == 3
    assert seen[below] == 1
    assert above not in (compute, below)
    made.down(device, host, made.mark())
    assert host.copied[0] is below
    assert above not in compute.seen
    made.wait(up)
    assert compute.seen[above] == compute.seen[below] == 1


@on_gpu
def test_on_a_gpu_peak_and_bits_are_kept():
    """By pinned memory and streams: the allocator's peak, and the unplanned step's gradients."""
    parts = [part for _ in range(8) for part in (nn.Linear(512, 512), nn.Tanh())]
    x = torch.randn(16_384, 512, device="cuda")
    found, peaks = [], []
    for options in ({"solver": "store_all"}, {"solver": "offload_all", "host": "1GiB"}):
        torch.manual_seed(0)
        model = nn.Sequential(*parts).cuda()
        made = schedule.torch.plan(model, x, loss=lambda out: out.square().mean(), **options)
        for _ in range(3):
            model.zero_grad()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            made(x).backward()
            torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated())
        found.append([p.grad.cpu() for p in model.parameters()])
        assert peaks[-1] <= made.planned_step.result.peak
        model.zero_grad()
    assert made.planned_step.link == "measured"
    assert peaks[1] < 0.6 * peaks[0]
    assert same(*found)


def test_a_compiled_model_copies_too(late):
    """The backend's options are those of `plan`: the bits of eager mode, and copies take place."""
    x, gradients = torch.randn(64, 16), []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(16, 16), nn.Sigmoid()) * 3)
        options = {"solver": "offload_all", "host": "1GiB", "link": "5GB/s"}
        run = model
        if compiled:
            run = torch.compile(model, backend="schedule", options=options, dynamic=False)
        run(x).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert same(*gradients)
    assert late.n_copies > 0

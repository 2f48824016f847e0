"""Steps that are recorded and replayed, as CUDA graphs are; on a CPU by what stands in for them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule.torch  # noqa: E402
from schedule.errors import BadOption, OtherStep  # noqa: E402
from schedule.torch import options as told  # noqa: E402
from schedule.torch.graphs import CudaRecorder  # noqa: E402
from tests.torch.recording import Replaying  # noqa: E402
from tests.torch.training_models import cases  # noqa: E402

CASES = cases()
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def recorder(monkeypatch):
    """Recorded steps are replayed by what stands in for CUDA graphs."""
    made = Replaying()
    monkeypatch.setattr(told, "recorders_of", lambda device: lambda: made)
    return made


def planned(case, model, budget="85%", **options):
    given = {"loss": case.loss, "targets": case.targets, "solver": "greedy"} | options
    return schedule.torch.plan(model, case.example(), budget, **given)


def steps(case, model, module, n=4):
    """Losses, gradients and buffers of some steps that train."""
    found = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for at in range(n):
        optimizer.zero_grad()
        total = case.run(module, seed=at)
        optimizer.step()
        state = [p.grad for p in model.parameters()] + list(model.buffers())
        found.append([total, *[None if t is None else t.clone() for t in state]])
    return found


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_train_to_the_same_bits(recorder, name):
    """Dropout, batch norm, several losses: against the same plan run operator by operator."""
    case = CASES[name]
    model, other = case.model(), case.model()
    module = planned(case, model, cuda_graphs=True)
    plain = planned(case, other)
    for mine, its in zip(steps(case, model, module), steps(case, other, plain), strict=True):
        for one, another in zip(mine, its, strict=True):
            assert (one is None) == (another is None)
            assert one is None or torch.equal(one, another)
    if name != "attending":  # whose result of whole numbers and loss come out all the same
        assert not module.planned_step.fallback
    assert recorder.n_recorded == 2
    assert recorder.n_replayed == 6


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def squared(output):
    return output.square().mean()


def recorded(recorder, **options):
    """A network and its planned module, after the steps in which it is recorded."""
    model = network()
    module = schedule.torch.plan(
        model, torch.ones(3, 4), loss=squared, solver="recompute_all", cuda_graphs=True, **options
    )
    for _ in range(2):
        module(torch.ones(3, 4)).backward()
        model.zero_grad()
    assert recorder.n_recorded == 2
    assert not module.planned_step.fallback
    return model, module


def expected(model, *batches):
    """Gradients that add up over batches."""
    twin = network()
    twin.load_state_dict(model.state_dict())
    for batch in batches:
        squared(twin(batch)).backward()
    return [p.grad for p in twin.parameters()]


def close(model, gradients):
    return all(torch.allclose(p.grad, g) for p, g in zip(model.parameters(), gradients))


def test_gradients_add_up_over_steps_and_none_changes_under_a_hand(recorder):
    """As they are copied out: what a step gave stays as it was when the next one runs."""
    model, module = recorded(recorder)
    batches = [torch.randn(3, 4) for _ in range(3)]
    loss = module(batches[0])
    loss.backward()
    seen, before = [p.grad for p in model.parameters()], loss.detach().clone()
    copies = [g.clone() for g in seen]
    model.zero_grad(set_to_none=True)
    for batch in batches[1:]:
        module(batch).backward()
    assert close(model, expected(model, *batches[1:]))
    assert all(torch.equal(one, another) for one, another in zip(seen, copies))
    assert torch.equal(loss, before)


def test_two_steps_before_their_backward_passes_are_two(recorder):
    """The second one runs operator by operator, as a replay would write over the first."""
    model, module = recorded(recorder)
    x, y = torch.randn(2, 3, 4)
    replayed = recorder.n_replayed
    one, other = module(x), module(y)
    (one + other).backward()
    assert close(model, expected(model, x, y))
    assert recorder.n_replayed == replayed + 2
    model.zero_grad()
    module(x)  # nobody asks for its gradients
    module(y).backward()
    assert close(model, expected(model, y))
    assert recorder.n_replayed == replayed + 5


def test_arguments_and_parameters_elsewhere_in_memory_are_followed(recorder):
    """Other batches are copied in; parameters with other memory are recorded anew."""
    model, module = recorded(recorder)
    held = [torch.randn(3, 4) for _ in range(5)]
    for batch in held:
        module(batch).backward()
        assert close(model, expected(model, batch))
        model.zero_grad()
    assert recorder.n_recorded <= 4
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    for batch in held:
        module(batch).backward()
        assert close(model, expected(model, batch))
        model.zero_grad()
    assert not module.planned_step.fallback


def test_changes_between_the_passes_are_noticed_and_a_second_backward_pass_is_refused(recorder):
    """As without recording."""
    model, module = recorded(recorder)
    total = module(torch.ones(3, 4))
    with torch.no_grad():
        model[2].weight.add_(1)
    with pytest.raises(RuntimeError, match="changed between the forward and the backward pass"):
        total.backward()
    total = module(torch.ones(3, 4))
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="runs backward once"):
        total.backward()


class Both(nn.Module):
    """A loss, and what it is of."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        output = self.inner(x)
        return output.square().mean(), output


def test_a_gradient_that_was_not_recorded_is_refused(recorder):
    """Where memory is kept for single numbers alone; the loss still trains."""
    module = schedule.torch.plan(Both(), torch.ones(3, 4), solver="greedy", cuda_graphs=True)
    for _ in range(3):
        module(torch.ones(3, 4))[0].backward()
    assert not module.planned_step.fallback
    _, output = module(torch.ones(3, 4))
    with pytest.raises(OtherStep, match="recorded for gradients of single numbers"):
        output.sum().backward()
    module(torch.ones(3, 4))[0].backward()


def test_what_cannot_be_recorded_runs_operator_by_operator_and_says_why(monkeypatch):
    made = Replaying(failing="no such capture")
    monkeypatch.setattr(told, "recorders_of", lambda device: lambda: made)
    model = network()
    given = {"loss": squared, "solver": "greedy", "cuda_graphs": True}
    module = schedule.torch.plan(model, torch.ones(3, 4), **given)
    for _ in range(3):
        module(torch.ones(3, 4)).backward()
    assert module.planned_step.fallback == "no such capture"
    assert close(model, expected(model, *3 * [torch.ones(3, 4)]))


class Whole(nn.Module):
    """All results may get gradients of any kind, which are read in matrix products."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = network(), nn.Linear(1, 3)

    def forward(self, x):
        output = self.last(self.inner(x))
        return output.square().mean(), output @ output.T


def test_a_step_with_results_whose_gradients_need_memory_is_not_recorded(recorder):
    """Nobody knows beforehand whether they are given."""
    module = schedule.torch.plan(Whole(), torch.ones(3, 4), solver="greedy", cuda_graphs=True)
    for _ in range(3):
        loss, output = module(torch.ones(3, 4))
        (loss + output.sum()).backward()
    assert "isn't a single number" in module.planned_step.fallback
    assert not recorder.n_recorded


def test_copies_are_in_the_promise(recorder):
    """Gradients, results and arguments once more."""
    model, x = network(), torch.ones(3, 4)
    given = {"loss": squared, "solver": "greedy"}
    plain = schedule.torch.plan(model, x, **given).planned_step.result
    more = schedule.torch.plan(model, x, cuda_graphs=True, **given).planned_step.result
    copies = sum(p.nbytes for p in model.parameters()) + x.nbytes + 4
    assert more.peak == plain.peak + copies


@pytest.mark.parametrize("at", ["forward", "backward"])
@pytest.mark.parametrize("trouble", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_the_step_after_one_that_was_broken_off_works(recorder, at, trouble):
    """An interrupt or a lack of memory in a replay; what was promised is said of the latter."""
    model, module = recorded(recorder)
    held = [torch.randn(3, 4) for _ in range(3)]
    for batch in held:  # till it is copied in
        module(batch).backward()
    recording = module.planned_step._graphs._recording
    replay = getattr(recording, at)

    def broken():
        raise trouble("out of memory")

    setattr(recording, at, broken)
    with pytest.raises(trouble) as raised:
        module(held[0]).backward()
    if trouble is not KeyboardInterrupt:
        promise = f"planned for {module.planned_step.result.peak:,} bytes"
        assert any(promise in note for note in raised.value.__notes__)
    setattr(recording, at, replay)
    model.zero_grad()
    replayed = recorder.n_replayed
    x = torch.randn(3, 4)
    module(x).backward()
    assert close(model, expected(model, x))
    assert recorder.n_replayed == replayed + 2


@pytest.mark.parametrize(
    ("value", "why"), [(True, "needs a model on a GPU"), (1, "it is True or False")]
)
def test_recording_is_refused_where_there_is_no_gpu(value, why):
    with pytest.raises(BadOption, match=why):
        schedule.torch.plan(network(), torch.ones(3, 4), loss=squared, cuda_graphs=value)


@on_gpu
@pytest.mark.parametrize("name", CASES)
def test_cuda_graphs_train_to_the_same_numbers(name):
    """On a GPU, against the same plan run operator by operator."""
    torch.set_default_device("cuda")
    try:
        case = cases()[name]
        model, other = case.model(), case.model()
        given = {"budget": None, "solver": "recompute_all"}
        module, plain = (
            planned(case, model, cuda_graphs=True, **given),
            planned(case, other, **given),
        )
        found = zip(steps(case, model, module), steps(case, other, plain), strict=True)
        for mine, its in found:
            for one, another in zip(mine, its, strict=True):
                assert (one is None) == (another is None)
                assert one is None or torch.allclose(one, another, rtol=1e-3, atol=1e-5)
        assert not module.planned_step.fallback
    finally:
        torch.set_default_device(None)


@on_gpu
def test_after_a_recording_that_failed_the_random_generator_and_others_work():
    """What reads a number on the host can't be recorded."""
    recorder = CudaRecorder(torch.device("cuda"))

    def reads():
        return nn.functional.dropout(torch.rand(1000, device="cuda")).nonzero()

    with pytest.raises(RuntimeError):
        recorder.record(reads)
    assert torch.rand(9, device="cuda").sum() > 0
    found, replay = CudaRecorder(torch.device("cuda")).record(lambda: torch.rand(9, device="cuda"))
    replay()
    before = found.clone()
    replay()
    assert not torch.equal(found, before)

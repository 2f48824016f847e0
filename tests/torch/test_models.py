"""Models that people train, in small: captured, planned, trained as promised."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch import nn  # noqa: E402 - after the check that they are there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.torch import keeper  # noqa: E402
from tests.torch.training_models import Case, Live  # noqa: E402


class UNet(nn.Module):
    """Down and up again, with connections straight across."""

    def __init__(self, channels=4):
        super().__init__()
        self.down = nn.ModuleList([self.twice(3, channels), self.twice(channels, 2 * channels)])
        self.bottom = self.twice(2 * channels, 4 * channels)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * wide, wide, 2, stride=2) for wide in (2 * channels, channels)
        )
        self.join = nn.ModuleList(
            [self.twice(4 * channels, 2 * channels), self.twice(2 * channels, channels)]
        )
        self.head = nn.Conv2d(channels, 2, 1)

    @staticmethod
    def twice(before, after):
        parts = []
        for wide in (before, after):
            parts += [nn.Conv2d(wide, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(True)]
        return nn.Sequential(*parts)

    def forward(self, here):
        across = []
        for part in self.down:
            across.append(part(here))
            here = functional.max_pool2d(across[-1], 2)
        here = self.bottom(here)
        for up, join in zip(self.up, self.join):
            here = join(torch.cat([across.pop(), up(here)], dim=1))
        return self.head(here)


class DenseNet(nn.Module):
    """Every layer reads all before it."""

    def __init__(self, layers=5, growth=4):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(3 + growth * at),
                nn.ReLU(),
                nn.Conv2d(3 + growth * at, growth, 3, padding=1),
            )
            for at in range(layers)
        )
        self.head = nn.Linear(3 + growth * layers, 5)

    def forward(self, here):
        for layer in self.layers:
            here = torch.cat([here, layer(here)], dim=1)
        return self.head(here.mean((2, 3)))


def words():
    """A batch of tokens; labels are other tensors, so that both count."""
    return {
        "input_ids": torch.randint(1, 50, (4, 16)),
        "labels": torch.randint(1, 50, (4, 16)),
    }


def images():
    return {"pixel_values": torch.randn(4, 3, 32, 32), "labels": torch.randint(0, 5, (4,))}


def of_family(name, inputs, **sizes):
    """A model of transformers with random parameters."""

    def make():
        model = getattr(transformers, name)
        return model(model.config_class(**sizes)).train()

    return Case(make, kwargs=inputs, total=lambda output: output["loss"])


def cases():
    torch.manual_seed(0)
    thin = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    narrow = thin | {"num_attention_heads": 2}
    text = narrow | {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    stages = {"hidden_sizes": [4, 8, 8, 8], "depths": [1, 1, 1, 1], "num_labels": 5}
    pictures, targets = torch.randn(4, 3, 16, 16), torch.randint(0, 2, (4, 16, 16))
    classes = torch.randint(0, 5, (4,))
    gpt2 = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 50}
    t5 = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    loss = functional.cross_entropy
    return {
        "unet": Case(UNet, (pictures,), loss=loss, targets=(targets,)),
        "densenet": Case(DenseNet, (pictures,), loss=loss, targets=(classes,)),
        "gpt2": of_family("GPT2LMHeadModel", words(), bos_token_id=0, eos_token_id=0, **gpt2),
        "llama": of_family("LlamaForCausalLM", words(), **text),
        "bert": of_family(
            "BertForMaskedLM",
            words() | {"attention_mask": (torch.rand(4, 16) < 0.9).long()},
            **text,
        ),
        "t5": of_family(
            "T5ForConditionalGeneration", words(), decoder_start_token_id=0, pad_token_id=0, **t5
        ),
        "vit": of_family(
            "ViTForImageClassification",
            images(),
            image_size=32,
            patch_size=8,
            num_labels=5,
            **narrow,
        ),
        "convnext": of_family("ConvNextForImageClassification", images(), image_size=32, **stages),
        "resnet": of_family("ResNetForImageClassification", images(), embedding_size=4, **stages),
    }


CASES = cases()


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def captured_once(monkeypatch, request):
    """Two plans of a model and of its like share a capture, which takes most of their time.

    Not those of T5, whose step knows its own configuration again.
    """
    if "t5" in request.node.name:
        return
    capture_step, found = keeper.capture_step, []

    def capture(*asked):
        if not found:
            found.append(capture_step(*asked))
        return found[0]

    monkeypatch.setattr(keeper, "capture_step", capture)


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("name", CASES)
def test_a_model_trains_as_promised(name):
    """Out of the box: the peak to a few bytes, the bits of the step without recomputation."""
    case = CASES[name]
    plain = case.model()
    first = schedule.torch.plan(
        plain, case.example(), loss=case.loss, targets=case.targets, solver="store_all"
    )
    expected = case.run(first)
    model = case.model()
    step = first.planned_step
    plan = schedule.solve(step.graph, solver="recompute_all", time_limit=20)
    best = schedule.solve(step.graph, "90%", solver="greedy", time_limit=20)
    if best.schedule is not None:
        plan = best
    assert plan.overhead > 0
    module = schedule.torch.plan(
        model, case.example(), loss=case.loss, targets=case.targets, schedule=plan
    )
    with Live(case.tensors(model)) as live:
        found = case.run(module)
    assert torch.equal(found, expected)
    for mine, its in zip(model.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None and its.grad is None) or torch.equal(mine.grad, its.grad)
    for mine, its in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, its)
    assert abs(live.peak - module.planned_step.result.peak) <= 64

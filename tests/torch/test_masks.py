"""Masks that say no more than a flag: attention is given the flag, and computes the same."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.torch.internals import trace  # noqa: E402
from schedule.torch.masks import without_known_masks  # noqa: E402


class Attending(nn.Module):
    """Attention under a mask that `make` makes of the batch."""

    def __init__(self, make, keys=6):
        super().__init__()
        self.mix, self.make, self.keys = nn.Linear(4, 12), make, keys

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in self.mix(x).chunk(3, -1))
        k, v = k[:, :, : self.keys], v[:, :, : self.keys]
        mask = self.make(x)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).square().mean()


def rows(_=None):
    return torch.arange(6)[:, None]


def causal(_=None):
    return torch.arange(6)[None, :] <= rows()


def changed(_):
    mask = causal()
    mask[0] = True
    return mask


def added(_):
    mask = torch.zeros(6, 6)
    mask += torch.full((6, 6), float("-inf")).triu(1)
    return mask


FLAGS = {
    "causal": (causal, "causal"),
    "spread": (lambda x: causal().expand(x.shape[0], 1, 6, 6), "causal"),
    "infinite": (lambda _: torch.full((6, 6), float("-inf")).triu(1), "causal"),
    "least": (lambda _: torch.where(causal(), 0.0, torch.finfo(torch.float32).min), "causal"),
    "all": (lambda _: rows() >= torch.zeros(6, dtype=torch.int64), "all"),
    "window": (lambda _: causal() & (rows() - torch.arange(6) < 3), ""),
    "biased": (lambda _: torch.where(causal(), 0.5, float("-inf")), ""),
    "given": (lambda x: causal() & (x[:, None, :, :1] > -9), ""),
    "random": (lambda _: torch.rand(6, 6) < 2, ""),
    "changed": (changed, ""),
    "added": (added, ""),
}


def attention(make, keys=6):
    """The attention of a traced step, as it is left."""
    scope = {"model": Attending(make, keys), "x": torch.randn(3, 6, 4)}
    traced = trace(lambda model, x: model(x), scope)
    made = without_known_masks(traced._parted.module)
    return next(n for n in made.graph.nodes if "scaled_dot" in str(n.target))


@pytest.mark.parametrize("name", FLAGS)
def test_a_mask_that_no_input_makes_becomes_the_flag_that_it_is(name):
    """Any other stays, as do those whose content only a step can tell."""
    make, kind = FLAGS[name]
    node = attention(make)
    has_mask = node.kwargs.get("attn_mask") is not None
    assert has_mask == (not kind)
    assert bool(node.kwargs.get("is_causal")) == (kind == "causal")


def test_causal_is_a_flag_only_where_there_are_as_many_keys_as_queries():
    """With fewer keys the flag would begin elsewhere."""
    node = attention(lambda _: causal()[:, :4], keys=4)
    assert node.kwargs["attn_mask"] is not None
    assert not node.kwargs.get("is_causal")


@pytest.mark.parametrize("name", FLAGS)
def test_the_step_is_the_models_own(name):
    report = schedule.torch.check(Attending(FLAGS[name][0]), torch.randn(3, 6, 4))
    assert report.same or name == "random", str(report)


def test_models_of_transformers_make_no_mask():
    """They leave a causal one to attention where they aren't traced."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        num_hidden_layers=1,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        vocab_size=11,
        use_cache=False,
    )
    ids = torch.randint(0, 11, (3, 9))
    graph = schedule.torch.capture(
        transformers.LlamaForCausalLM(config), {"input_ids": ids, "labels": ids}
    )
    made = [out for node in graph.nodes for out in node.outputs]
    assert not [out for out in made if out.memory in (81, 3 * 81, 4 * 81, 12 * 81)]

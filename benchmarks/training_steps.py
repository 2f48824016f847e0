"""Training steps for the benchmarks, and a meter that measures what one of them does."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
#: What PyTorch's table of operations lacks: attention on the CPU, counted as elsewhere.
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        aten._scaled_dot_product_flash_attention_backward
    ),
}


@dataclass(frozen=True)
class Case:
    """A module that returns its loss, a batch for it, and the blocks that it is made of.

    `blocks` takes the module: what is checkpointed one by one.
    """

    module: nn.Module
    batch: tuple[torch.Tensor, ...]
    blocks: Callable[[Any], list[nn.Module]]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What is there before the step."""
        return [*self.module.parameters(), *self.module.buffers(), *self.batch]


class Loss(nn.Module):
    """A model of `transformers`, and nothing but its loss."""

    def __init__(self, model: nn.Module, first: str, kind: str | None = None) -> None:
        super().__init__()
        if kind is not None:  # otherwise it is looked for, with a warning that can't be traced
            model.loss_type = kind
        self.model, self.first = model, first

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.model(**{self.first: x, "labels": labels}).loss


class Twice(nn.Module):
    """Convolution, group norm and SiLU, two times."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        layers = [
            part
            for width in (inner, outer)
            for part in (
                nn.Conv2d(width, outer, 3, padding=1),
                nn.GroupNorm(8, outer),
                nn.SiLU(),
            )
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class UNet(nn.Module):
    """Some levels down and up again, with the mean squared error of an image as its loss."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(zip([3, *widths], widths))
        self.down = nn.ModuleList(Twice(inner, outer) for inner, outer in pairs)
        steps = list(zip(widths[:0:-1], widths[-2::-1]))
        self.lift = nn.ModuleList(nn.ConvTranspose2d(wide, w, 2, 2) for wide, w in steps)
        self.up = nn.ModuleList(Twice(wide, w) for wide, w in steps)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            seen.append(x)
        seen.pop()
        for lift, block in zip(self.lift, self.up):
            x = block(torch.cat([seen.pop(), lift(x)], dim=1))
        return functional.mse_loss(self.head(x), labels)


def words(batch: int, length: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of tokens, and others to be predicted."""
    made = torch.randint(0, vocabulary, (2, batch, length))
    return made[0], made[1]


#: Of the small transformers: sequence, width, heads, vocabulary.
LENGTH, WIDTH, HEADS, VOCABULARY = 64, 128, 4, 1000


def gpt2(batch: int) -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=4,
        n_embd=WIDTH,
        n_head=HEADS,
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        use_cache=False,
    )
    module = Loss(GPT2LMHeadModel(config), "input_ids", "ForCausalLM")
    return Case(module, words(batch, LENGTH, VOCABULARY), lambda m: [*m.model.transformer.h])


def llama(batch: int) -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=4,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        use_cache=False,
    )
    module = Loss(LlamaForCausalLM(config), "input_ids")
    return Case(module, words(batch, LENGTH, VOCABULARY), lambda m: [*m.model.model.layers])


def t5(batch: int) -> Case:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        num_layers=2,
        num_decoder_layers=2,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=4 * WIDTH,
        num_heads=HEADS,
        vocab_size=VOCABULARY,
        dropout_rate=0,
        decoder_start_token_id=0,
        use_cache=False,
    )
    module = Loss(T5ForConditionalGeneration(config), "input_ids")
    blocks: Callable[[Any], list[nn.Module]] = lambda m: [  # noqa: E731 - as in the others
        *m.model.encoder.block,
        *m.model.decoder.block,
    ]
    return Case(module, words(batch, LENGTH, VOCABULARY), blocks)


def unet(batch: int) -> Case:
    x, labels = torch.randn(2, batch, 3, 32, 32)
    return Case(UNet(), (x, labels), lambda m: [*m.down, *m.up])


def bert(batch: int) -> Case:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        num_hidden_layers=4,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
    )
    module = Loss(BertForMaskedLM(config), "input_ids", "ForMaskedLM")
    return Case(module, words(batch, LENGTH, VOCABULARY), lambda m: [*m.model.bert.encoder.layer])


def vit(batch: int) -> Case:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        num_hidden_layers=4,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_attention_heads=HEADS,
        image_size=32,
        patch_size=4,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
        num_labels=10,
    )
    module = Loss(ViTForImageClassification(config), "pixel_values", "ForSequenceClassification")
    return Case(module, images(batch), lambda m: [*m.model.vit.layers])


def resnet(batch: int) -> Case:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[64, 128], depths=[2, 2], num_labels=10)
    module = Loss(ResNetForImageClassification(config), "pixel_values", "ForSequenceClassification")
    blocks: Callable[[Any], list[nn.Module]] = lambda m: [  # noqa: E731 - as in the others
        layer for stage in m.model.resnet.encoder.stages for layer in stage.layers
    ]
    return Case(module, images(batch), blocks)


def convnext(batch: int) -> Case:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=[32, 64], depths=[2, 2], num_stages=2, patch_size=2, num_labels=10
    )
    module = Loss(
        ConvNextForImageClassification(config), "pixel_values", "ForSequenceClassification"
    )
    blocks: Callable[[Any], list[nn.Module]] = lambda m: [  # noqa: E731 - as in the others
        layer for stage in m.model.convnext.encoder.stages for layer in stage.layers
    ]
    return Case(module, images(batch), blocks)


def images(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of images of 32 × 32, and their kinds."""
    return torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10


SMALL = {
    "gpt2": gpt2,
    "llama": llama,
    "bert": bert,
    "t5": t5,
    "vit": vit,
    "resnet": resnet,
    "unet": unet,
    "convnext": convnext,
}


def published_gpt2() -> tuple[nn.Module, Any]:
    """GPT-2 small, 8 sequences of 1,024 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(use_cache=False))
    return Loss(model, "input_ids", "ForCausalLM"), words(8, 1024, 50257)


def published_vit() -> tuple[nn.Module, Any]:
    """ViT-B/16, 32 images of 224 × 224."""
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(num_labels=1000))
    return Loss(model, "pixel_values"), (torch.randn(32, 3, 224, 224), torch.arange(32))


def published_resnet() -> tuple[nn.Module, Any]:
    """ResNet-50, 32 images of 224 × 224."""
    from transformers import ResNetConfig, ResNetForImageClassification

    model = ResNetForImageClassification(ResNetConfig(num_labels=1000))
    return Loss(model, "pixel_values"), (torch.randn(32, 3, 224, 224), torch.arange(32))


PUBLISHED = {"gpt2": published_gpt2, "vit": published_vit, "resnet50": published_resnet}


class Meter(TorchDispatchMode):
    """Counts the bytes of the storages that are alive, and the floating-point operations.

    It sees the operators that run, whoever calls them, and knows no schedules.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self._seen: dict[int, Any] = {}
        self.now = self.peak = self.flops = 0
        for tensor in known:
            self._add(tensor)

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Otherwise `torch.compile` would silently run what it was given as it is."""
        return True

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            del self._seen[key]
            self.now -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor)
        packet = call.overloadpacket
        count = flop_registry.get(ATTENTION.get(packet, packet))
        self.flops += 0 if count is None else count(*args, **(kwargs or {}), out_val=found)
        return found
